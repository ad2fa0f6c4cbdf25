//! `UPLOAD_URL`: the address to which the source posts. docs/dependencies.md explains why no library parses it.

use std::fmt;

use decant_shared::protocol::cdi::TLS_PORT;
use rustls::pki_types::ServerName;

use crate::error::{Error, Result};

/// The parts of an `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadUrl {
    /// Host name or address, without brackets.
    pub host: String,
    /// The port. Without a port, `https` means 443; 8443 is not assumed.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl UploadUrl {
    /// Parses `https://host[:port]/path`. Anything else is a usage error that shows the URL.
    pub fn parse(text: &str) -> Result<Self> {
        let complain = |why: &str| {
            Error::usage(format!(
                "UPLOAD_URL is {text:?}: {why}; it looks like https://target.namespace.svc:{TLS_PORT}/v1beta1/upload"
            ))
        };
        let rest =
            text.strip_prefix("https://").ok_or_else(|| complain("it does not begin with https://"))?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if !text.bytes().all(|b| b.is_ascii_graphic()) || path.contains('#') || authority.contains('@') {
            return Err(complain("it has characters that do not belong in such a URL"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| complain("a bracket is not closed"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| complain("the port is not a number"))?,
            None if port.is_empty() => 443,
            None => return Err(complain("there is something between host and port")),
        };
        let url = Self { host: host.to_owned(), port, path: path.to_owned() };
        ServerName::try_from(url.host.clone())
            .map_err(|_| complain("the host is not a name or an address"))?;
        Ok(url)
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The name that the target's certificate must contain.
    pub fn server_name(&self) -> Result<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).map_err(|e| Error::usage(format!("{}: {e}", self.host)))
    }
}

impl fmt::Display for UploadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ports_are_parsed() {
        let url = UploadUrl::parse("https://cdi-upload-x.ns.svc:8443/v1beta1/upload").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("cdi-upload-x.ns.svc", 8443, "/v1beta1/upload")
        );
        let url = UploadUrl::parse("https://[fd00::1]/x?y=1").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("fd00::1", 443, "/x?y=1"));
        assert_eq!(url.authority(), "[fd00::1]:443");
        assert_eq!(UploadUrl::parse("https://10.0.0.1:1").unwrap().path, "/");
    }

    #[test]
    fn an_invalid_url_is_shown_with_the_reason() {
        for bad in [
            "http://x/",
            "https://",
            "https://x:y/",
            "https://[::1/",
            "https://[::1]x/",
            "https://a b/",
            "x",
            "https://user@host/",
            "https://host\r\nX: y/",
        ] {
            let error = UploadUrl::parse(bad).unwrap_err();
            assert!(error.to_string().starts_with(&format!("UPLOAD_URL is {bad:?}")), "{error}");
        }
    }
}
