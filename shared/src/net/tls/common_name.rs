//! The common name in a certificate's subject, which a target compares with `CLIENT_NAME` (docs/protocol.md section 2.4).
//!
//! A small DER parser instead of an X.509 crate: only one value is needed, from a certificate that rustls has already
//! verified.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::TlsConfigError;
use super::der::{
    Element, IA5_STRING, OID, PRINTABLE_STRING, SEQUENCE, SET, T61_STRING, UTF8_STRING, any_element, element,
};

/// id-at-commonName, 2.5.4.3 (RFC 5280, appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The common name in the subject of `leaf`. None or more than one is an error: an ambiguous identity is not accepted.
pub fn common_name(leaf: &CertificateDer<'_>) -> Result<String, TlsConfigError> {
    let certificate = EndEntityCert::try_from(leaf)
        .map_err(|e| TlsConfigError(format!("cannot parse the certificate: {e:?}")))?;
    let mut names = common_names(certificate.subject())
        .ok_or_else(|| TlsConfigError("the certificate's subject is malformed".to_owned()))?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (Some(_), false) => Err(TlsConfigError("the certificate has more than one common name".to_owned())),
        (None, _) => Err(TlsConfigError("the certificate has no common name".to_owned())),
    }
}

/// All common names in the content of an X.501 `RDNSequence` (without its outer tag and length); `None` if it is malformed.
pub fn common_names(mut subject: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !subject.is_empty() {
        let (mut set, rest) = element(subject, SET)?;
        subject = rest;
        while !set.is_empty() {
            let (pair, rest) = element(set, SEQUENCE)?;
            set = rest;
            let (oid, value) = element(pair, OID)?;
            if oid == COMMON_NAME {
                names.push(text(value)?);
            }
        }
    }
    Some(names)
}

fn text(value: &[u8]) -> Option<String> {
    let Element { tag, content, rest } = any_element(value)?;
    let known = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING | T61_STRING);
    (known && rest.is_empty()).then(|| String::from_utf8(content.to_vec()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SET { SEQUENCE { OID, UTF8String } }
    fn rdn(oid: &[u8], value: &str) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            let mut out = vec![tag, u8::try_from(content.len()).unwrap()];
            out.extend_from_slice(content);
            out
        };
        let mut pair = wrap(OID, oid);
        pair.extend(wrap(UTF8_STRING, value.as_bytes()));
        wrap(SET, &wrap(SEQUENCE, &pair))
    }

    #[test]
    fn other_attributes_are_skipped() {
        let subject = [rdn(&[0x55, 0x04, 0x0a], "org"), rdn(COMMON_NAME, "name")].concat();
        assert_eq!(common_names(&subject), Some(vec!["name".to_owned()]));
    }

    #[test]
    fn two_common_names_are_both_found() {
        let subject = [rdn(COMMON_NAME, "a"), rdn(COMMON_NAME, "b")].concat();
        assert_eq!(common_names(&subject).map(|names| names.len()), Some(2));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = common_names(&bytes);
        }
    }
}
