use crate::{SALT_BYTES, ScramHash, Verifier};

/// A verifier for a user who is not there: the same one each time for the same name, and nobody's password.
pub(crate) fn decoy(secret: &[u8; 32], hash: ScramHash, user: &str, iterations: u32) -> Verifier {
    let part = |what: &str| hash.hmac(secret, format!("{what} {hash} {user}").as_bytes());
    let mut salt = part("salt");
    salt.truncate(SALT_BYTES);
    let (stored_key, server_key) = (part("stored key"), part("server key"));
    Verifier { hash, iterations, salt, stored_key, server_key }
}
