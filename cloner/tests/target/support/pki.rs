//! Certificates of every kind that a target can meet.

use std::net::Ipv4Addr;

use decant_shared::net::tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// The common name that targets in these tests wait for.
pub(crate) const SENDER: &str = "source-ns/source-pvc-target-ns/target-pvc";

/// An authority, at the root or below another one.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Itself and what is between it and the root, for the chains of its leaves. Empty at the root.
    above: Vec<CertificateDer<'static>>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap();
        Self { issuer, above: Vec::new() }
    }

    /// An authority that this one vouches for.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(ca_params(name), key, &*self.issuer).unwrap();
        let above = [vec![issuer.der().clone()], self.above.clone()].concat();
        Self { issuer, above }
    }

    /// A client's certificate that is valid today.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.client_until(name, Duration::days(1))
    }

    /// A client's certificate that ends this long from now.
    pub(crate) fn client_until(&self, name: &str, end: Duration) -> Identity {
        self.leaf(params(name, end), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server's certificate for the loopback address.
    pub(crate) fn server(&self) -> Identity {
        self.server_until(Duration::days(1))
    }

    /// The same that ends this long from now.
    pub(crate) fn server_until(&self, end: Duration) -> Identity {
        let mut params = params("target", end);
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        self.leaf(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", self.issuer.der())
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    fn leaf(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = [vec![leaf.der().clone()], self.above.clone()].concat();
        Identity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }
}

/// The chain as a PEM file holds it.
pub(crate) fn chain_pem(identity: &Identity) -> String {
    identity.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
}

/// The key as a PEM file holds it.
pub(crate) fn key_pem(identity: &Identity) -> String {
    pem("PRIVATE KEY", identity.key.secret_der())
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name, Duration::days(1));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn params(name: &str, end: Duration) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - Duration::days(2), now + end);
    params
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let value =
                group.iter().chain([&0, &0]).take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            for at in 0..4 {
                let digit = char::from(DIGITS[value >> (18 - 6 * at) & 63]);
                text.push(if at <= group.len() { digit } else { '=' });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
