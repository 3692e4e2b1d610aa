//! Ed25519 keys: the private one that signs, the public one that verifies, and the short id that headers carry.
//! A private key enters as bytes and never leaves, not even in debug output.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// 8 bytes of the hash: two keys of a roster never share them by chance, and a roster refuses two that do.
const ID_BYTES: usize = 8;
/// The length of an Ed25519 public key.
const PUBLIC_BYTES: usize = 32;

/// Why something is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The text of a public key.
    #[error("'{0}' is not a public key: base64 of 32 bytes is expected, as `millrace key new` prints it")]
    Public(String),
    /// The bytes of a private key. They are not shown.
    #[error("no Ed25519 private key (PKCS#8): {0}")]
    Private(String),
}

/// Names a key: 16 hexadecimal digits of the SHA-256 of the public key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Equal texts are equal ids, so maps of ids can be asked with text.
impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PUBLIC_BYTES]);

impl PublicKey {
    /// Its id.
    pub fn id(&self) -> KeyId {
        let hash = digest(&SHA256, &self.0);
        let first: [u8; ID_BYTES] = hash.as_ref()[..ID_BYTES].try_into().expect("a hash has more bytes than an id");
        KeyId(format!("{:016x}", u64::from_be_bytes(first)))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `signature`, in base64, is this key's over `bytes`.
    pub(super) fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; PUBLIC_BYTES]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| BadKey::Public(text.chars().take(64).collect()))
    }
}

/// A private key.
pub struct Signer {
    pair: Ed25519KeyPair,
    id: KeyId,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, ..)", self.id)
    }
}

impl Signer {
    /// Reads a PKCS#8 document, with the public key in it (as `millrace key new` writes it) or without (as OpenSSL does).
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document);
        pair.map(Self::of).map_err(|error| BadKey::Private(error.to_string()))
    }

    /// The key of a seed of 32 bytes, for tests and examples that must be the same each time.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::of(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed"))
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let mut signer = Self { pair, id: KeyId(String::new()) };
        signer.id = signer.public().id();
        signer
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// The id of the key.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The signature over `bytes`, in base64.
    pub(super) fn signature(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(bytes))
    }
}
