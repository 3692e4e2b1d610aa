//! Signatures that were found right a moment ago, so that the second reader of a process does not pay for them again. What is
//! remembered is the hash of key, signature and signed bytes together: whatever differs in any of them is verified anew. Nothing
//! else is remembered; whether the key may say it is judged each time.

use ring::digest::{Context, SHA256};

use super::PublicKey;

/// 8,192 of 32 bytes, 256 KiB: two seconds of a journal of 3,000 facts a second, and readers of one process are milliseconds apart.
const SLOTS: usize = 8_192;

type Hash = [u8; 32];

/// Signatures that were found right.
#[derive(Clone, Debug)]
pub struct Verified(Vec<Option<Hash>>);

impl Default for Verified {
    fn default() -> Self {
        Self(vec![None; SLOTS])
    }
}

impl Verified {
    /// Whether `signature` is right; looked up, or verified and remembered if it is.
    pub(super) fn verifies(&mut self, public: &PublicKey, bytes: &[u8], signature: &str) -> bool {
        let hash = hash(public, bytes, signature);
        let slot = usize::from(u16::from_be_bytes([hash[0], hash[1]])) % SLOTS;
        if self.0[slot] == Some(hash) {
            return true;
        }
        let right = public.verifies(bytes, signature);
        if right {
            self.0[slot] = Some(hash);
        }
        right
    }
}

fn hash(public: &PublicKey, bytes: &[u8], signature: &str) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(public.as_bytes());
    // Its length is before it: no end of a signature can be taken for the beginning of what was signed.
    context.update(&(signature.len() as u64).to_be_bytes());
    context.update(signature.as_bytes());
    context.update(bytes);
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::super::Signer;
    use super::*;

    #[test]
    fn only_what_was_right_is_remembered_and_only_for_itself() {
        let (one, two) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let signature = one.signature(b"said");
        let mut verified = Verified::default();
        let mut check = |public: PublicKey, bytes: &[u8], signature: &str, expected: bool| {
            for _ in 0..2 {
                assert_eq!(verified.verifies(&public, bytes, signature), expected, "{bytes:?}");
            }
        };
        check(one.public(), b"said", &signature, true);
        check(one.public(), b"sale", &signature, false);
        check(two.public(), b"said", &signature, false);
        check(one.public(), b"said", &two.signature(b"said"), false);
        check(one.public(), b"said", "", false);
        assert_eq!(verified.0.iter().flatten().count(), 1);
    }
}
