//! Who may come in: users, and whoever has a token or a certificate.

mod door;
mod file;
mod scram;
mod secrets;
mod settings;
mod user;

use std::collections::BTreeMap;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{self, PasswordHash, PasswordHashString, PasswordHasher, PasswordVerifier, SaltString};
use async_trait::async_trait;
use roadbed::sasl::Verifier;
use roadbed::{AuthExchange, Authenticator, Credential, Error, ErrorKind, Identity, Peer, Result};
use tokio::sync::Semaphore;

use crate::error::Failure;
pub(crate) use door::Door;
use scram::Scram;
pub use secrets::Secrets;
pub use settings::Auth;
pub(crate) use user::{password_of, run as user};

/// How many passwords are checked at once: each check takes 19 MiB and some 20 ms of a processor, on purpose.
const CHECKS_MAX: usize = 2;

/// Names with what is kept of their passwords.
#[derive(Debug)]
pub struct Users {
    hashes: BTreeMap<String, PasswordHashString>,
    scram: Scram,
    /// Checked for a name that is not there, so that the time does not tell.
    decoy: PasswordHashString,
    checks: Arc<Semaphore>,
}

impl Users {
    /// Takes over what a configuration has.
    ///
    /// # Errors
    /// If one of the texts is neither a password hash in the PHC string format nor a SCRAM verifier.
    pub fn new(users: &BTreeMap<String, Secrets>) -> Result<Self, Failure> {
        let (mut hashes, mut verifiers) = (BTreeMap::new(), BTreeMap::new());
        for (name, text) in users.iter().flat_map(|(name, secrets)| secrets.iter().map(move |text| (name, text))) {
            let twice = match text.starts_with("SCRAM-") {
                true => {
                    let verifier = verifier(name, text)?;
                    verifiers.insert((name.clone(), verifier.hash()), verifier).is_some()
                }
                false => hashes.insert(name.clone(), read(name, text)?).is_some(),
            };
            if twice {
                return Err(Failure::usage(format!("the user \"{name}\" has two passwords of one kind"))
                    .help("keep the line that `roadbed hash` printed last"));
            }
        }
        let scram = Scram::new(verifiers);
        for name in scram.locked_out(hashes.keys()) {
            tracing::warn!(
                name,
                "this user has no SCRAM verifier, and clients take SCRAM where others have one: `roadbed hash --scram`"
            );
        }
        Ok(Self {
            hashes,
            scram,
            decoy: hash(b"").map_err(|error| Failure::unavailable(format!("cannot hash a password: {error}")))?,
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty() && self.scram.is_empty()
    }

    async fn check(&self, user: &str, password: Vec<u8>) -> bool {
        let known = self.hashes.get(user);
        let hash = known.unwrap_or(&self.decoy).clone();
        let Ok(permit) = self.checks.clone().acquire_owned().await else { return false };
        let matches = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Argon2::default().verify_password(&password, &hash.password_hash()).is_ok()
        });
        matches.await.unwrap_or(false) && known.is_some()
    }
}

#[async_trait]
impl Authenticator for Users {
    async fn authenticate(&self, _peer: &Peer, _name: &str, credential: &Credential) -> Result<Identity> {
        let refused = || Error::new(ErrorKind::Unauthenticated, "authenticate");
        let (user, password) = match credential {
            Credential::Password { user, password } => (user, password),
            _ => return Err(refused()),
        };
        match self.check(user, password.to_vec()).await {
            true => Ok(Identity::new(user.clone())),
            false => Err(refused()),
        }
    }

    fn mechanisms(&self) -> &[&'static str] {
        self.scram.mechanisms()
    }

    fn exchange(&self, _peer: &Peer, _name: &str, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        self.scram.exchange(mechanism)
    }
}

/// The line of the configuration file that lets `name` in with `password`; with `iterations` also by SCRAM, with as many of them.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn line(name: &str, password: &[u8], iterations: Option<u32>) -> Result<String, password_hash::Error> {
    let secrets = match secrets(password, iterations)? {
        Secrets::One(hash) => toml::Value::from(hash),
        Secrets::Several(all) => toml::Value::from(all),
    };
    Ok(format!("{} = {secrets}", toml::Value::from(name)))
}

/// What is kept of `password`; with `iterations` also for SCRAM.
fn secrets(password: &[u8], iterations: Option<u32>) -> Result<Secrets, password_hash::Error> {
    let hash = hash(password)?.to_string();
    Ok(match iterations {
        None => Secrets::One(hash),
        Some(iterations) => Secrets::Several([vec![hash], scram::verifiers(password, iterations)].concat()),
    })
}

