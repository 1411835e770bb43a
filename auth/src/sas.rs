//! SAS tokens: an HMAC-SHA256 over a resource and the time until which it holds.

mod token;

use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use roadbed_core::{Error, ErrorKind, Identity, Result, Time};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::resource::{Resource, identity};
use crate::{Secret, SetupError};
pub use token::{SasToken, SasTokenError};

/// Whose tokens are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SasSettings {
    /// The name of the key that a token says (`skn`); empty: the token says none.
    #[serde(default)]
    pub key_name: String,
    /// The resource of a token, such as `hub.example/devices/{id}`, where `{id}` is any one level.
    pub resource: String,
    /// Who comes in with it: a name, in which `{id}` is what it was in the resource. Default `{id}`.
    #[serde(default = "whoever")]
    pub identity: String,
    /// One key, or two, so that the old one can go on while the new one is being given out. A key that is base64 holds as what it
    /// means and as it stands.
    pub keys: Vec<Secret>,
}

fn whoever() -> String {
    "{id}".into()
}

/// Checks SAS tokens.
#[derive(Debug, Default)]
pub struct SasVerifier {
    rules: Vec<Rule>,
    skew: Duration,
}

struct Rule {
    key_name: String,
    resource: Resource,
    identity: String,
    keys: Vec<Vec<u8>>,
}

impl core::fmt::Debug for Rule {
    /// Never shows a key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rule")
            .field("resource", &self.resource)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl SasVerifier {
    /// Takes tokens of these, up to `skew` after their end, because clocks differ.
    ///
    /// # Errors
    /// If a rule has no key, more than two or an empty one, a resource that is not one, or lets several resources in as one name by mistake.
    pub fn new(settings: &[SasSettings], skew: Duration) -> core::result::Result<Self, SetupError> {
        Ok(Self { rules: settings.iter().map(Rule::new).collect::<core::result::Result<_, _>>()?, skew })
    }

    /// Whether it takes any tokens.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Who comes in with `token`, and until when.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if it is malformed, has ended, or is signed by none of the keys for its resource. All keys are tried,
    /// so that the time does not tell which was nearly right.
    pub fn verify(&self, token: &[u8], now: Time) -> Result<Identity> {
        let refused = || Error::new(ErrorKind::Unauthenticated, "authenticate");
        let token = SasToken::parse(token).map_err(|error| refused().detail(error))?;
        let until = token.expires_at() + self.skew;
        let found = self.rules.iter().find_map(|rule| rule.of(&token));
        let Some((rule, name)) = found else {
            // As long as with a key, so that the time does not tell which resources have one.
            let _ = bool::from(mac(&[0; 32], &token).ct_eq(token.signature()));
            return Err(refused().detail("no key is for this resource"));
        };
        let mut right = Choice::from(0);
        for key in &rule.keys {
            right |= mac(key, &token).ct_eq(token.signature());
        }
        if !bool::from(right) {
            return Err(refused().detail("the signature is not by a key for this resource"));
        }
        if until.has_passed(now) {
            return Err(refused().detail("the token has ended"));
        }
        let mut identity = Identity::new(name);
        identity.valid_until = Some(until);
        Ok(identity)
    }
}

impl Rule {
    fn new(settings: &SasSettings) -> core::result::Result<Self, SetupError> {
        let resource = Resource::new(&settings.resource)?;
        let texts: Vec<_> = settings.keys.iter().map(Secret::reveal).collect();
        if texts.is_empty() || texts.len() > 2 || texts.iter().any(|text| text.len() < KEY_BYTES_MIN) {
            return Err(SetupError::Keys(settings.resource.clone()));
        }
        if settings.identity.is_empty() || settings.identity.contains("{id}") != resource.has_place() {
            return Err(SetupError::Identity(settings.resource.clone()));
        }
        let keys = texts.into_iter().flat_map(forms).collect();
        Ok(Self { key_name: settings.key_name.clone(), resource, identity: settings.identity.clone(), keys })
    }

    /// Who `token` is for, if it is one of this rule's.
    fn of(&self, token: &SasToken<'_>) -> Option<(&Self, String)> {
        if token.key_name() != self.key_name {
            return None;
        }
        let id = self.resource.matches(&token.resource())?;
        Some((self, identity(&self.identity, &id)))
    }
}

/// The shortest key, in bytes of its text.
const KEY_BYTES_MIN: usize = 16;

/// What a key can mean: some clients take its text as base64, some as it stands.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let decoded = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    let decoded = decoded.ok().filter(|key| !key.is_empty());
    decoded.into_iter().chain([text.as_bytes().to_vec()]).collect()
}

