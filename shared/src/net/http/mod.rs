//! As much HTTP/1.1 (RFC 9112) as a clone needs: one request per connection, strict framing.
//!
//! * [`head`]: request and response heads, bytes in, value out;
//! * [`chunked`]: the chunked coding, both ways;
//! * [`body`]: a request's body, read from a connection;
//! * [`server`]: accept loop, one thread per connection; `exchange` is what each of them holds;
//! * `places`: who gets a place at a server that is full, `room` who has one.

pub mod body;
pub mod chunked;
mod exchange;
pub mod head;
mod places;
mod room;
pub mod server;
