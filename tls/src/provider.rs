use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::TlsError;

/// The cryptography: what the features name, never what another part of the program might have installed.
#[cfg(feature = "aws-lc-rs")]
#[allow(clippy::unnecessary_wraps)] // without features there may be none
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
#[allow(clippy::unnecessary_wraps)] // without features there may be none
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    CryptoProvider::get_default().cloned().ok_or(TlsError::NoProvider)
}
