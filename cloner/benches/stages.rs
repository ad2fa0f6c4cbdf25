//! What each stage of the way of a byte costs, alone and in this order: `cargo bench -p decant-cloner --bench stages`.
//! docs/performance.md sets these figures against what the processor can do and what a whole clone costs.

#![allow(clippy::unwrap_used, reason = "a stage that fails has no speed")]

use std::cell::RefCell;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use decant_cloner::digest::segments::SegmentHasher;
use decant_cloner::snappy::decode::{DecodedBatch, Decoder};
use decant_cloner::snappy::encode::Encoder;
use decant_cloner::snappy::split::{Pack, Splitter};
use decant_cloner::snappy::{BLOCK_BYTES, STREAM_IDENTIFIER};
use decant_cloner::zeros::is_zero;
use decant_shared::net::tls::authority::{Authority, Usage};
use decant_shared::net::tls::suites::{CipherSuites, TlsVersions};
use decant_shared::net::tls::{client, server};
use decant_shared::process::page_buffer::PageBuffer;
use decant_test_support::noise::{noise, text};
use divan::counter::BytesCount;
use divan::{Bencher, main as run};
use rustls::{ClientConnection, ServerConnection};

/// What a file of the bench holds: more than a cache close to a core, so that memory answers as in a clone.
const FILE_BYTES: usize = 64 << 20;

fn main() {
    run();
}

/// Compressible and not: what a stage costs depends on it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Noise,
}

const KINDS: [Kind; 2] = [Kind::Text, Kind::Noise];

impl Kind {
    fn data(self) -> Vec<u8> {
        match self {
            Kind::Text => text(FILE_BYTES / 8),
            Kind::Noise => noise(FILE_BYTES / 8, 1),
        }
    }
}

fn bytes(count: usize) -> BytesCount {
    BytesCount::new(count)
}

/// From the page cache into a buffer. Its offset in a memory page matters on some processors.
#[divan::bench(args = [0, 16, 64])]
fn a_read(bencher: Bencher<'_, '_>, page_offset: usize) {
    let file = filled();
    let mut buffer = PageBuffer::at_page_offset(BLOCK_BYTES, page_offset);
    bencher.counter(bytes(FILE_BYTES)).bench_local(|| {
        for at in (0..FILE_BYTES).step_by(BLOCK_BYTES) {
            file.read_exact_at(&mut buffer, at as u64).unwrap();
        }
    });
}

/// Zeros are the expensive case: every byte is read.
#[divan::bench]
fn b_zero_check(bencher: Bencher<'_, '_>) {
    let zeros = vec![0; 64 << 10];
    bencher.counter(bytes(zeros.len())).bench(|| is_zero(black_box(&zeros)));
}

#[divan::bench]
fn c_crc(bencher: Bencher<'_, '_>) {
    let block = noise(BLOCK_BYTES, 1);
    bencher.counter(bytes(block.len())).bench(|| crc32c::crc32c(black_box(&block)));
}

/// In pieces as a large file has them, and as small files have them.
#[divan::bench(args = [BLOCK_BYTES, 3_000])]
fn d_digest(bencher: Bencher<'_, '_>, piece: usize) {
    let block = noise(1 << 20, 1);
    let mut segments = SegmentHasher::default();
    bencher.counter(bytes(block.len())).bench_local(|| {
        block.chunks(piece).for_each(|piece| segments.data(piece));
        while segments.next_complete().is_some() {}
    });
}

/// With its CRC.
#[divan::bench(args = KINDS)]
fn e_compress(bencher: Bencher<'_, '_>, kind: Kind) {
    let data = kind.data();
    let (mut encoder, mut frames) = (Encoder::default(), Vec::new());
    bencher.counter(bytes(data.len())).bench_local(|| {
        for block in data.chunks(BLOCK_BYTES) {
            frames.clear();
            encoder.encode(block, &mut frames);
        }
    });
}

#[divan::bench]
fn f_tls_send(bencher: Bencher<'_, '_>) {
    let (mut client, _) = ends();
    let (block, mut wire) = (noise(BLOCK_BYTES, 1), Vec::with_capacity(2 * BLOCK_BYTES));
    bencher.counter(bytes(block.len())).bench_local(|| {
        wire.clear();
        send(&mut client, &block, &mut wire);
    });
}

