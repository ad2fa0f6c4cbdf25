//! Connections with limits: TCP, TLS and the part of HTTP/1.1 that a clone needs. Every wait has a time limit and checks the
//! stop token.

pub mod conn;
pub mod dial;
pub mod http;
pub mod tls;
