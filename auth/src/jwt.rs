//! JSON Web Tokens (RFC 7519), signed by a key that is known.

mod provider;

use core::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use roadbed_core::{Error, ErrorKind, Identity, Result, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::SetupError;
use crate::resource::identity;

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The shortest secret of an HMAC, in bytes: as long as the hash (RFC 7518, section 3.2), of which the shortest has 32.
const SECRET_BYTES_MIN: usize = 32;

/// Whose tokens are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSettings {
    /// The one algorithm by which they are signed, such as `ES256`; a token that names another is refused.
    pub algorithm: String,
    /// The file of the key: a public one in PEM, or the secret itself for HS256, HS384 and HS512.
    pub key_file: std::path::PathBuf,
    /// Who must have issued the token; empty: whoever has the key.
    #[serde(default)]
    pub issuer: String,
    /// For whom it must be; empty: a token that is for somebody in particular is refused.
    #[serde(default)]
    pub audience: String,
    /// The claim with the name of who comes in. Default `sub`.
    #[serde(default = "subject")]
    pub claim: String,
    /// Who comes in: a name, in which `{id}` is what the claim says. Default `{id}`.
    #[serde(default = "whoever")]
    pub identity: String,
}

fn subject() -> String {
    "sub".into()
}

fn whoever() -> String {
    "{id}".into()
}

/// Checks JSON Web Tokens.
#[derive(Debug, Default)]
pub struct JwtVerifier {
    rules: Vec<Rule>,
    skew: Duration,
}

#[derive(Debug)]
struct Rule {
    key: DecodingKey,
    validation: Validation,
    claim: String,
    identity: String,
}

impl JwtVerifier {
    /// Takes tokens up to `skew` after their end, and as much before their beginning.
    pub fn new(skew: Duration) -> Self {
        Self { rules: Vec::new(), skew }
    }

    /// Takes tokens that are signed by `key`, the contents of [`JwtSettings::key_file`].
    ///
    /// # Errors
    /// If the algorithm is not known, the key none for it, or the identity the same for everybody.
    pub fn add(&mut self, settings: &JwtSettings, key: &[u8]) -> core::result::Result<(), SetupError> {
        provider::install();
        let algorithm: Algorithm =
            settings.algorithm.parse().map_err(|_| SetupError::Algorithm(settings.algorithm.clone()))?;
        let wrong = |why: String| SetupError::Key { algorithm: settings.algorithm.clone(), why };
        let key = read(algorithm, key).map_err(wrong)?;
        provider::check(algorithm, &key).map_err(|why| wrong(why.to_owned()))?;
        if !settings.identity.contains("{id}") {
            return Err(SetupError::Identity(settings.claim.clone()));
        }
        let (claim, identity) = (settings.claim.clone(), settings.identity.clone());
        self.rules.push(Rule { key, validation: validation(algorithm, settings, self.skew), claim, identity });
        Ok(())
    }

    /// Whether it takes any tokens.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Who comes in with `token`, and until when.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if it is malformed, has ended or not begun, is for or by somebody else, does not say who comes in, or is
    /// signed in another way or by another key.
    pub fn verify(&self, token: &[u8]) -> Result<Identity> {
        let refused = |why: &str| Error::new(ErrorKind::Unauthenticated, "authenticate").detail(why);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused("the token is too long"));
        }
        let mut why = String::from("no tokens of this kind are taken");
        for rule in &self.rules {
            match decode::<Map<String, Value>>(token, &rule.key, &rule.validation) {
                Ok(data) => return rule.identity(&data.claims, self.skew).ok_or_else(|| refused("it names nobody")),
                Err(error) => why = error.to_string(),
            }
        }
        Err(refused(&why))
    }
}

impl Rule {
    fn identity(&self, claims: &Map<String, Value>, skew: Duration) -> Option<Identity> {
        let name = claims.get(&self.claim)?.as_str().filter(|name| !name.is_empty() && !name.contains('\0'))?;
        let until = claims.get("exp").and_then(seconds)?;
        let mut known = Identity::new(identity(&self.identity, name));
        known.valid_until = Some(Time::from_millis(until.saturating_mul(1000)) + skew);
        Some(known)
    }
}

/// `exp` is a number, which some write with a fraction.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
}

fn read(algorithm: Algorithm, key: &[u8]) -> core::result::Result<DecodingKey, String> {
    use Algorithm as A;
    let said = |error: jsonwebtoken::errors::Error| error.to_string();
    match algorithm {
        A::HS256 | A::HS384 | A::HS512 => {
            let secret = key.trim_ascii_end();
            if secret.len() < SECRET_BYTES_MIN {
                return Err(format!("a secret has at least {SECRET_BYTES_MIN} bytes"));
            }
            if secret.starts_with(b"-----BEGIN") {
                // A public key that is taken for a secret is one that everybody knows.
                return Err("it is in PEM, so it is no secret".into());
            }
            Ok(DecodingKey::from_secret(secret))
        }
        A::ES256 | A::ES384 => DecodingKey::from_ec_pem(key).map_err(said),
        A::EdDSA => DecodingKey::from_ed_pem(key).map_err(said),
        _ => DecodingKey::from_rsa_pem(key).map_err(said),
    }
}

fn validation(algorithm: Algorithm, settings: &JwtSettings, skew: Duration) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = skew.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if !settings.issuer.is_empty() {
        validation.set_issuer(&[&settings.issuer]);
        required.push("iss");
    }
    if !settings.audience.is_empty() {
        validation.set_audience(&[&settings.audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}
