//! Short-lived certificates from an authority that exists only in the memory of one process.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::{Duration, OffsetDateTime};

use super::{Identity, TlsConfigError};

/// Certificates are valid from this long ago, so that a peer whose clock is slow accepts them.
const BACKDATE: Duration = Duration::hours(1);

/// The purpose of a leaf certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Authenticates a server.
    Server,
    /// Authenticates a client.
    Client,
}

/// Issues certificates. Its key never leaves the process.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Creates an authority with a new key, the common name `common_name` and a validity of `days`.
    pub fn new(common_name: &str, days: i64) -> Result<Self, TlsConfigError> {
        let mut params = params(common_name, &[], days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(describe)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(describe)
    }

    /// A trust store that contains only this authority.
    pub fn roots(&self) -> Result<RootCertStore, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).map_err(|e| TlsConfigError(e.to_string()))?;
        Ok(roots)
    }

    /// Issues a leaf with a new key: subject `common_name`, alternative names `names` (DNS names and IP addresses), valid for
    /// `days`.
    pub fn issue(
        &self,
        common_name: &str,
        names: &[&str],
        usage: Usage,
        days: i64,
    ) -> Result<Identity, TlsConfigError> {
        let mut params = params(common_name, names, days)?;
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate().map_err(describe)?;
        let leaf = params.signed_by(&key, &self.0).map_err(describe)?;
        Ok(Identity {
            chain: vec![leaf.der().clone(), self.0.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }
}

fn params(common_name: &str, names: &[&str], days: i64) -> Result<CertificateParams, TlsConfigError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(describe)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(days);
    Ok(params)
}

#[allow(clippy::needless_pass_by_value)] // the signature that map_err requires
fn describe(error: rcgen::Error) -> TlsConfigError {
    TlsConfigError(format!("cannot create a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::common_name::common_name;

    #[test]
    fn a_leaf_has_the_common_name_it_was_issued_for() {
        let authority = Authority::new("test", 1).unwrap();
        let leaf = authority.issue("ns-a/pvc-ns-b/pvc", &[], Usage::Client, 1).unwrap();
        assert_eq!(common_name(&leaf.chain[0]).unwrap(), "ns-a/pvc-ns-b/pvc");
    }
}
