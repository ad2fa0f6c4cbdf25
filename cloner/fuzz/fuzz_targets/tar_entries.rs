//! Members of an archive: their content comes without gaps, is as long as they say, and is the same however
//! it is asked for.
#![no_main]

use decant_cloner::error::Result;
use decant_cloner::stream::Piece;
use decant_cloner::tar::entry::Entry;
use decant_cloner::tar::reader::ArchiveReader;
use decant_cloner_fuzz::with_checksums;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for archive in [bytes, &with_checksums(bytes)] {
        let (large, small) = (read(archive, 1 << 20), read(archive, 3));
        match (large, small) {
            (Ok(large), Ok(small)) => assert_eq!(large, small),
            (Err(_), Err(_)) => {}
            (large, small) => panic!("{large:?} in large pieces, {small:?} in small ones"),
        }
    }
});

/// A member, its stored bytes, and where they lie.
type Member = (Entry, Vec<(u64, u8)>);

fn read(mut archive: &[u8], max_bytes: u64) -> Result<Vec<Member>> {
    let mut reader = ArchiveReader::new(&mut archive);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let (mut next, mut stored) = (0, Vec::new());
        while let Some((offset, piece)) = reader.next_data(max_bytes)? {
            assert_eq!(offset, next, "a gap or an overlap in {entry:?}");
            assert!(!piece.is_empty());
            next += piece.len();
            if let Piece::Data(bytes) = piece {
                assert!(bytes.len() as u64 <= max_bytes);
                stored.extend((offset..).zip(bytes.iter().copied()));
            }
        }
        assert_eq!(next, entry.size_bytes, "{entry:?}");
        members.push((entry, stored));
    }
    Ok(members)
}
