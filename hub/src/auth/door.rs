//! One door for everybody: passwords, tokens and certificates, whatever the protocol.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use bytestring::ByteString;
use roadbed::auth::{JwtVerifier, SasVerifier};
use roadbed::{
    AuthExchange, AuthStep, Authenticator, Clock, Credential, Error, ErrorKind, Identity, Peer, Result, SystemClock,
    Time,
};

use super::{Users, file};
use crate::Config;
use crate::error::Failure;

/// Where the name goes in a template.
const PLACE: &str = "{id}";

/// Lets in whoever the configuration says.
pub(crate) struct Door {
    /// Replaced as a whole when the files are read again.
    keys: RwLock<Arc<Keys>>,
    mechanisms: Vec<&'static str>,
    /// The template for names of certificates.
    certificate: Option<String>,
    anonymous: Option<ByteString>,
    times: Times,
}

/// The clock of the hub, which does not follow the time of day, and that, which ends tokens and certificates.
#[derive(Clone)]
struct Times {
    clock: Arc<dyn Clock>,
    of_day: fn() -> Time,
}

impl Default for Times {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::default()), of_day: time_of_day }
    }
}

impl Times {
    /// With the end in the time of the clock, by which connections are ended.
    fn on_clock(&self, mut identity: Identity) -> Identity {
        let left = |until: Time| Duration::from_nanos(until.as_nanos().saturating_sub((self.of_day)().as_nanos()));
        identity.valid_until = identity.valid_until.map(|until| self.clock.now() + left(until));
        identity
    }
}

