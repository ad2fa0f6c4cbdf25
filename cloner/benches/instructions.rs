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
use decant_cloner::direct::batch::batches;
use decant_cloner::direct::batch_sink::{BatchSink, SinkContext};
use decant_cloner::direct::batch_stream::BatchStream;
use decant_cloner::pipeline::rate_limiter::RateLimiter;
use decant_cloner::snappy::STREAM_IDENTIFIER;
use decant_cloner::snappy::decode::{DecodedBatch, Decoder};
use decant_cloner::snappy::encode::Encoder;
use decant_cloner::snappy::split::{Pack, Splitter};
use decant_cloner::stream::{Pull, Sink};
use decant_cloner::tar::reader::ArchiveReader;
use decant_cloner::volume::raw::read_range;
use decant_cloner::volume::tree::read::plan::Options;
use decant_cloner::volume::tree::read::scan;
use decant_cloner::volume::tree::read::write_archive as pack;
use decant_cloner::writing::checked_stream::CheckedStream;
use decant_shared::net::http::chunked;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::Progress;

use decant_test_support::noise::{noise, text};

/// A piece of work: its name, and what does it.
type Case = (&'static str, fn());

const CASES: [Case; 12] = [
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
    ("direct-image", direct_image),
    ("direct-tree", direct_tree),
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

/// The two ends of a direct clone, one after the other: what `read` writes fits into the channel between them.
fn direct(read: impl Fn(&mut dyn Sink, &Stop), write: impl Fn(&mut BatchStream<'_>)) {
    let (progress, stop) = (Progress::new(0), Stop::new());
    let limiter = RateLimiter::new(None);
    measured(&mut || {
        let (deal, collect, pool) = batches();
        let context = SinkContext { pool: &pool, progress: &progress, stop: &stop };
        let mut sink = BatchSink::new(deal, context, &limiter);
        read(&mut sink, &stop);
        sink.finish().unwrap();
        let mut stream = BatchStream::new(collect, &pool, &progress, 0, &stop);
        write(&mut stream);
        black_box(stream.finish().unwrap());
    });
}

/// A file of 1.5 MiB with a hole in it.
fn direct_image() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &noise(1 << 20, 1)).unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(file.as_file(), &noise(512 << 10, 2), 40 << 20).unwrap();
    let read = |sink: &mut dyn Sink, _: &Stop| {
        read_range(file.as_file(), file.path(), 0..64 << 20, sink).unwrap();
    };
    direct(read, |stream| {
        while let Some(piece) = stream.next_piece(u64::MAX).unwrap() {
            black_box(&piece);
        }
    });
}

/// A directory with 160 small files.
fn direct_tree() {
    let directory = tempfile::tempdir().unwrap();
    let content = text(20_000);
    for file in 0..160 {
        write(directory.path().join(format!("{file:03}.txt")), &content[..1_000 + 90 * file]).unwrap();
    }
    let root: OwnedFd = File::open(directory.path()).unwrap().into();
    let options = Options { sparse: true, attributes: true };
    let read = |sink: &mut dyn Sink, stop: &Stop| {
        let plan = scan(&root, directory.path(), Options { attributes: false, ..options }, stop).unwrap();
        pack(&root, directory.path(), options, &plan, sink, stop).unwrap();
    };
    direct(read, |stream| {
        let verifier = stream.verifier();
        let mut reader = ArchiveReader::verified(stream, verifier);
        while let Some(entry) = reader.next_entry().unwrap() {
            black_box(&entry);
            while let Some(piece) = reader.next_data(1 << 20).unwrap() {
                black_box(&piece);
            }
        }
    });
}
