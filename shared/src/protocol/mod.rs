//! What the source, the target, the controller and the tools agree on (docs/protocol.md): values and text. No sockets, no
//! files.

pub mod cdi;
pub mod exit_code;
pub mod limit_order;
pub mod progress;
pub mod prometheus;
pub mod session;
pub mod stream_id;
pub mod units;