/// A socket of this machine, both ends on threads of their own: what the kernel does, seen from the slower end.
#[divan::bench]
fn g_socket(bencher: Bencher<'_, '_>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; BLOCK_BYTES];
        while far.read(&mut buffer).unwrap() > 0 {}
    });
    let block = noise(BLOCK_BYTES, 1);
    bencher.counter(bytes(FILE_BYTES)).bench_local(|| {
        for _ in 0..FILE_BYTES / BLOCK_BYTES {
            near.write_all(&block).unwrap();
        }
    });
    drop(near);
    reader.join().unwrap();
}

#[divan::bench(sample_size = 1)]
fn h_tls_receive(bencher: Bencher<'_, '_>) {
    let (client, mut server) = ends();
    let (client, block) = (RefCell::new(client), noise(BLOCK_BYTES, 1));
    let sent = || {
        let mut wire = Vec::with_capacity(2 * BLOCK_BYTES);
        send(&mut client.borrow_mut(), &block, &mut wire);
        wire
    };
    bencher.counter(bytes(BLOCK_BYTES)).with_inputs(sent).bench_local_values(|wire| {
        let mut waiting = wire.as_slice();
        while !waiting.is_empty() {
            server.read_tls(&mut waiting).unwrap();
            server.process_new_packets().unwrap();
            let len = server.reader().fill_buf().map_or(0, |plain| black_box(plain).len());
            server.reader().consume(len);
        }
    });
}

/// Cut into packs, decompressed, and its CRC checked.
#[divan::bench(args = KINDS)]
fn i_decompress(bencher: Bencher<'_, '_>, kind: Kind) {
    let data = kind.data();
    let mut frames = Vec::new();
    Encoder::default().encode(&data, &mut frames);
    let mut pack = Pack::default();
    let (mut splitter, mut decoder, mut batch) =
        (Splitter::default(), Decoder::default(), DecodedBatch::default());
    splitter.feed(STREAM_IDENTIFIER, &mut pack).unwrap();
    bencher.counter(bytes(data.len())).bench_local(|| {
        for mut record in frames.chunks(16 << 10) {
            while !record.is_empty() {
                record = &record[splitter.feed(record, &mut pack).unwrap()..];
                if !record.is_empty() {
                    let used = batch.reclaim_pack();
                    decoder.decode(std::mem::replace(&mut pack, used), &mut batch).unwrap();
                }
            }
        }
    });
}

/// Into the page cache of a new file.
#[divan::bench]
fn j_write(bencher: Bencher<'_, '_>) {
    let block = noise(BLOCK_BYTES, 1);
    bencher.counter(bytes(FILE_BYTES)).with_inputs(empty).bench_local_refs(|file| {
        for at in (0..FILE_BYTES).step_by(64 << 10) {
            let from = at % BLOCK_BYTES;
            file.write_all_at(&block[from..from + (64 << 10)], at as u64).unwrap();
        }
    });
}

/// A file that is gone with the bench. In memory if this machine has a place for that.
fn empty() -> File {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempfile_in(memory) } else { tempfile::tempfile() }.unwrap()
}

fn filled() -> File {
    let mut file = empty();
    file.write_all(&noise(FILE_BYTES, 1)).unwrap();
    file
}

/// Both ends of a TLS connection in memory, past the handshake.
fn ends() -> (ClientConnection, ServerConnection) {
    let authority = Authority::new("bench", 1).unwrap();
    let identity = authority.issue("bench", &["localhost"], Usage::Server, 1).unwrap();
    let roots = || authority.roots().unwrap();
    let server = server::config_with_optional_client_auth(
        identity,
        roots(),
        TlsVersions::default(),
        CipherSuites::default(),
    )
    .unwrap();
    let identity = authority.issue("bench", &[], Usage::Client, 1).unwrap();
    let client = client::config(roots(), identity).unwrap();
    let mut client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&server)).unwrap();
    client.set_buffer_limit(None);
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut waiting = wire.as_slice();
        while !waiting.is_empty() {
            server.read_tls(&mut waiting).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut waiting = wire.as_slice();
        while !waiting.is_empty() {
            client.read_tls(&mut waiting).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    (client, server)
}

fn send(client: &mut ClientConnection, block: &[u8], wire: &mut Vec<u8>) {
    client.writer().write_all(block).unwrap();
    while client.wants_write() {
        client.write_tls(wire).unwrap();
    }
}
