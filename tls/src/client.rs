//! The client's end.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use roadbed_core::client::{Carrier, Connector};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::TlsError;
use crate::files::{self, Files};
use crate::provider::provider;

/// Whom a client trusts, and who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The file with the authorities that are trusted, in PEM; without one, those of the system are.
    pub ca: Option<PathBuf>,
    /// The file with the certificate to show, in PEM, and those of the authorities between it and a root.
    pub cert: Option<PathBuf>,
    /// The file with its key, in PEM.
    pub key: Option<PathBuf>,
}

/// Opens TLS connections for a client, over those of another connector.
#[derive(Clone)]
pub struct TlsConnector {
    tls: tokio_rustls::TlsConnector,
    name: ServerName<'static>,
    under: Arc<dyn Connector>,
}

impl TlsConnector {
    /// Connects to the server of this `name`, a host's or a number without the brackets of IPv6, which must show a certificate of it; `protocols` are offered
    /// (ALPN), and `under` is what it runs over. The files are read now.
    ///
    /// # Errors
    /// If a file is missing or wrong, with [what to do](TlsError::help).
    pub fn new(
        settings: &ClientSettings,
        name: &str,
        protocols: &[&str],
        under: impl Connector + 'static,
    ) -> Result<Self, TlsError> {
        let provider = provider()?;
        let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let mut config = config(settings, &provider)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self { tls: Arc::new(config).into(), name: server, under: Arc::new(under) })
    }
}

#[async_trait]
impl Connector for TlsConnector {
    async fn connect(&self) -> io::Result<Box<dyn Carrier>> {
        let stream = self.tls.connect(self.name.clone(), self.under.connect().await?).await;
        Ok(Box::new(stream.map_err(explain)?))
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector").field("name", &self.name).finish_non_exhaustive()
    }
}

fn config(settings: &ClientSettings, provider: &Arc<CryptoProvider>) -> Result<ClientConfig, TlsError> {
    let mut files = Files::default();
    let (roots, from) = match &settings.ca {
        Some(path) => (files::roots(path, &files.read(path)?)?, path.clone()),
        None => (system()?, PathBuf::from("the system's authorities")),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|source| TlsError::Rustls { path: from, source })?.with_root_certificates(roots);
    match (&settings.cert, &settings.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let (cert_pem, key_pem) = (files.read(cert)?, files.read(key)?);
            let identity = files::identity((cert, &cert_pem), (key, &key_pem), provider)?;
            Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))))
        }
        _ => Err(TlsError::Half),
    }
}

fn system() -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok(Arc::new(roots)),
    }
}

/// What a failed handshake means, and what to do about it.
fn explain(error: io::Error) -> io::Error {
    let known = error.get_ref().and_then(|inner| (inner as &(dyn Error + 'static)).downcast_ref::<rustls::Error>());
    let words = match known {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "the server's certificate is from nobody who is trusted here: name its authority's file"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the server's certificate is for another name",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "the server's certificate has expired",
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            "the server wants a certificate: name one and its key"
        }
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "the server speaks another protocol there"
        }
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS there",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{words} ({error})"))
}
