//! Which data is compressed: what the user wants, and what a block got.

use clap::ValueEnum;

/// What the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Block by block, whatever is faster.
    #[default]
    Auto,
    /// Every block that gets smaller by it.
    Always,
    /// No block.
    Never,
}

/// How a block was, or is to be, made into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockMode {
    /// Compressed where the sender has enough to do meanwhile.
    Adaptive,
    /// As it is.
    Stored,
}
