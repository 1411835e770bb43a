//! What can be wrong with certificates and keys, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has nothing of what it should have.
    #[error("{} has no {what}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing: `certificate`, `private key`.
        what: &'static str,
    },
    /// The certificate is not that of the key.
    #[error("the key {} does not match the certificate {}", key.display(), cert.display())]
    Mismatch {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The certificate is not valid any more.
    #[error("the certificate {} has expired on {since}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        since: String,
    },
    /// The certificate is not valid yet.
    #[error("the certificate {} is valid from {from} on", path.display())]
    NotYet {
        /// The file.
        path: PathBuf,
        /// When.
        from: String,
    },
    /// The thumbprint of a client's certificate is none.
    #[error("`{0}` is no thumbprint")]
    Thumbprint(String),
    /// Clients are to show certificates, but nothing says which are good.
    #[error("clients are to show certificates, but nothing says which are good")]
    NobodyTrusted,
    /// A certificate without a key, or a key without a certificate.
    #[error("a certificate and its key are named together")]
    Half,
    /// The system has no certificates of authorities.
    #[error("this system knows no certificate authorities")]
    NoRoots,
    /// The name of a server is none.
    #[error("`{0}` is no name of a server")]
    ServerName(String),
    /// No cryptography is built in, and the program has installed none.
    #[error("no cryptography is built in: the feature `ring`, or a default `CryptoProvider` of rustls")]
    NoProvider,
    /// rustls does not take it.
    #[error("{} cannot be used: {source}", path.display())]
    Rustls {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// No certificate could be made.
    #[cfg(feature = "make")]
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file is there already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
}

impl TlsError {
    /// What to do about it, if there is something to be said.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "`roadbed tls make DIR` writes certificates to develop with".into()
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "it must be readable for the user that this runs as".into()
            }
            Self::Empty { what, .. } => format!("it is to be PEM, with -----BEGIN {} in it", what.to_ascii_uppercase()),
            Self::Mismatch { .. } => {
                "the certificate of the key comes first in its file; those of authorities follow".into()
            }
            Self::Expired { .. } => "a new one is needed; for development, `roadbed tls make` makes one".into(),
            Self::NotYet { .. } => "is the clock of this machine right?".into(),
            Self::Thumbprint(_) => {
                "it is SHA-256 in 64 hexadecimal digits: `openssl x509 -noout -fingerprint -sha256 -in FILE`".into()
            }
            Self::NobodyTrusted => "name `client_ca` or `client_thumbprints`".into(),
            Self::NoRoots => "name the file of an authority: --ca FILE".into(),
            Self::Exists(_) => "another folder, or --force to write over it".into(),
            _ => return None,
        })
    }
}
