//! As much HTTP/1.1 (RFC 9112) as a clone needs: one request per connection, strict framing.
//!
//! * [`head`]: request and response heads, bytes in, value out;
//! * [`chunked`]: the chunked coding, both ways;
//! * [`body`]: a request's body, read from a connection;
//! * [`server`]: accept loop, limits, one thread per connection; `exchange` is what each of them holds.

pub mod body;
pub mod chunked;
mod exchange;
pub mod head;
pub mod server;
