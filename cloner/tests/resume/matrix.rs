//! One cell of the fault matrix (docs/specification.md), and how wide the matrix is: `scripts/faults.sh` widens it.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

use decant_test_support::noise;

use crate::modes::Mode;
use crate::pair::MIB;

/// Where clones are interrupted, in per cent of what is sent.
const POINTS: [u64; 4] = [10, 50, 90, 99];

/// What the environment asks for.
struct MatrixSize {
    /// Random points besides the fixed ones; `None` where tests are to be short.
    rounds: Option<usize>,
    seed: u64,
    /// Volumes are this many times as large.
    scale: usize,
    /// Clones go over this many connections.
    streams: u64,
}

fn width() -> &'static MatrixSize {
    static SIZE: OnceLock<MatrixSize> = OnceLock::new();
    SIZE.get_or_init(|| {
        let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
        MatrixSize {
            rounds: number("DECANT_FAULTS_ROUNDS").and_then(|rounds: u64| usize::try_from(rounds).ok()),
            seed: number("DECANT_FAULTS_SEED").unwrap_or(1),
            scale: number("DECANT_FAULTS_SCALE").map_or(1, |scale: u64| usize::try_from(scale).unwrap()),
            streams: number("DECANT_FAULTS_STREAMS").unwrap_or(1),
        }
    })
}

/// Whether tests may take minutes.
pub(crate) fn is_long() -> bool {
    width().rounds.is_some()
}

/// How many times as large as in short tests volumes are.
pub(crate) fn scale() -> usize {
    width().scale
}

/// How many connections a clone has by default.
pub(crate) fn streams() -> u64 {
    width().streams
}

/// Where to interrupt: in short tests at `short`, else everywhere and at some random points.
pub(crate) fn points(short: &[u64], mode: Mode, fault: &str) -> Vec<u64> {
    let Some(rounds) = width().rounds else { return short.to_vec() };
    // Each cell has its own points, the same for the same seed.
    let own: u64 = format!("{fault} {mode}").bytes().map(u64::from).sum();
    let random = noise(rounds * 8, width().seed * 1000 + own);
    let random = random.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) % 99 + 1);
    POINTS.into_iter().chain(random).collect()
}

/// A row of the table. Dropped without an outcome, it counts as failed.
pub(crate) struct MatrixCell {
    what: String,
    is_told: bool,
}

impl MatrixCell {
    pub(crate) fn new(fault: &str, mode: Mode, point: &str) -> Self {
        Self { what: format!("{fault}\t{mode}\t{point}"), is_told: false }
    }

    /// The clone is correct; these bytes were sent twice.
    pub(crate) fn passed(self, resent_bytes: Option<u64>, outcome: &str) {
        let resent = resent_bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", in_mib(bytes)));
        self.write_row(&resent, outcome);
    }

    fn write_row(mut self, resent: &str, outcome: &str) {
        self.is_told = true;
        write(&format!("{}\t{resent}\t{outcome}", self.what));
    }
}

impl Drop for MatrixCell {
    fn drop(&mut self) {
        if !self.is_told {
            write(&format!("{}\t-\tWRONG", self.what));
        }
    }
}

fn write(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os("DECANT_FAULTS_TABLE") {
        let mut table = File::options().append(true).create(true).open(path).unwrap();
        table.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
fn in_mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
