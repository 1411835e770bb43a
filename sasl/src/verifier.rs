use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::ScramHash;

/// How often a new verifier's password is hashed, unless somebody says otherwise: some 20 ms of a client's processor.
pub const ITERATIONS: u32 = 50_000;
/// The fewest iterations that are taken (RFC 7677, section 4).
pub const ITERATIONS_MIN: u32 = 4096;
/// How many bytes of salt a new verifier should have. Those made up for users who are not there have as many.
pub const SALT_BYTES: usize = 16;
/// The longest salt, in bytes.
const SALT_BYTES_MAX: usize = 1024;

/// What a server keeps instead of a password (RFC 5802, section 3): enough to check a proof, too little to make one.
///
/// Its text is that of RFC 5803: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(crate) hash: ScramHash,
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
}

/// Why a text is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifierError {
    /// It does not begin with `SCRAM-SHA-256$` or `SCRAM-SHA-512$`.
    Hash,
    /// It is not `iterations:salt$StoredKey:ServerKey`, the last three in base64 and of the right length.
    Form,
    /// Its iterations are fewer than [`ITERATIONS_MIN`].
    Iterations,
}

impl Verifier {
    /// The verifier of `password`, which is hashed `iterations` times: as slow as it is meant to be.
    pub fn derive(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = hash.pbkdf2(&prepared(password), salt, iterations);
        let stored_key = hash.digest(&hash.hmac(&salted, b"Client Key"));
        let server_key = hash.hmac(&salted, b"Server Key");
        Self { hash, iterations, salt: salt.to_vec(), stored_key, server_key }
    }

    /// Which mechanism it is for.
    pub const fn hash(&self) -> ScramHash {
        self.hash
    }

    /// How often the password is hashed.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether this is the verifier of `password`, which came in the clear. As slow as [`derive`](Self::derive); how long the comparison takes
    /// tells nothing.
    pub fn matches(&self, password: &[u8]) -> bool {
        let other = Self::derive(self.hash, password, &self.salt, self.iterations);
        other.stored_key.ct_eq(&self.stored_key).into()
    }
}

impl fmt::Debug for Verifier {
    /// Never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, {} iterations)", self.hash, self.iterations)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt, &self.stored_key, &self.server_key].map(|key| STANDARD.encode(key));
        write!(f, "{}${}:{salt}${stored}:{server}", self.hash, self.iterations)
    }
}

impl FromStr for Verifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let (scheme, rest) = text.split_once('$').ok_or(VerifierError::Hash)?;
        let hash = ScramHash::of_mechanism(scheme).ok_or(VerifierError::Hash)?;
        let (info, keys) = rest.split_once('$').ok_or(VerifierError::Form)?;
        let (iterations, salt) = info.split_once(':').ok_or(VerifierError::Form)?;
        let (stored, server) = keys.split_once(':').ok_or(VerifierError::Form)?;
        let decode = |text| STANDARD.decode(text).map_err(|_| VerifierError::Form);
        let (salt, stored_key, server_key) = (decode(salt)?, decode(stored)?, decode(server)?);
        let right = |key: &Vec<u8>| key.len() == hash.bytes();
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX || !right(&stored_key) || !right(&server_key) {
            return Err(VerifierError::Form);
        }
        let iterations: u32 = iterations.parse().map_err(|_| VerifierError::Form)?;
        if iterations < ITERATIONS_MIN {
            return Err(VerifierError::Iterations);
        }
        Ok(Self { hash, iterations, salt, stored_key, server_key })
    }
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash => f.write_str("it begins with neither SCRAM-SHA-256$ nor SCRAM-SHA-512$"),
            Self::Form => f.write_str("it is not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey"),
            Self::Iterations => write!(f, "it has fewer than {ITERATIONS_MIN} iterations"),
        }
    }
}

impl std::error::Error for VerifierError {}

/// A password as both ends hash it (RFC 4013); what is no text, or may not be in one, stays as it is.
pub(crate) fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    let text = core::str::from_utf8(password).ok();
    match text.and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}
