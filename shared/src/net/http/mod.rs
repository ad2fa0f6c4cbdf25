//! The part of HTTP/1.1 (RFC 9112) that a clone needs: one request per connection, strict framing.
//!
//! * [`head`]: parses the heads of requests and responses;
//! * [`chunked`]: encodes and decodes the chunked coding;
//! * [`body`]: reads the body of a request from its connection;
//! * [`server`]: accept loop, one thread per connection; `exchange`: one request and its answer;
//! * `admission`: decides which connections get a slot when the server is full; `connection_slots`: the table of slots.

mod admission;
pub mod body;
pub mod chunked;
mod connection_slots;
mod exchange;
pub mod head;
pub mod server;
