//! The cryptography of the tokens: that of `ring`, which TLS has already.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::{hmac, signature as ring_sig};
use signature::Verifier;

static RING: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Once in a process. Where somebody has installed another one, that one is used.
pub(super) fn install() {
    let _ = RING.install_default();
}

/// Whether something can be verified with this key at all.
pub(super) fn check(algorithm: Algorithm, key: &DecodingKey) -> core::result::Result<(), &'static str> {
    if key.family() != family(algorithm) {
        return Err("it is of another family");
    }
    let bytes = key.try_get_as_bytes().map_err(|_| "it is in an unknown form")?;
    let fits = match algorithm {
        // Uncompressed points, and a point of the other curve.
        Algorithm::ES256 => bytes.len() == 65,
        Algorithm::ES384 => bytes.len() == 97,
        Algorithm::EdDSA => bytes.len() == 32,
        _ => !bytes.is_empty(),
    };
    if fits { Ok(()) } else { Err("it is of another curve or form") }
}

fn family(algorithm: Algorithm) -> jsonwebtoken::AlgorithmFamily {
    use jsonwebtoken::AlgorithmFamily as F;
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => F::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => F::Ec,
        Algorithm::EdDSA => F::Ed,
        _ => F::Rsa,
    }
}

/// Nothing is signed here.
fn signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    check(*algorithm, key).map_err(|_| ErrorKind::InvalidKeyFormat)?;
    Ok(Box::new(Ring { algorithm: *algorithm, key: key.try_get_as_bytes()?.to_vec() }))
}

struct Ring {
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> core::result::Result<(), signature::Error> {
        let verified = match how(self.algorithm) {
            Some(How::Mac(algorithm)) => hmac::verify(&hmac::Key::new(algorithm, &self.key), message, signed),
            Some(How::Public(algorithm)) => {
                ring_sig::UnparsedPublicKey::new(algorithm, &self.key).verify(message, signed)
            }
            None => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

enum How {
    Mac(hmac::Algorithm),
    Public(&'static dyn ring_sig::VerificationAlgorithm),
}

fn how(algorithm: Algorithm) -> Option<How> {
    Some(match algorithm {
        Algorithm::HS256 => How::Mac(hmac::HMAC_SHA256),
        Algorithm::HS384 => How::Mac(hmac::HMAC_SHA384),
        Algorithm::HS512 => How::Mac(hmac::HMAC_SHA512),
        Algorithm::ES256 => How::Public(&ring_sig::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => How::Public(&ring_sig::ECDSA_P384_SHA384_FIXED),
        Algorithm::RS256 => How::Public(&ring_sig::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => How::Public(&ring_sig::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => How::Public(&ring_sig::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => How::Public(&ring_sig::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => How::Public(&ring_sig::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => How::Public(&ring_sig::RSA_PSS_2048_8192_SHA512),
        Algorithm::EdDSA => How::Public(&ring_sig::ED25519),
        _ => return None,
    })
}
