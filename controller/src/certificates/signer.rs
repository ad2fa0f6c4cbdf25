//! A certificate authority: its key, its certificate, and the bundle of trusted certificates.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::objects::{Object, Secret, decode};

/// The lifetime of an authority. Its successor is created after half of it.
const LIFE: time::Duration = time::Duration::days(365);
/// Certificates are backdated by this, so that a slow clock accepts them.
const BACKDATE: time::Duration = time::Duration::hours(1);
/// In the Secret: the end of the authority, in seconds since 1970.
const NOT_AFTER: &str = "not-after";
/// In the Secret: the name of the authority, which is the issuer of its leaves.
const NAME: &str = "common-name";
/// In the Secret: all trusted certificates.
const BUNDLE: &str = "ca-bundle.crt";

/// The usage of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Authenticates a server.
    Server,
    /// Authenticates a client.
    Client,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate; for a server followed by the certificate of the authority.
    pub chain_pem: String,
    /// The private key.
    pub key_pem: String,
}

/// A certificate authority.
#[derive(Debug, Clone)]
pub struct Signer {
    name: String,
    certificate_pem: String,
    key_pem: String,
    /// The trusted certificates: this authority, and its predecessor until it expires.
    pub bundle_pem: String,
    not_after: OffsetDateTime,
}

impl Signer {
    /// A new authority with an ECDSA P-256 key: ring does not generate RSA keys.
    pub fn new(name: &str, now: OffsetDateTime) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let name = format!("{name}@{}", now.unix_timestamp());
        let mut params = params(&name, now, LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate_pem = pem("CERTIFICATE", params.self_signed(&key).map_err(|e| e.to_string())?.der());
        Ok(Self {
            name,
            bundle_pem: certificate_pem.clone(),
            certificate_pem,
            key_pem: pem("PRIVATE KEY", key.serialized_der()),
            not_after: now + LIFE,
        })
    }

    /// The successor; this authority stays trusted until it expires.
    pub fn successor(&self, name: &str, now: OffsetDateTime) -> Result<Self, String> {
        let mut new = Self::new(name, now)?;
        if now < self.not_after {
            new.bundle_pem += &self.certificate_pem;
        }
        Ok(new)
    }

    /// Whether it is time for a successor.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        now > self.not_after - LIFE / 2
    }

    /// The end of its lifetime.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// A short identifier of the authority.
    pub fn id(&self) -> String {
        self.not_after.unix_timestamp().to_string()
    }

    /// The data of the Secret.
    pub fn data(&self) -> Value {
        let encode = |text: &str| STANDARD.encode(text);
        json!({
            "tls.crt": encode(&self.certificate_pem),
            "tls.key": encode(&self.key_pem),
            BUNDLE: encode(&self.bundle_pem),
            NAME: encode(&self.name),
            NOT_AFTER: encode(&self.not_after.unix_timestamp().to_string()),
        })
    }

    /// The authority in a Secret, as the API server sent it.
    pub fn of(object: &Object) -> Result<Self, String> {
        Self::read(&decode(object).map_err(|e| e.to_string())?)
    }

    /// The authority in a Secret.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let text = |name: &str| secret.text(name);
        let seconds: i64 = text(NOT_AFTER)?.trim().parse().map_err(|e| format!("{NOT_AFTER}: {e}"))?;
        let signer = Self {
            name: text(NAME)?,
            certificate_pem: text("tls.crt")?,
            key_pem: text("tls.key")?,
            bundle_pem: text(BUNDLE)?,
            not_after: OffsetDateTime::from_unix_timestamp(seconds)
                .map_err(|e| format!("{NOT_AFTER}: {e}"))?,
        };
        signer.issuer()?;
        Ok(signer)
    }

    /// Issues a leaf for `common_name` and the DNS names `names`.
    pub fn issue(
        &self,
        common_name: &str,
        names: &[String],
        usage: Usage,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<Leaf, String> {
        let life = time::Duration::try_from(life).map_err(|e| e.to_string())?;
        let mut params = params(common_name, now, life)?;
        for name in names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into().map_err(|e| format!("{e}"))?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let leaf = params.signed_by(&key, &self.issuer()?).map_err(|e| e.to_string())?;
        let mut chain_pem = pem("CERTIFICATE", leaf.der());
        if usage == Usage::Server {
            chain_pem += &self.certificate_pem;
        }
        Ok(Leaf { chain_pem, key_pem: pem("PRIVATE KEY", key.serialized_der()) })
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, String> {
        use decant_shared::net::tls::pem;
        let key = pem::private_key(self.key_pem.as_bytes(), "tls.key").map_err(|e| e.to_string())?;
        let key = KeyPair::try_from(&key).map_err(|e| format!("tls.key: {e}"))?;
        // Leaves need only the name and the key of the issuer.
        let mut params = CertificateParams::new(Vec::new()).map_err(|e| e.to_string())?;
        params.distinguished_name = distinguished(&self.name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(Issuer::new(params, key))
    }
}

fn params(common_name: &str, now: OffsetDateTime, life: time::Duration) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|e| e.to_string())?;
    params.distinguished_name = distinguished(common_name);
    params.not_before = now - BACKDATE;
    params.not_after = now + life;
    Ok(params)
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out += &String::from_utf8_lossy(line);
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(signer: &Signer) -> Secret {
        decode(json!({ "data": signer.data() })).unwrap()
    }

    #[test]
    fn an_authority_is_read_back_from_its_secret() {
        let now = OffsetDateTime::now_utc();
        let signer = Signer::read(&secret(&Signer::new("ns_name", now).unwrap())).unwrap();
        let leaf = signer.issue("a", &["a.b.svc".to_owned()], Usage::Server, Duration::from_secs(60), now);
        assert_eq!(leaf.unwrap().chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!signer.is_due(now) && signer.is_due(now + LIFE / 2 + BACKDATE));
    }

    #[test]
    fn a_successor_trusts_its_predecessor_until_it_expires() {
        let now = OffsetDateTime::now_utc();
        let old = Signer::new("ns_name", now).unwrap();
        let count = |signer: &Signer| signer.bundle_pem.matches("BEGIN CERTIFICATE").count();
        assert_eq!(count(&old.successor("n", now + LIFE / 2).unwrap()), 2);
        assert_eq!(count(&old.successor("n", now + LIFE * 2).unwrap()), 1);
    }

    #[test]
    fn the_missing_entry_of_a_damaged_secret_is_named() {
        let mut damaged = secret(&Signer::new("n", OffsetDateTime::now_utc()).unwrap());
        damaged.data.remove("tls.key");
        assert!(Signer::read(&damaged).unwrap_err().contains("tls.key is missing"));
    }
}
