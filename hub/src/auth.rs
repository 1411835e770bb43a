//! Who may come in: the users of the configuration file.

use std::collections::BTreeMap;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{self, PasswordHash, PasswordHashString, PasswordHasher, PasswordVerifier, SaltString};
use async_trait::async_trait;
use roadbed::{Authenticator, Credential, Error, ErrorKind, Identity, Result};
use tokio::sync::Semaphore;

use crate::error::Failure;

/// How many passwords are checked at once: each check takes 19 MiB and some 20 ms of a processor, on purpose.
const CHECKS_MAX: usize = 2;

/// Names with hashed passwords.
#[derive(Debug)]
pub struct Users {
    hashes: BTreeMap<String, PasswordHashString>,
    /// Checked for a name that is not there, so that the time does not tell.
    decoy: PasswordHashString,
    checks: Arc<Semaphore>,
}

impl Users {
    /// Takes over the hashes of a configuration.
    ///
    /// # Errors
    /// If one of them is not a hash in the PHC string format.
    pub fn new(users: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let hashes = users.iter().map(|(name, hash)| Ok((name.clone(), read(name, hash)?)));
        Ok(Self {
            hashes: hashes.collect::<Result<_, Failure>>()?,
            decoy: hash(b"").map_err(|error| Failure::unavailable(format!("cannot hash a password: {error}")))?,
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
        })
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
    async fn authenticate(&self, _name: &str, credential: &Credential) -> Result<Identity> {
        let refused = || Error::new(ErrorKind::Unauthenticated, "authenticate");
        let Credential::Password { user, password } = credential else { return Err(refused()) };
        match self.check(user, password.to_vec()).await {
            true => Ok(Identity::new(user.clone())),
            false => Err(refused()),
        }
    }
}

/// The line of the configuration file that lets `name` in with `password`.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn line(name: &str, password: &[u8]) -> Result<String, password_hash::Error> {
    let hash = hash(password)?;
    let name = toml::Value::from(name);
    Ok(format!("{name} = \"{hash}\""))
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

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;

    fn users() -> Users {
        let line = line("alice", b"secret").unwrap();
        let table: BTreeMap<String, String> = toml::from_str(&line).unwrap();
        Users::new(&table).unwrap()
    }

    async fn come_in(user: &'static str, password: &'static [u8]) -> Result<Identity> {
        let credential = Credential::Password { user: ByteString::from_static(user), password: password.into() };
        users().authenticate("device", &credential).await
    }

    #[tokio::test]
    async fn the_right_password_and_no_other_lets_in() {
        assert_eq!(come_in("alice", b"secret").await.unwrap().principal, "alice");
        assert_eq!(come_in("alice", b"Secret").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
        assert_eq!(come_in("bob", b"").await.unwrap_err().kind(), ErrorKind::Unauthenticated);
        let anonymous = users().authenticate("device", &Credential::Anonymous).await;
        assert_eq!(anonymous.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn a_plain_password_in_the_file_is_an_error_that_says_what_to_do() {
        let failure = Users::new(&BTreeMap::from([("alice".into(), "secret".into())])).unwrap_err().to_string();
        assert!(failure.contains("\"alice\"") && failure.contains("roadbed hash alice"), "{failure}");
    }
}
