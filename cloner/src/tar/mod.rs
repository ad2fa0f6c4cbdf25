//! The tar format: reading and writing archives in this process.
//!
//! Reading: [`reader`] turns a stream into members ([`entry`]) and their content. `block_reader` splits the stream into
//! blocks. `member_parser`, `pax` and `sparse_map` parse the headers of a member.
//!
//! Writing: `header_writer` writes the headers of a member, and `counting_sink` counts the bytes of the archive.
//!
//! Both: `field` reads and writes the fields of a header block, [`nanoseconds`] the nanoseconds of a modification time.
//! [`content_record`] defines what the digest of a directory covers of each member.

mod block_reader;
pub mod content_record;
pub(crate) mod counting_sink;
pub mod entry;
pub(crate) mod field;
pub(crate) mod header_writer;
mod member_parser;
pub mod nanoseconds;
pub(crate) mod pax;
pub mod reader;
pub(crate) mod sparse_map;
