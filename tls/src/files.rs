//! Certificates and keys from PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::TlsError;

/// What was in files, and a digest by which a change is noticed.
#[derive(Clone, Default)]
pub(crate) struct Files(Sha256);

impl Files {
    pub(crate) fn read(&mut self, path: &Path) -> Result<Vec<u8>, TlsError> {
        let content = std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })?;
        self.0.update((content.len() as u64).to_be_bytes());
        self.0.update(&content);
        Ok(content)
    }

    pub(crate) fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The certificates in PEM that came from `path`; at least one.
pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    match found.is_empty() {
        true => Err(TlsError::Empty { path: path.to_owned(), what: "certificate" }),
        false => Ok(found),
    }
}

/// The authorities in PEM that came from `path`.
pub(crate) fn roots(path: &Path, pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|source| TlsError::Rustls { path: path.to_owned(), source })?;
    }
    Ok(Arc::new(roots))
}

/// A certificate with its key, of which it is sure that they belong together, and that the certificate is valid now.
pub(crate) fn identity(
    (cert, cert_pem): (&Path, &[u8]),
    (key, key_pem): (&Path, &[u8]),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(cert, cert_pem)?;
    let found = PrivateKeyDer::from_pem_slice(key_pem);
    let private = found.map_err(|_| TlsError::Empty { path: key.to_owned(), what: "private key" })?;
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Rustls { path, source }
    };
    let signing = provider.key_provider.load_private_key(private).map_err(refused(key))?;
    valid_now(cert, &chain[0])?;
    let identity = CertifiedKey::new(chain, signing);
    match identity.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned() })
        }
        // A key whose public half is not known is believed, as rustls does.
        Ok(()) | Err(rustls::Error::InconsistentKeys(_)) => Ok(identity),
        Err(source) => Err(refused(cert)(source)),
    }
}

/// When a certificate ends, in seconds since 1970; `None` if it cannot be read.
pub(crate) fn ends_at(certificate: &[u8]) -> Option<i64> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    Some(read.validity().not_after.timestamp())
}

fn valid_now(path: &Path, certificate: &[u8]) -> Result<(), TlsError> {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    };
    let (validity, path) = (read.validity(), PathBuf::from(path));
    let now = x509_parser::time::ASN1Time::now();
    if now > validity.not_after {
        return Err(TlsError::Expired { path, since: validity.not_after.to_string() });
    }
    if now < validity.not_before {
        return Err(TlsError::NotYet { path, from: validity.not_before.to_string() });
    }
    Ok(())
}
