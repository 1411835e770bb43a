//! The server's end.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use roadbed_core::Peer;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ServerSessionMemoryCache};
use rustls::{ServerConfig, sign::SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::files::{self, Files};
use crate::provider::provider;
use crate::verify::{Verifier, thumbprint};
use crate::{TlsError, name};

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; who shows none may come nevertheless, who shows one that is not good may not.
    Requested,
    /// Who shows none may not come.
    Required,
}

/// With what a server speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// The file with its certificate and those of the authorities between it and a root, in PEM, its own first.
    pub cert: PathBuf,
    /// The file with the key, in PEM.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// The file with the authorities whose clients are known, in PEM.
    pub client_ca: Option<PathBuf>,
    /// SHA-256 of single certificates of clients that are known, whoever has signed them, in hexadecimal digits, with colons or without.
    pub client_thumbprints: Vec<String>,
}

/// Takes the server's end of TLS connections, 1.2 and 1.3. Certificates and keys are files, and are [read again](Self::reload) without a restart.
#[derive(Clone)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ServerSettings,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<Current>>,
}

/// What was read last.
struct Current {
    digest: [u8; 32],
    ends_at: Option<i64>,
    /// With each of the protocols that are spoken, and without one.
    configs: Vec<(&'static str, Arc<ServerConfig>)>,
    plain: Arc<ServerConfig>,
}

/// A connection over TLS.
#[derive(Debug)]
pub struct Secured<S> {
    /// The stream.
    pub stream: TlsStream<S>,
    /// Who is at the other end.
    pub peer: Peer,
    /// The protocol that was agreed upon (ALPN, RFC 7301), if the client named any.
    pub protocol: Option<&'static str>,
}

/// The names of protocols that are known here (ALPN). `amqp` is not registered, and in use nevertheless.
const PROTOCOLS: [&str; 4] = ["mqtt", "amqp", "h2", "http/1.1"];
/// How many sessions can be resumed.
const SESSIONS_MAX: usize = 4096;

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file is missing or wrong, with [what to do](TlsError::help).
    pub fn new(settings: ServerSettings) -> Result<Self, TlsError> {
        let provider = provider()?;
        let current = RwLock::new(Arc::new(Current::read(&settings, &provider)?));
        Ok(Self { shared: Arc::new(Shared { settings, provider, current }) })
    }

    /// Reads the files again, and tells whether anything has changed. Connections that are there go on with what they began with; sessions from before a change
    /// are not resumed.
    ///
    /// # Errors
    /// As [`new`](Self::new); then all stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Shared { settings, provider, current } = &*self.shared;
        let next = Current::read(settings, provider)?;
        if next.digest == self.current().digest {
            return Ok(false);
        }
        *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(true)
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn ends_at(&self) -> Option<i64> {
        self.current().ends_at
    }

    /// Shakes hands with a client on `io`, which comes from `peer`, to speak one of `protocols` (of `mqtt`, `amqp`, `h2` and `http/1.1`; the favourite first). A client
    /// that names none of them is served without, unless it names one of those that are known here: it is at the wrong place, and is told so (RFC 7301, section 3.2).
    ///
    /// *Cancel safety*: dropped, the connection is. A deadline is the caller's.
    ///
    /// # Errors
    /// If the stream fails, or the client is refused or refuses; it has its alert by then.
    pub async fn accept<S>(&self, io: S, protocols: &[&str], mut peer: Peer) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
        let current = self.current();
        let (protocol, config) = current.choose(&begun.client_hello(), protocols);
        let stream = begun.into_stream(config).await?;
        let (_, session) = stream.get_ref();
        peer.secure = true;
        peer.server_name = session.server_name().map(Into::into);
        peer.certificates = certificates(session.peer_certificates());
        peer.name = peer.certificate().and_then(|certificate| name::of(certificate));
        peer.certificate_until = peer.certificate().and_then(|certificate| name::until(certificate));
        Ok(Secured { stream, peer, protocol })
    }

    fn current(&self) -> Arc<Current> {
        self.shared.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Current {
    fn read(settings: &ServerSettings, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let (ServerSettings { cert, key, .. }, mut files) = (settings, Files::default());
        let (cert_pem, key_pem) = (files.read(cert)?, files.read(key)?);
        let identity = files::identity((cert, &cert_pem), (key, &key_pem), provider)?;
        let ends_at = files::ends_at(&identity.cert[0]);
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|source| TlsError::Rustls { path: cert.clone(), source })?;
        let builder = match verifier(settings, &mut files, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let speaking = |protocol: &'static str| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.into()];
            (protocol, Arc::new(config))
        };
        let configs = PROTOCOLS.map(speaking).into();
        Ok(Self { digest: files.digest(), ends_at, configs, plain: Arc::new(config) })
    }

    /// The protocol that is spoken, and the configuration that says so.
    fn choose(&self, hello: &ClientHello<'_>, protocols: &[&str]) -> (Option<&'static str>, Arc<ServerConfig>) {
        let asked: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        let asks_for = |protocol: &str| asked.contains(&protocol.as_bytes());
        let spoken = |wanted: &str| self.configs.iter().find(|(protocol, _)| *protocol == wanted);
        if let Some((protocol, config)) = protocols.iter().filter(|name| asks_for(name)).find_map(|name| spoken(name)) {
            return (Some(protocol), config.clone());
        }
        match PROTOCOLS.iter().any(|protocol| asks_for(protocol)) {
            // With a protocol that it has not named: that is what it is told.
            true => {
                (None, protocols.iter().find_map(|name| spoken(name)).map_or(&self.plain, |(_, config)| config).clone())
            }
            false => (None, self.plain.clone()),
        }
    }
}

fn verifier(
    settings: &ServerSettings,
    files: &mut Files,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Verifier>, TlsError> {
    let mandatory = match settings.client_auth {
        ClientAuth::Off => return Ok(None),
        ClientAuth::Requested => false,
        ClientAuth::Required => true,
    };
    let roots = settings.client_ca.as_ref().map(|path| files::roots(path, &files.read(path)?)).transpose()?;
    let thumbprints = settings.client_thumbprints.iter().map(|text| thumbprint(text));
    let thumbprints = thumbprints.collect::<Result<HashSet<_>, _>>()?;
    Verifier::new(roots, thumbprints, mandatory, provider.clone()).map(Some)
}

fn certificates(chain: Option<&[rustls::pki_types::CertificateDer<'_>]>) -> Vec<Bytes> {
    chain.unwrap_or_default().iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect()
}
