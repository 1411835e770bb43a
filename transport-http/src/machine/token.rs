//! Lock tokens: the durable name of a delivery, signed for its owner.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use roadbed_core::DeliveryId;
use sha2::Sha256;

use crate::config::TokenKey;

const MAC_LEN: usize = 16;
const LEN: usize = DeliveryId::LEN + MAC_LEN;

/// Makes and checks lock tokens.
///
/// A token is 48 characters of base64url: the delivery's id (20 bytes), and a MAC of it and the owner's name (16 bytes of
/// HMAC-SHA-256). It opens the lock on every server with the key, for its owner alone.
#[derive(Debug)]
pub(crate) struct LockTokens(Hmac<Sha256>);

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// It was never a token.
    Malformed,
    /// It is another's, or of another key.
    Foreign,
}

impl LockTokens {
    pub(crate) fn new(key: &TokenKey) -> Self {
        Self(Hmac::new_from_slice(&key.0).expect("HMAC takes a key of any length"))
    }

    /// The token of a delivery that `principal` holds.
    pub(crate) fn sign(&self, id: DeliveryId, principal: &str) -> String {
        let mut bytes = [0; LEN];
        let id = id.to_bytes();
        bytes[..DeliveryId::LEN].copy_from_slice(&id);
        bytes[DeliveryId::LEN..].copy_from_slice(&self.mac(&id, principal).finalize().into_bytes()[..MAC_LEN]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The delivery that the token names, if it is `principal`'s.
    pub(crate) fn open(&self, token: &str, principal: &str) -> Result<DeliveryId, TokenError> {
        let mut bytes = [0; LEN];
        match URL_SAFE_NO_PAD.decode_slice(token, &mut bytes) {
            Ok(LEN) => {}
            _ => return Err(TokenError::Malformed),
        }
        let (id, mac) = bytes.split_at(DeliveryId::LEN);
        self.mac(id, principal).verify_truncated_left(mac).map_err(|_| TokenError::Foreign)?;
        DeliveryId::from_bytes(id).ok_or(TokenError::Malformed)
    }

    fn mac(&self, id: &[u8], principal: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(id);
        mac.update(principal.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_opens_for_its_owner_alone(bytes in any::<[u8; 20]>(), owner in ".{0,8}", other in ".{0,8}") {
            let tokens = LockTokens::new(&TokenKey([7; 32]));
            let id = DeliveryId::from_bytes(&bytes).unwrap();
            let token = tokens.sign(id, &owner);
            prop_assert_eq!(token.len(), 48);
            prop_assert_eq!(tokens.open(&token, &owner), Ok(id));
            if owner != other {
                prop_assert_eq!(tokens.open(&token, &other), Err(TokenError::Foreign));
            }
            prop_assert_eq!(LockTokens::new(&TokenKey([8; 32])).open(&token, &owner), Err(TokenError::Foreign));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = LockTokens::new(&TokenKey([7; 32])).open(&text, "");
        }

        #[test]
        fn a_changed_token_opens_nothing(bytes in any::<[u8; 20]>(), at in 0..48_usize) {
            let tokens = LockTokens::new(&TokenKey([7; 32]));
            let mut token = tokens.sign(DeliveryId::from_bytes(&bytes).unwrap(), "me").into_bytes();
            token[at] = if token[at] == b'A' { b'B' } else { b'A' };
            prop_assert!(tokens.open(std::str::from_utf8(&token).unwrap(), "me").is_err());
        }
    }
}
