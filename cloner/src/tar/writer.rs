//! Putting a member's blocks into the stream, all but its content.

use crate::error::Result;
use crate::tar::counting_sink::CountingSink;
use crate::tar::header::{self, BLOCK_BYTES, Entries, MemberHeader, NAME_BYTES, flag};

/// Puts the header of `member`, behind its long names if it has any.
pub(crate) fn put_member(out: &mut CountingSink<'_>, member: &MemberHeader<'_>) -> Result<()> {
    put_long_names(out, member)?;
    let mut header = header::member(member);
    header::seal(&mut header);
    out.header(header.as_header().as_bytes())
}

/// Puts the header of a sparse file and the blocks that its map takes beyond it.
pub(crate) fn put_sparse_member(
    out: &mut CountingSink<'_>,
    member: &MemberHeader<'_>,
    mut map: Entries<'_>,
) -> Result<()> {
    put_long_names(out, member)?;
    let mut header = header::member(member);
    header::set_map(&mut header, member.meta.size_bytes, &mut map);
    header::seal(&mut header);
    out.header(header.as_header().as_bytes())?;
    while map.peek().is_some() {
        out.header(header::map_block(&mut map).as_bytes())?;
    }
    Ok(())
}

/// Puts an extended header with these records. It comes before everything else of its member.
pub(crate) fn put_extended(out: &mut CountingSink<'_>, records: &[u8]) -> Result<()> {
    let mut header = header::extended(records.len());
    header::seal(&mut header);
    out.header(header.as_header().as_bytes())?;
    out.header(records)?;
    out.pad(BLOCK_BYTES)
}

/// Members of their own for what does not fit into the header: first the target, then the name.
fn put_long_names(out: &mut CountingSink<'_>, member: &MemberHeader<'_>) -> Result<()> {
    for (flag, text) in [(flag::LONG_TARGET, member.target), (flag::LONG_NAME, member.name)] {
        if text.len() > NAME_BYTES {
            let mut header = header::long(flag, text.len());
            header::seal(&mut header);
            out.header(header.as_header().as_bytes())?;
            out.header(text)?;
            out.header(&[0])?;
            out.pad(BLOCK_BYTES)?;
        }
    }
    Ok(())
}
