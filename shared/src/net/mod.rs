//! Connections with limits: TCP, TLS and as much HTTP/1.1 as a clone needs. Every wait has a limit and asks the stop token.

pub mod conn;
pub mod dial;
pub mod http;
pub mod tls;