fn time_of_day() -> Time {
    Time::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What credentials are checked against.
struct Keys {
    users: Users,
    sas: SasVerifier,
    jwt: JwtVerifier,
}

impl Door {
    /// The door of a configuration.
    ///
    /// # Errors
    /// If a hash or a key of it is none, or a file cannot be read.
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        let keys = Keys::read(config)?;
        let certificate = Some(config.auth.certificate.clone()).filter(|template| !template.is_empty());
        if certificate.as_ref().is_some_and(|template| !template.contains(PLACE)) {
            let failure = Failure::usage("auth.certificate lets everybody in as one");
            return Err(failure.help("put {id} where the name of the certificate goes, such as \"{id}\""));
        }
        let anonymous = Some(config.auth.anonymous.clone()).filter(|name| !name.is_empty()).map(ByteString::from);
        let mut mechanisms = Vec::new();
        mechanisms.extend(certificate.is_some().then_some("EXTERNAL"));
        mechanisms.extend(keys.users.mechanisms().iter().filter(|_| keys.takes_passwords()));
        mechanisms.extend(keys.takes_tokens().then_some(["MSSBCBS"]).into_iter().flatten());
        mechanisms.extend((anonymous.is_some() || keys.takes_tokens()).then_some("ANONYMOUS"));
        let keys = RwLock::new(Arc::new(keys));
        Ok(Self { keys, mechanisms, certificate, anonymous, times: Times::default() })
    }

    /// Reads the files again: for whoever comes from now on.
    ///
    /// # Errors
    /// As [`new`](Self::new); then nothing changes.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), Failure> {
        let keys = Arc::new(Keys::read(config)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who shows nothing but what TLS knows.
    fn shown(&self, peer: &Peer) -> Option<Identity> {
        let certified = self.certificate.as_ref().zip(peer.name.as_ref().filter(|_| peer.certificate().is_some()));
        let certified = certified.map(|(template, name)| {
            let mut identity = Identity::new(template.replace(PLACE, name));
            identity.valid_until = peer.certificate_until;
            self.times.on_clock(identity)
        });
        certified.or_else(|| self.anonymous.clone().map(Identity::new))
    }
}

impl Keys {
    fn read(config: &Config) -> Result<Self, Failure> {
        let mut users = config.users.clone();
        if !config.auth.users_file.as_os_str().is_empty() {
            for (name, secrets) in file::read(&config.auth.users_file)? {
                if users.insert(name.clone(), secrets).is_some() {
                    return Err(Failure::usage(format!("the user \"{name}\" is in the configuration and in the file")));
                }
            }
        }
        let skew = Duration::from_secs(config.auth.clock_skew_seconds);
        let wrong = |error| Failure::usage(format!("{error}"));
        let mut jwt = JwtVerifier::new(skew);
        for settings in &config.jwt {
            let name = settings.key_file.display();
            let key = std::fs::read(&settings.key_file)
                .map_err(|error| Failure::usage(format!("cannot read the key {name}: {error}")))?;
            jwt.add(settings, &key).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        }
        Ok(Self { users: Users::new(&users)?, sas: SasVerifier::new(&config.sas, skew).map_err(wrong)?, jwt })
    }

    fn takes_tokens(&self) -> bool {
        !(self.sas.is_empty() && self.jwt.is_empty())
    }

    fn takes_passwords(&self) -> bool {
        !self.users.is_empty() || self.takes_tokens()
    }

    fn token(&self, kind: &str, token: &[u8], times: &Times) -> Result<Identity> {
        let identity = match kind {
            "sas" => self.sas.verify(token, (times.of_day)()),
            "jwt" | "bearer" => self.jwt.verify(token),
            _ => Err(refused().detail("tokens of this kind are not taken")),
        };
        identity.map(|identity| times.on_clock(identity))
    }
}

#[async_trait]
impl Authenticator for Door {
    async fn authenticate(&self, peer: &Peer, name: &str, credential: &Credential) -> Result<Identity> {
        let keys = self.keys();
        match credential {
            Credential::Anonymous | Credential::External { .. } => self.shown(peer).ok_or_else(refused),
            Credential::Token { kind, token } => keys.token(kind, token, &self.times),
            Credential::Password { user, password } => match token_in(password) {
                // Protocols that have no place for a token send it as a password.
                Some(kind) if keys.takes_tokens() => {
                    let identity = keys.token(kind, password, &self.times)?;
                    match user.is_empty() || *user == identity.principal {
                        true => Ok(identity),
                        false => Err(refused().detail("the token is somebody else's")),
                    }
                }
                _ => keys.users.authenticate(peer, name, credential).await,
            },
            _ => Err(refused()),
        }
    }

    fn mechanisms(&self) -> &[&'static str] {
        &self.mechanisms
    }

    fn takes_tokens(&self) -> bool {
        self.keys().takes_tokens()
    }

    fn exchange(&self, peer: &Peer, name: &str, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        let keys = self.keys();
        let kind = match mechanism {
            "SAS" if !keys.sas.is_empty() => "sas",
            "JWT" if !keys.jwt.is_empty() => "jwt",
            _ => return keys.users.exchange(peer, name, mechanism),
        };
        Some(Box::new(ByToken { keys, kind, times: self.times.clone(), asked: false }))
    }
}

/// A token as an authentication method of MQTT 5, by which it can be renewed: the client says it, and is in or not.
struct ByToken {
    keys: Arc<Keys>,
    kind: &'static str,
    times: Times,
    asked: bool,
}

#[async_trait]
impl AuthExchange for ByToken {
    async fn step(&mut self, data: Option<Bytes>) -> Result<AuthStep> {
        match data.filter(|data| !data.is_empty()) {
            Some(token) => Ok(AuthStep::Success(self.keys.token(self.kind, &token, &self.times)?, None)),
            None if !std::mem::replace(&mut self.asked, true) => Ok(AuthStep::Continue(Bytes::new())),
            None => Err(refused()),
        }
    }
}

/// The kind of token that a password is, if it is one.
fn token_in(password: &[u8]) -> Option<&'static str> {
    if password.starts_with(b"SharedAccessSignature ") {
        return Some("sas");
    }
    let dots = password.iter().filter(|byte| **byte == b'.').count();
    (password.starts_with(b"eyJ") && dots == 2).then_some("jwt")
}

fn refused() -> Error {
    Error::new(ErrorKind::Unauthenticated, "authenticate")
}

#[cfg(test)]
mod tests {
    use roadbed::ManualClock;
    use roadbed::auth::{SasSettings, Secret, sas};

    use super::*;

    const KEY: &str = "a key that is no base64!";
    const FAR: u64 = 4_000_000_000;

    fn config() -> Config {
        let line = super::super::line("alice", b"secret", Some(4096)).unwrap();
        let sas = SasSettings {
            resource: "hub.example/devices/{id}".into(),
            identity: "{id}".into(),
            keys: vec![Secret::new(KEY)],
            ..SasSettings::default()
        };
        let mut config = Config { users: toml::from_str(&line).unwrap(), sas: vec![sas], ..Config::default() };
        config.auth.certificate = "cert-{id}".into();
        config
    }