fn mac(key: &[u8], token: &SasToken<'_>) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    let (resource, expiry) = token.signed();
    mac.update(resource.as_bytes());
    mac.update(b"\n");
    mac.update(expiry.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The token that `key`, as its bytes are, signs for `resource` until the Unix time `expires_secs`.
pub fn sign(key: &[u8], key_name: &str, resource: &str, expires_secs: u64) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let resource = encode(resource);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{resource}\n{expires_secs}").as_bytes());
    let signature = encode(&STANDARD.encode(mac.finalize().into_bytes()));
    let name = if key_name.is_empty() { String::new() } else { format!("&skn={}", encode(key_name)) };
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires_secs}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const OTHER: &str = "a key that is no base64!";

    fn settings() -> SasSettings {
        SasSettings {
            resource: "hub.example/devices/{id}".into(),
            identity: "{id}".into(),
            keys: vec![Secret::new(KEY), Secret::new(OTHER)],
            ..SasSettings::default()
        }
    }

    fn verifier() -> SasVerifier {
        let service = SasSettings {
            key_name: "service".into(),
            resource: "hub.example".into(),
            identity: "backend".into(),
            keys: vec![Secret::new(OTHER)],
        };
        SasVerifier::new(&[settings(), service], Duration::from_secs(5)).unwrap()
    }

    fn at(secs: u64) -> Time {
        Time::from_millis(secs * 1000)
    }

    fn verify(token: &str, now: u64) -> Result<Identity> {
        verifier().verify(token.as_bytes(), at(now))
    }

    #[test]
    fn either_key_in_either_form_lets_the_device_of_the_resource_in() {
        let decoded = STANDARD.decode(KEY).unwrap();
        for key in [decoded.as_slice(), KEY.as_bytes(), OTHER.as_bytes()] {
            let identity = verify(&sign(key, "", "hub.example/devices/d1", 100), 50).unwrap();
            assert_eq!((&*identity.principal, identity.valid_until), ("d1", Some(at(105))));
        }
        let backend = verify(&sign(OTHER.as_bytes(), "service", "HUB.example", 100), 50).unwrap();
        assert_eq!(backend.principal, "backend");
    }

    #[test]
    fn a_token_holds_until_its_end_and_the_skew_is_over() {
        let token = sign(OTHER.as_bytes(), "", "hub.example/devices/d1", 100);
        assert!(verify(&token, 104).is_ok());
        assert_eq!(verify(&token, 105).unwrap_err().kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn nothing_in_a_token_can_be_changed() {
        let good = sign(OTHER.as_bytes(), "", "hub.example/devices/d1", 100);
        for (what, with) in [("d1", "d2"), ("se=100", "se=101"), ("se=100", "se=100&skn=service"), ("sig=", "sig=A")] {
            let token = good.replacen(what, with, 1);
            assert_ne!(token, good);
            assert!(verify(&token, 50).is_err(), "{token}");
        }
        let foreign = sign(b"a key of somebody else", "", "hub.example/devices/d1", 100);
        assert!(verify(&foreign, 50).is_err());
        let elsewhere = sign(OTHER.as_bytes(), "", "other.example/devices/d1", 100);
        assert!(verify(&elsewhere, 50).is_err());
    }

    #[test]
    fn settings_that_would_let_too_much_in_are_refused() {
        let wrong = [
            SasSettings { keys: vec![], ..settings() },
            SasSettings { keys: vec![Secret::new("")], ..settings() },
            SasSettings { keys: vec![Secret::new(KEY); 3], ..settings() },
            SasSettings { identity: "everybody".into(), ..settings() },
            SasSettings { resource: "hub.example".into(), ..settings() },
            SasSettings { resource: "hub.example//{id}".into(), ..settings() },
        ];
        for settings in wrong {
            assert!(SasVerifier::new(std::slice::from_ref(&settings), Duration::ZERO).is_err(), "{settings:?}");
        }
    }

    #[test]
    fn no_key_is_printed() {
        let printed = format!("{:?} {:?}", verifier(), settings());
        assert!(!printed.contains(KEY) && !printed.contains(OTHER) && !printed.contains("48, 49"), "{printed}");
    }
}
