//! The sections of the configuration about roads.

use std::path::PathBuf;

use roadbed::tls::{self, Acceptor, ServerSettings};
use serde::{Deserialize, Serialize};

use crate::config::Listen;
use crate::error::{Failure, Result};
use crate::sniff::Spoken;

/// How connections arrive, and what the port for all takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Roads {
    /// What the port for all takes.
    pub any: Vec<Accepted>,
    /// Whether it takes them without TLS, too.
    pub plain: bool,
    /// How long a connection may take until it is known what it speaks, in seconds: its TLS handshake and the first bytes within.
    pub arrival_seconds: u64,
    /// How many connections may be arriving at once, over all listeners; the oldest make room for new ones.
    pub arrivals_max: usize,
    /// How many connections a port for all, or for WebSocket alone, serves at once; further ones wait to be accepted.
    pub connections_max: usize,
}

/// What a port for all may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Accepted {
    /// TLS, with any of the others within.
    Tls,
    /// MQTT.
    Mqtt,
    /// AMQP.
    Amqp,
    /// HTTP, and WebSocket as `[ws]` says.
    Http,
    /// WebSocket without the rest of HTTP.
    Ws,
}

impl Default for Roads {
    fn default() -> Self {
        use Accepted::{Amqp, Http, Mqtt, Tls};
        Self {
            any: vec![Tls, Mqtt, Amqp, Http],
            plain: true,
            arrival_seconds: 10,
            arrivals_max: 4096,
            connections_max: 65_536,
        }
    }
}

impl Roads {
    /// Whether the port for all takes it.
    pub(super) fn takes(&self, spoken: Spoken) -> bool {
        let wanted: &[Accepted] = match spoken {
            Spoken::Tls => &[Accepted::Tls],
            Spoken::Mqtt => &[Accepted::Mqtt],
            Spoken::Amqp => &[Accepted::Amqp],
            Spoken::Http => &[Accepted::Http, Accepted::Ws],
        };
        wanted.iter().any(|wanted| self.any.contains(wanted))
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked
    #[default]
    Off,
    /// They are asked; who shows none may come nevertheless
    Requested,
    /// Who shows none may not come
    Required,
}

/// With what the hub speaks TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Tls {
    /// The file with the certificate of the hub and those between it and a root, in PEM; empty: no TLS.
    pub cert: PathBuf,
    /// The file with its key, in PEM.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// The file with the authorities whose clients are known, in PEM; empty: none.
    pub client_ca: PathBuf,
    /// SHA-256 of single certificates of clients that are known.
    pub client_thumbprints: Vec<String>,
    /// How often it is looked whether the files have changed, in seconds; 0: only at SIGHUP.
    pub reload_seconds: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_auth: ClientAuth::Off,
            client_ca: PathBuf::new(),
            client_thumbprints: Vec::new(),
            reload_seconds: 60,
        }
    }
}

impl Tls {
    /// What speaks TLS, if there is a certificate; there must be one if `listen` has addresses for it.
    ///
    /// # Errors
    /// If there is none, or something is wrong with it: with what to do.
    pub(crate) fn acceptor(&self, listen: &Listen) -> Result<Option<Acceptor>> {
        let (none, any) = (self.cert.as_os_str().is_empty(), listen.secure().next());
        match any {
            Some(address) if none => Err(Failure::usage(format!("there is no certificate to speak TLS on {address} with"))
                .help("`roadbed tls make tls` writes one; then --cert tls/server.pem --key tls/server.key, or [tls] in the configuration")),
            _ if none => Ok(None),
            _ => Acceptor::new(self.settings()).map(Some).map_err(failure),
        }
    }

    fn settings(&self) -> ServerSettings {
        let client_ca = Some(self.client_ca.clone()).filter(|path| !path.as_os_str().is_empty());
        ServerSettings {
            cert: self.cert.clone(),
            key: self.key.clone(),
            client_auth: match self.client_auth {
                ClientAuth::Off => tls::ClientAuth::Off,
                ClientAuth::Requested => tls::ClientAuth::Requested,
                ClientAuth::Required => tls::ClientAuth::Required,
            },
            client_ca,
            client_thumbprints: self.client_thumbprints.clone(),
        }
    }
}

/// With all its causes, and what to do.
#[allow(clippy::needless_pass_by_value)] // the signature that `map_err` wants
pub(crate) fn failure(error: tls::TlsError) -> Failure {
    let failure = Failure::usage(&error);
    match error.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}
