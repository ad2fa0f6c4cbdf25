//! Maps `TLS_MIN_VERSION` and `TLS_CIPHERS`, as CDI's controllers set them (docs/protocol.md section 2.2), to versions and
//! suites of rustls.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedProtocolVersion};

use super::{TlsConfigError, provider};

/// The protocol versions to offer. rustls supports only 1.2 and 1.3; a lower minimum means 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// TLS 1.2 and 1.3.
    #[default]
    From12,
    /// TLS 1.3 only.
    Only13,
}

impl TlsVersions {
    /// Parses `VersionTLS10` to `VersionTLS13`; empty means the default.
    pub fn parse(text: &str) -> Result<Self, TlsConfigError> {
        match text {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(Self::From12),
            "VersionTLS13" => Ok(Self::Only13),
            other => Err(TlsConfigError(format!(
                "invalid TLS_MIN_VERSION {other:?}: use VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13"
            ))),
        }
    }

    pub(super) fn as_slice(self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_12: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        static ONLY_13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        match self {
            Self::From12 => &FROM_12,
            Self::Only13 => &ONLY_13,
        }
    }
}

/// The cipher suites to offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CipherSuites {
    /// TLS 1.2 suites by name; `None` offers all of them. TLS 1.3 suites are always offered, as in Go.
    tls12: Option<Vec<CipherSuite>>,
}

impl CipherSuites {
    /// Parses a comma-separated list of OpenSSL or IANA names. Names that rustls does not support (CBC, DHE, RSA key exchange)
    /// are ignored, as CDI ignores those that Go does not support. Unlike in CDI, an empty list means all suites, and so does a
    /// list without any supported TLS 1.2 name: TLS 1.3 is always offered.
    pub fn parse(list: &str) -> Self {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let known: Vec<CipherSuite> = names.filter_map(tls12_suite).collect();
        Self { tls12: (!known.is_empty()).then_some(known) }
    }

    pub(super) fn into_provider(self) -> Arc<CryptoProvider> {
        let mut provider = provider();
        if let Some(allowed) = self.tls12 {
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || allowed.contains(&suite.suite()));
        }
        Arc::new(provider)
    }
}

fn tls12_suite(name: &str) -> Option<CipherSuite> {
    Some(match name {
        "ECDHE-ECDSA-AES128-GCM-SHA256" | "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        }
        "ECDHE-RSA-AES128-GCM-SHA256" | "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        }
        "ECDHE-ECDSA-AES256-GCM-SHA384" | "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        }
        "ECDHE-RSA-AES256-GCM-SHA384" | "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        }
        "ECDHE-ECDSA-CHACHA20-POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "ECDHE-RSA-CHACHA20-POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_limits_the_tls12_suites_and_keeps_all_of_tls13() {
        let provider =
            CipherSuites::parse("TLS_AES_128_GCM_SHA256, ECDHE-RSA-AES128-GCM-SHA256,DHE-RSA-AES128-SHA")
                .into_provider();
        let tls12: Vec<_> = provider.cipher_suites.iter().filter(|s| s.tls13().is_none()).collect();
        assert_eq!(tls12.len(), 1);
        assert_eq!(provider.cipher_suites.len(), 4);
    }

    #[test]
    fn an_empty_list_offers_all_suites() {
        assert_eq!(
            CipherSuites::parse("").into_provider().cipher_suites.len(),
            provider().cipher_suites.len()
        );
    }

    #[test]
    fn aes128_is_offered_first() {
        assert_eq!(provider().cipher_suites[0].suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    }

    #[test]
    fn the_error_names_an_unknown_minimum_version() {
        assert!(TlsVersions::parse("SSLv3").unwrap_err().0.contains("SSLv3"));
        assert_eq!(TlsVersions::parse("VersionTLS13"), Ok(TlsVersions::Only13));
    }
}