fn hash(password: &[u8]) -> Result<PasswordHashString, password_hash::Error> {
    let salt = SaltString::generate(&mut OsRng);
    Ok(Argon2::default().hash_password(password, &salt)?.serialize())
}

fn read(name: &str, hash: &str) -> Result<PasswordHashString, Failure> {
    PasswordHash::new(hash).map(|hash| hash.serialize()).map_err(|error| {
        Failure::usage(format!("the password hash of the user \"{name}\" is not one: {error}"))
            .help(format!("`roadbed hash {name}` asks for a password and prints the line"))
    })
}

fn verifier(name: &str, text: &str) -> Result<Verifier, Failure> {
    text.parse().map_err(|error| {
        Failure::usage(format!("the SCRAM verifier of the user \"{name}\" is not one: {error}"))
            .help(format!("`roadbed hash --scram {name}` asks for a password and prints the line"))
    })
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;

    fn users() -> Users {
        let line = line("alice", b"secret", Some(4096)).unwrap();
        let table: BTreeMap<String, Secrets> = toml::from_str(&line).unwrap();
        Users::new(&table).unwrap()
    }

    async fn come_in(user: &'static str, password: &'static [u8]) -> Result<Identity> {
        let credential = Credential::Password { user: ByteString::from_static(user), password: password.into() };
        users().authenticate(&Peer::default(), "device", &credential).await
    }

    #[tokio::test]
    async fn the_right_password_and_no_other_lets_in() {
        assert_eq!(come_in("alice", b"secret").await.unwrap().principal, "alice");
        assert_eq!(come_in("alice", b"Secret").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
        assert_eq!(come_in("bob", b"").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
        let anonymous = users().authenticate(&Peer::default(), "device", &Credential::Anonymous).await;
        assert_eq!(anonymous.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn a_plain_password_in_the_file_is_an_error_that_says_what_to_do() {
        let failure = Users::new(&BTreeMap::from([("alice".into(), "secret".into())])).unwrap_err().to_string();
        assert!(failure.contains("\"alice\"") && failure.contains("roadbed hash alice"), "{failure}");
        let verifier = BTreeMap::from([("alice".into(), "SCRAM-SHA-256$4096:x$y:z".into())]);
        let failure = Users::new(&verifier).unwrap_err().to_string();
        assert!(failure.contains("\"alice\"") && failure.contains("roadbed hash --scram alice"), "{failure}");
    }

    #[test]
    fn a_line_can_have_a_hash_alone() {
        let line = line("a\"b", b"secret", None).unwrap();
        let table: BTreeMap<String, Secrets> = toml::from_str(&line).unwrap();
        let users = Users::new(&table).unwrap();
        assert!(users.hashes.contains_key("a\"b"));
        assert_eq!(users.mechanisms(), ["PLAIN"]);
        assert!(users.exchange(&Peer::default(), "", "SCRAM-SHA-256").is_none());
    }

    #[test]
    fn users_without_scram_are_locked_out_where_others_have_it() {
        let names = ["alice".to_owned(), "bob".to_owned()];
        assert!(users().scram.locked_out(names.iter()).eq(["bob"]));
        assert_eq!(Scram::new(BTreeMap::new()).locked_out(names.iter()).count(), 0, "nobody is offered it");
    }

    #[test]
    fn two_passwords_of_one_kind_are_one_too_many() {
        let hash = hash(b"secret").unwrap().to_string();
        let twice = BTreeMap::from([("alice".into(), Secrets::from(vec![hash.clone(), hash]))]);
        assert!(Users::new(&twice).unwrap_err().to_string().contains("two passwords"));
    }

    #[tokio::test]
    async fn scram_lets_in_whoever_has_a_verifier() {
        use roadbed::AuthStep;
        use roadbed::sasl::{ScramClient, ScramHash};
        let users = users();
        assert_eq!(users.mechanisms(), ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]);
        for (hash, password, lets_in) in [
            (ScramHash::Sha256, "secret", true),
            (ScramHash::Sha512, "secret", true),
            (ScramHash::Sha256, "guess", false),
        ] {
            let mut exchange = users.exchange(&Peer::default(), "", hash.mechanism()).unwrap();
            let mut client = ScramClient::new(hash, "alice", password.as_bytes(), 10_000).unwrap();
            let first = client.step(b"").unwrap();
            let Ok(AuthStep::Continue(challenge)) = exchange.step(Some(first)).await else { panic!("a challenge") };
            let proof = client.step(&challenge).unwrap();
            let step = exchange.step(Some(proof)).await;
            assert_eq!(matches!(step, Ok(AuthStep::Success(identity, _)) if identity.principal == "alice"), lets_in);
        }
    }
}