    fn token(device: &str) -> String {
        sas::sign(KEY.as_bytes(), "", &format!("hub.example/devices/{device}"), FAR)
    }

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.into(), password: Bytes::copy_from_slice(password.as_bytes()) }
    }

    fn certified(name: &str) -> Peer {
        let mut peer = Peer::default();
        (peer.name, peer.certificates) = (Some(name.into()), vec![Bytes::from_static(b"der")]);
        peer
    }

    async fn come(door: &Door, peer: &Peer, credential: &Credential) -> Option<String> {
        let identity = door.authenticate(peer, "client", credential).await;
        identity.ok().map(|identity| identity.principal.to_string())
    }

    #[tokio::test]
    async fn every_kind_of_credential_leads_to_its_identity() {
        let (door, nobody) = (Door::new(&config()).unwrap(), Peer::default());
        let said =
            |text: &str| Credential::Token { kind: "sas".into(), token: Bytes::copy_from_slice(text.as_bytes()) };
        assert_eq!(come(&door, &nobody, &password("alice", "secret")).await.as_deref(), Some("alice"));
        assert_eq!(come(&door, &nobody, &said(&token("d1"))).await.as_deref(), Some("d1"));
        assert_eq!(come(&door, &nobody, &password("d1", &token("d1"))).await.as_deref(), Some("d1"));
        assert_eq!(come(&door, &nobody, &password("", &token("d1"))).await.as_deref(), Some("d1"));
        assert_eq!(come(&door, &nobody, &password("d2", &token("d1"))).await, None, "somebody else's");
        assert_eq!(come(&door, &nobody, &Credential::Anonymous).await, None);
        assert_eq!(come(&door, &certified("d7"), &Credential::Anonymous).await.as_deref(), Some("cert-d7"));
        let external = Credential::External { name: "d8".into() };
        assert_eq!(come(&door, &certified("d7"), &external).await.as_deref(), Some("cert-d7"), "as TLS says");
        assert_eq!(come(&door, &nobody, &external).await, None);
        assert_eq!(door.mechanisms(), ["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "MSSBCBS", "ANONYMOUS"]);
    }

    #[tokio::test]
    async fn what_ends_ends_by_the_time_of_day_also_when_that_is_set() {
        let mut door = Door::new(&config()).unwrap();
        // The clock of the hub has not followed: the day is two hours further.
        let clock = Time::ZERO + Duration::from_secs(3_999_992_800);
        door.times =
            Times { clock: Arc::new(ManualClock::at(clock)), of_day: || Time::ZERO + Duration::from_secs(FAR) };
        let said = |until: u64| {
            let token = sas::sign(KEY.as_bytes(), "", "hub.example/devices/d1", until);
            Credential::Token { kind: "sas".into(), token: token.into() }
        };
        assert_eq!(come(&door, &Peer::default(), &said(FAR - 3600)).await, None, "it ended an hour ago");
        let identity = door.authenticate(&Peer::default(), "client", &said(FAR + 60)).await.unwrap();
        assert_eq!(identity.valid_until, Some(clock + Duration::from_secs(60 + 30)));
        let mut peer = certified("d7");
        peer.certificate_until = Some(Time::ZERO + Duration::from_secs(FAR + 10));
        let identity = door.authenticate(&peer, "client", &Credential::Anonymous).await.unwrap();
        assert_eq!(identity.valid_until, Some(clock + Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn a_name_in_a_connection_without_its_certificate_is_nothing() {
        let door = Door::new(&config()).unwrap();
        let mut peer = certified("d7");
        peer.certificates.clear();
        assert_eq!(come(&door, &peer, &Credential::Anonymous).await, None);
    }

    #[tokio::test]
    async fn anonymous_is_somebody_only_if_named() {
        let mut config = config();
        config.auth.anonymous = "guest".into();
        let door = Door::new(&config).unwrap();
        assert_eq!(come(&door, &Peer::default(), &Credential::Anonymous).await.as_deref(), Some("guest"));
        assert_eq!(come(&door, &Peer::default(), &password("guest", "")).await, None);
    }

    #[tokio::test]
    async fn a_token_is_renewed_by_its_method() {
        let door = Door::new(&config()).unwrap();
        let mut exchange = door.exchange(&Peer::default(), "client", "SAS").unwrap();
        let step = exchange.step(Some(token("d1").into())).await.unwrap();
        assert!(
            matches!(step, AuthStep::Success(identity, None) if identity.principal == "d1" && identity.valid_until.is_some())
        );
        let mut exchange = door.exchange(&Peer::default(), "client", "SAS").unwrap();
        assert!(matches!(exchange.step(None).await, Ok(AuthStep::Continue(_))));
        assert!(exchange.step(None).await.is_err());
        assert!(door.exchange(&Peer::default(), "client", "JWT").is_none(), "none are taken");
    }

    #[test]
    fn a_certificate_has_to_count() {
        let mut config = config();
        config.auth.certificate = "everybody".into();
        assert!(Door::new(&config).is_err());
    }
}
