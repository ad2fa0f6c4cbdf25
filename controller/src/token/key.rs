//! The key that signs and verifies tokens: created once, stored in a Secret, never overwritten.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use decant_shared::protocol::limit_order::LimitSigner;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use crate::api::cluster::{ApiError, Cluster};
use crate::objects::{Key, Kind};

/// The Secret with the key, in the controller's namespace. Anyone who can read it can allow any clone.
pub const KEY_SECRET: &str = "decant-token-key";
/// The only entry of the Secret.
const ENTRY: &str = "key";
/// The useful key length of HMAC-SHA-256 (RFC 2104, section 3).
const KEY_BYTES: usize = 32;
/// The private key of limit orders is the HMAC of this text. Tokens start with a letter, and seals with other bytes.
const LIMIT_SEED: &[u8] = b"\0decant limit orders 1\0";

/// Signs and verifies tokens.
pub struct TokenKey(hmac::Key);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// The key with these bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads the key from [`KEY_SECRET`] in `namespace`, or creates it. Of several controllers that create it at the
    /// same time one wins, and all use its key. The error names the Secret and is for the log.
    pub fn load(cluster: &dyn Cluster, namespace: &str) -> Result<Self, String> {
        let at = Key::new(namespace, KEY_SECRET);
        let failed =
            |failed_action: &str, error: ApiError| format!("cannot {failed_action} Secret {at}: {error}");
        let secret = match cluster.get(Kind::Secret, &at) {
            Err(error) if error.is_not_found() => match cluster.create(Kind::Secret, &fresh_secret(&at)?) {
                Err(error) if error.already_exists() => {
                    cluster.get(Kind::Secret, &at).map_err(|error| failed("read", error))?
                }
                made => made.map_err(|error| failed("create", error))?,
            },
            found => found.map_err(|error| failed("read", error))?,
        };
        key_in(&secret.value()).ok_or_else(|| {
            format!(
                "Secret {at} has no entry {ENTRY:?} of {KEY_BYTES} bytes; delete the Secret to create a new key"
            )
        })
    }

    /// The signer of orders about bandwidth limits. Its private key is derived from this key, so all replicas have the
    /// same one.
    pub fn limit_signer(&self) -> Option<LimitSigner> {
        let seed = self.sign(LIMIT_SEED);
        LimitSigner::from_seed(seed.as_ref().try_into().ok()?)
    }

    pub(super) fn sign(&self, text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, text)
    }

    /// Compares in constant time.
    pub(super) fn has_signed(&self, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, text, tag).is_ok()
    }
}

fn fresh_secret(at: &Key) -> Result<Value, String> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "cannot generate random numbers".to_owned())?;
    Ok(json!({
        "apiVersion": Kind::Secret.api_version(),
        "kind": Kind::Secret.name(),
        "metadata": {"namespace": at.namespace, "name": at.name},
        "type": "Opaque",
        // A changed key would silently revoke all existing permissions.
        "immutable": true,
        "data": {ENTRY: BASE64_STANDARD.encode(bytes)},
    }))
}

fn key_in(secret: &Value) -> Option<TokenKey> {
    let bytes = BASE64_STANDARD.decode(secret.get("data")?.get(ENTRY)?.as_str()?).ok()?;
    Some(TokenKey::new(bytes.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::api::cluster::not_expected;
    use crate::objects::Object;

    type Answer = Result<Object, ApiError>;

    /// Returns scripted responses to get and create, and keeps created objects.
    struct Scripted {
        gets: Mutex<VecDeque<Answer>>,
        /// `None` creates the object.
        create: Option<ApiError>,
        made: Mutex<Vec<Value>>,
    }

    impl Scripted {
        fn new(gets: impl IntoIterator<Item = Answer>, create: Option<ApiError>) -> Self {
            Self { gets: Mutex::new(gets.into_iter().collect()), create, made: Mutex::default() }
        }
    }

    impl Cluster for Scripted {
        fn get(&self, kind: Kind, key: &Key) -> Answer {
            assert_eq!((kind, key), (Kind::Secret, &Key::new("decant", KEY_SECRET)));
            self.gets.lock().unwrap().pop_front().expect("one more get than expected")
        }
        fn create(&self, _: Kind, object: &Value) -> Answer {
            self.made.lock().unwrap().push(object.clone());
            self.create.clone().map_or_else(|| Ok(object.clone().into()), Err)
        }

        not_expected!(list, watch, patch, replace, delete, pod_proxy);
    }

    fn error(code: u16, reason: &str) -> ApiError {
        ApiError { code, reason: reason.to_owned(), message: "no".to_owned() }
    }

    fn stored(byte: u8) -> Value {
        json!({"data": {"key": BASE64_STANDARD.encode([byte; 32])}})
    }

    fn is_same(one: &TokenKey, other: &TokenKey) -> bool {
        one.has_signed(b"text", other.sign(b"text").as_ref())
    }

    #[test]
    fn an_existing_key_is_used() {
        let cluster = Scripted::new([Ok(stored(7).into())], None);
        assert!(is_same(&TokenKey::load(&cluster, "decant").unwrap(), &TokenKey::new(&[7; 32])));
        assert!(cluster.made.lock().unwrap().is_empty());
    }

    #[test]
    fn a_missing_key_is_created_at_random() {
        let load = || TokenKey::load(&Scripted::new([Err(error(404, "NotFound"))], None), "decant").unwrap();
        assert!(!is_same(&load(), &load()));
    }

    #[test]
    fn the_first_of_two_creators_wins() {
        let gets = [Err(error(404, "NotFound")), Ok(stored(9).into())];
        let cluster = Scripted::new(gets, Some(error(409, "AlreadyExists")));
        assert!(is_same(&TokenKey::load(&cluster, "decant").unwrap(), &TokenKey::new(&[9; 32])));
    }

    #[test]
    fn a_damaged_key_is_an_error_and_not_replaced() {
        for secret in
            [json!({}), json!({"data": {"key": "AAAA"}}), json!({"data": {"key": "!"}}), json!({"data": 5})]
        {
            let cluster = Scripted::new([Ok(secret.into())], None);
            let complaint = TokenKey::load(&cluster, "decant").unwrap_err();
            assert!(complaint.contains("Secret decant/decant-token-key has no entry"), "{complaint}");
            assert!(cluster.made.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn a_refused_call_is_named() {
        let complaint =
            TokenKey::load(&Scripted::new([Err(error(403, "Forbidden"))], None), "decant").unwrap_err();
        assert!(complaint.starts_with("cannot read Secret decant/decant-token-key"), "{complaint}");
    }

    #[test]
    fn each_key_has_its_own_signer_of_limits() {
        let public_key = |byte: u8| TokenKey::new(&[byte; 32]).limit_signer().unwrap().public_key();
        assert_eq!(public_key(7), public_key(7));
        assert_ne!(public_key(7), public_key(8));
    }

    #[test]
    fn the_key_is_not_logged() {
        assert_eq!(format!("{:?}", TokenKey::new(&[7; 32])), "TokenKey");
    }
}
