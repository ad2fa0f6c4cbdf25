//! Reads a whole archive.

use decant_cloner::error::Result;
use decant_cloner::stream::Piece;
use decant_cloner::tar::entry::Entry;
use decant_cloner::tar::reader::ArchiveReader;

/// All entries with their content; the content ends at a hole of more than 1 MiB.
pub(crate) fn read_all(mut bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = ArchiveReader::new(&mut bytes);
    let mut all = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        while let Some((offset, piece)) = archive.next_data(700)? {
            assert_eq!(offset, content.len() as u64, "no gaps");
            match piece {
                Piece::Data(bytes) => content.extend_from_slice(bytes),
                Piece::Zeros(len @ 0..=0x10_0000) => {
                    content.resize(content.len() + usize::try_from(len).unwrap(), 0);
                }
                Piece::Zeros(_) => break,
                Piece::Kept(_) | Piece::Shared(_) => panic!("nothing is kept"),
                Piece::Offer(_) => panic!("nothing is offered"),
            }
        }
        all.push((entry, content));
    }
    Ok(all)
}
