use crate::{SALT_BYTES, ScramHash, Verifier};

/// A verifier for a user who is not there: the same one each time for the same name, and nobody's password.
pub(crate) fn decoy(secret: &[u8; 32], hash: ScramHash, user: &str, iterations: u32) -> Verifier {
    let part = |what: &str| hash.hmac(secret, format!("{what} {hash} {user}").as_bytes());
    let mut salt = part("salt");
    salt.truncate(SALT_BYTES);
    let (stored_key, server_key) = (part("stored key"), part("server key"));
    Verifier { hash, iterations, salt, stored_key, server_key }
}

/// A secret for [`ScramServer::new`](crate::ScramServer::new) that lasts as long as the verifiers from which it is made.
pub fn secret_of<'a>(verifiers: impl IntoIterator<Item = &'a Verifier>) -> [u8; 32] {
    let all: String = verifiers.into_iter().map(ToString::to_string).collect();
    let mut secret = [0; 32];
    secret.copy_from_slice(&ScramHash::Sha256.hmac(b"users who are not there", all.as_bytes()));
    secret
}
