//! Headers that come again and again, made while they are read: what an archive of any length makes its reader remember of
//! one member is bounded. The input is a program of headers, records and repetitions; from a few bytes it makes tens of
//! megabytes, which no mutation of an archive could.
#![no_main]

use decant_cloner::error::Result;
use decant_cloner::stream::{Piece, Pull};
use decant_cloner::tar::entry::MAX_NAME_BYTES;
use decant_cloner::tar::reader::{ArchiveReader, MAX_EXTENSIONS_BYTES};
use decant_cloner_fuzz::{Program, with_checksums};
use libfuzzer_sys::fuzz_target;

/// What an entry may take in memory: extended headers, and what each attribute costs besides.
const ENTRY_LIMIT_BYTES: usize = 8 << 20;
/// How much of an archive is made in one run.
const ARCHIVE_LIMIT_BYTES: u64 = 48 << 20;
/// One header of records, or one name.
const HEADER_LIMIT_BYTES: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut made = GeneratedArchive {
        program: Program::new(bytes),
        header: Vec::new(),
        taken: 0,
        times: 0,
        left: ARCHIVE_LIMIT_BYTES,
    };
    let mut reader = ArchiveReader::new(&mut made);
    while let Ok(Some(entry)) = reader.next_entry() {
        let attributes = entry.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 80);
        let cost = entry.name.len() + entry.link.len() + attributes.sum::<usize>();
        assert!(cost <= ENTRY_LIMIT_BYTES && (cost as u64) < 2 * MAX_EXTENSIONS_BYTES, "{cost} bytes");
        assert!(entry.name.len() as u64 <= MAX_NAME_BYTES && entry.link.len() as u64 <= MAX_NAME_BYTES);
        assert!(entry.xattrs.iter().all(|xattr| !xattr.name.is_empty()));
    }
});

/// An archive that is made block by block.
struct GeneratedArchive<'a> {
    program: Program<'a>,
    header: Vec<u8>,
    taken: usize,
    /// How often the header comes again.
    times: u64,
    left: u64,
}

impl Pull for GeneratedArchive<'_> {
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
        if self.taken == self.header.len() {
            self.taken = 0;
            if self.times > 0 {
                self.times -= 1;
            } else if self.program.is_over() {
                return Ok(None);
            } else {
                self.header = header(&mut self.program);
                self.times = self.program.number(1 << 12);
            }
        }
        let rest = &self.header[self.taken..];
        let len = max_bytes.min(rest.len() as u64).min(self.left);
        if len == 0 {
            return Ok(None);
        }
        self.taken += len as usize;
        self.left -= len;
        Ok(Some(Piece::Data(&rest[..len as usize])))
    }
}

/// One header with its content.
fn header(program: &mut Program<'_>) -> Vec<u8> {
    const KINDS: &[u8] = b"xxxxgLKVX0S157";
    const KEYS: [&str; 14] = [
        "SCHILY.xattr.",
        "SCHILY.xattr.user.",
        "path",
        "linkpath",
        "size",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
        "GNU.sparse.map",
        "GNU.sparse.name",
        "GNU.sparse.major",
        "GNU.sparse.size",
        "GNU.sparse.numblocks",
        "DECANT.unsent",
        "comment",
    ];
    let kind = KINDS[program.byte() as usize % KINDS.len()];
    let mut content = Vec::new();
    if b"xXg".contains(&kind) {
        for _ in 0..1 + program.byte() % 3 {
            let key = KEYS[program.byte() as usize % KEYS.len()];
            let suffix = "k".repeat(program.number(300) as usize);
            let value = match program.byte() % 4 {
                0 => String::new(),
                1 => program.number(u64::MAX).to_string(),
                2 => "1,1,".repeat(program.number(1 << 12) as usize),
                _ => "v".repeat(program.number(HEADER_LIMIT_BYTES) as usize),
            };
            let one = record(&format!("{key}{suffix}"), &value);
            let times = (1 + program.number(1 << 17)).min(HEADER_LIMIT_BYTES / one.len() as u64 + 1);
            (0..times).for_each(|_| content.extend_from_slice(&one));
        }
    } else if b"LK".contains(&kind) {
        content = vec![b'd'; program.number(MAX_NAME_BYTES + 9) as usize];
    }
    let mut block = vec![0; 512];
    block[0] = b'n';
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar  \0");
    let mut whole = with_checksums(&block);
    whole.extend_from_slice(&content);
    whole.resize(whole.len().next_multiple_of(512), 0);
    whole
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut len = body + 1;
    while body + len.to_string().len() != len {
        len = body + len.to_string().len();
    }
    format!("{len} {key}={value}\n").into_bytes()
}
