//! Fixed pieces of work whose instructions are counted: `instructions CASE`, run under callgrind by
//! `scripts/guard.sh`. Without a case it names them all.
//!
//! Everything here runs on one thread and on the same bytes each time, so the count is a property of the program:
//! it does not change with the load of the machine. What only takes time (disks, sockets, other threads) does not
//! show; `stages.rs` measures that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a piece of work that fails has nothing to count"
)]

use std::fs::{File, create_dir, write};
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use decant_cloner::digest::segments::SegmentHasher;
use decant_cloner::snappy::STREAM_IDENTIFIER;
use decant_cloner::snappy::decode::{DecodedBatch, Decoder};
use decant_cloner::snappy::encode::Encoder;
use decant_cloner::snappy::split::{Pack, Splitter};
use decant_cloner::tar::reader::ArchiveReader;
use decant_cloner::volume::tree::read::plan::Options;
use decant_cloner::volume::tree::read::scan;
use decant_cloner::volume::tree::read::write_archive as pack;
use decant_shared::net::http::chunked;
use decant_shared::process::stop::Stop;

use decant_test_support::noise::{noise, text};

/// A piece of work: its name, and what does it.
type Case = (&'static str, fn());

const CASES: [Case; 10] = [
    ("encode-text", || encode(&text(2 << 20))),
    ("encode-noise", || encode(&noise(8 << 20, 1))),
    ("encode-zeros", || encode(&vec![0; 32 << 20])),
    ("decode-text", || decode(&text(4 << 20))),
    ("decode-noise", || decode(&noise(8 << 20, 1))),
    ("digest", || digest(&noise(8 << 20, 1), 256 << 10)),
    ("digest-small-files", || digest(&noise(8 << 20, 1), 3_000)),
    ("chunked", chunks),
    ("pack", packing),
    ("read-archive", reading),
];

fn main() -> ExitCode {
    let Some(wanted) = std::env::args().nth(1) else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, case)) = CASES.iter().find(|(name, _)| *name == wanted) else {
        println!("no case is called {wanted}");
        return ExitCode::FAILURE;
    };
    case();
    ExitCode::SUCCESS
}

/// Only what happens in here is counted: callgrind is told this name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn encode(data: &[u8]) {
    let (mut encoder, mut frames) = (Encoder::default(), Vec::with_capacity(512 << 10));
    measured(&mut || {
        for block in data.chunks(256 << 10) {
            frames.clear();
            encoder.encode(block, &mut frames);
            black_box(&frames);
        }
    });
}

fn decode(data: &[u8]) {
    let mut stream = STREAM_IDENTIFIER.to_vec();
    Encoder::default().encode(data, &mut stream);
    let (mut splitter, mut decoder) = (Splitter::default(), Decoder::default());
    let (mut pack, mut batch) = (Pack::default(), DecodedBatch::default());
    measured(&mut || {
        // As it comes from TLS: in records.
        for mut record in stream.chunks(16 << 10) {
            while !record.is_empty() {
                record = &record[splitter.feed(record, &mut pack).unwrap()..];
                if !record.is_empty() {
                    let used = batch.reclaim_pack();
                    decoder.decode(std::mem::replace(&mut pack, used), &mut batch).unwrap();
                    black_box(&batch);
                }
            }
        }
    });
}

fn digest(data: &[u8], step: usize) {
    let mut segments = SegmentHasher::default();
    measured(&mut || {
        data.chunks(step).for_each(|piece| segments.data(piece));
        black_box(segments.finish());
    });
}

fn chunks() {
    let mut body = Vec::new();
    for len in (1..20_000_usize).step_by(7) {
        body.extend(chunked::size_line(len % 300 + 1).bytes());
        body.resize(body.len() + len % 300 + 1, b'x');
        body.extend(b"\r\n");
    }
    body.extend(chunked::LAST_CHUNK);
    measured(&mut || {
        let mut decoder = chunked::Decoder::default();
        let mut rest = body.as_slice();
        while !decoder.is_done() {
            let chunked::Decoded { framing_len, data_len } = decoder.next(rest).unwrap();
            rest = &rest[framing_len + data_len..];
        }
    });
}

/// A directory with 400 small files, in directories of 20.
fn tree(root: &Path) -> OwnedFd {
    let content = text(20_000);
    for directory in 0..20 {
        let directory = root.join(format!("folder-{directory:02}"));
        create_dir(&directory).unwrap();
        for file in 0..20 {
            write(directory.join(format!("{file:02}.txt")), &content[..1_000 + 900 * file]).unwrap();
        }
    }
    File::open(root).unwrap().into()
}

fn archive_of(root: &OwnedFd, path: &Path, archive: &mut Vec<u8>) {
    let (options, stop) = (Options { sparse: true, attributes: false }, Stop::new());
    let plan = scan(root, path, options, &stop).unwrap();
    pack(root, path, options, &plan, archive, &stop).unwrap();
}

fn packing() {
    let directory = tempfile::tempdir().unwrap();
    let (root, mut archive) = (tree(directory.path()), Vec::with_capacity(8 << 20));
    measured(&mut || archive_of(&root, directory.path(), &mut archive));
}

fn reading() {
    let directory = tempfile::tempdir().unwrap();
    let (root, mut archive) = (tree(directory.path()), Vec::new());
    archive_of(&root, directory.path(), &mut archive);
    measured(&mut || {
        let mut stream = archive.as_slice();
        let mut reader = ArchiveReader::new(&mut stream);
        while let Some(entry) = reader.next_entry().unwrap() {
            black_box(&entry);
            while let Some(piece) = reader.next_data(1 << 20).unwrap() {
                black_box(&piece);
            }
        }
    });
}
