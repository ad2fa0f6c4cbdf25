//! A clone's request, and every way to damage it.
//!
//! Its stream is cut into pieces, each of which travels in frames and a chunk of its own, so that a place in the
//! stream is also a place on the wire.

use crate::body::{IDENTIFIER, IMAGE, TREE, chunk, frame, head};

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Where the damage is, from the outermost layer to the innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    HttpHead,
    ChunkSize,
    FrameHeader,
    FrameBody,
    TarHeader,
    TarData,
    EndMarker,
    LastChunk,
}

use Layer::{ChunkSize, EndMarker, FrameBody, FrameHeader, HttpHead, LastChunk, TarData, TarHeader};
use decant_test_support::archive::HandMade;
use decant_test_support::noise;

/// A good clone of one file.
pub(super) struct CloneRequest {
    content: &'static str,
    pieces: Vec<Vec<u8>>,
    /// The piece in which chunks and frames are damaged.
    large: usize,
}

impl CloneRequest {
    /// The header, the data and the end marker of an archive, each in two pieces.
    pub(super) fn tree() -> Self {
        let archive =
            HandMade::default().block(HandMade::header(b'0', "file", 80_000), &noise(80_000, 0)).end();
        let ends = [256, 512, 512 + 40_000, archive.len() - 1024, archive.len() - 768, archive.len()];
        let mut pieces = Vec::new();
        let mut start = 0;
        for end in ends {
            pieces.push(archive[start..end].to_vec());
            start = end;
        }
        Self { content: TREE, pieces, large: 3 }
    }

    pub(super) fn image() -> Self {
        Self {
            content: IMAGE,
            pieces: noise(80_000, 0).chunks(40_000).map(<[u8]>::to_vec).collect(),
            large: 1,
        }
    }

    /// A raw image has no inner structure that could be damaged.
    pub(super) fn layers(&self) -> &'static [Layer] {
        match self.content {
            TREE => &[HttpHead, ChunkSize, FrameHeader, FrameBody, TarHeader, TarData, EndMarker, LastChunk],
            _ => &[HttpHead, ChunkSize, FrameHeader, FrameBody, LastChunk],
        }
    }

    /// Where it arrives.
    pub(super) fn name(&self) -> &'static str {
        if self.content == TREE { "file" } else { "disk.img" }
    }

    /// What arrives.
    pub(super) fn file_content(&self) -> Vec<u8> {
        noise(80_000, 0)
    }

    /// The request, undamaged.
    pub(super) fn whole(&self) -> Vec<u8> {
        [self.head(), self.body(&self.pieces), LAST_CHUNK.to_vec()].concat()
    }

    /// The request up to this place.
    pub(super) fn cut(&self, layer: Layer) -> Vec<u8> {
        let head = self.head();
        let before = [head.clone(), self.body(&self.pieces[..self.large])].concat();
        let next = chunk(&frame(&self.pieces[self.large]));
        // "9c44\r\n" and then the frame.
        let within = |len: usize| [before.as_slice(), &next[..len]].concat();
        match layer {
            HttpHead => head[..head.len() / 2].to_vec(),
            ChunkSize => within(2),
            FrameHeader => within(6 + 2),
            FrameBody => within(6 + 20_000),
            TarHeader | TarData | EndMarker => {
                [head, self.body(&self.pieces[..=self.first_of(layer)])].concat()
            }
            LastChunk => [head, self.body(&self.pieces)].concat(),
        }
    }

    /// The request with the layer of this place cut short there, and all layers around it in good order.
    pub(super) fn truncated(&self, layer: Layer) -> Vec<u8> {
        let mut cut = match layer {
            HttpHead | ChunkSize | LastChunk => return self.cut(layer),
            FrameHeader | FrameBody => {
                let frame = frame(&self.pieces[self.large]);
                let len = if layer == FrameHeader { 2 } else { frame.len() / 2 };
                [self.head(), self.body(&self.pieces[..self.large]), chunk(&frame[..len])].concat()
            }
            TarHeader | TarData | EndMarker => self.cut(layer),
        };
        cut.extend_from_slice(LAST_CHUNK);
        cut
    }

    /// The request with one bit flipped there, and all layers around it in good order.
    pub(super) fn flipped(&self, layer: Layer) -> Vec<u8> {
        let mut whole = self.whole();
        let start = self.head().len() + self.body(&self.pieces[..self.large]).len();
        let at = match layer {
            HttpHead => self.head().len() - 6,
            ChunkSize => start + 3,
            FrameHeader => start + 6 + 1,
            FrameBody => start + 6 + 20_000,
            LastChunk => whole.len() - LAST_CHUNK.len(),
            // Only the frames protect the content of a file.
            TarData => self.cut(TarData).len() - 100,
            TarHeader | EndMarker => {
                let mut pieces = self.pieces.clone();
                pieces[self.first_of(layer)][100] ^= 1;
                return [self.head(), self.body(&pieces), LAST_CHUNK.to_vec()].concat();
            }
        };
        whole[at] ^= 1;
        whole
    }

    /// The first of the two pieces that this place is in.
    fn first_of(&self, layer: Layer) -> usize {
        match layer {
            TarHeader => 0,
            TarData => 2,
            _ => self.pieces.len() - 2,
        }
    }

    fn head(&self) -> Vec<u8> {
        head(self.content, "")
    }

    fn body(&self, pieces: &[Vec<u8>]) -> Vec<u8> {
        let chunks: Vec<u8> = pieces.iter().flat_map(|piece| chunk(&frame(piece))).collect();
        [chunk(IDENTIFIER), chunks].concat()
    }
}
