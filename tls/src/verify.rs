//! Which certificates of clients are good: by a chain to an authority, or by their thumbprints.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::TlsError;

/// SHA-256 of a certificate.
pub(crate) type Thumbprint = [u8; 32];

/// Checks clients' certificates.
#[derive(Debug)]
pub(crate) struct Verifier {
    chains: Option<Arc<dyn ClientCertVerifier>>,
    thumbprints: HashSet<Thumbprint>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(
        roots: Option<Arc<RootCertStore>>,
        thumbprints: HashSet<Thumbprint>,
        mandatory: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let chains = roots.map(|roots| WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build());
        let chains = chains.transpose().map_err(|_| TlsError::NobodyTrusted)?;
        if chains.is_none() && thumbprints.is_empty() {
            return Err(TlsError::NobodyTrusted);
        }
        Ok(Self { chains, thumbprints, mandatory, provider })
    }

    fn is_known(&self, certificate: &CertificateDer<'_>) -> bool {
        !self.thumbprints.is_empty() && self.thumbprints.contains(&Thumbprint::from(Sha256::digest(certificate)))
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Who has a certificate of its own making could not choose it by the names of authorities.
        match &self.chains {
            Some(chains) if self.thumbprints.is_empty() => chains.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.is_known(certificate) {
            return in_time(certificate, now);
        }
        match &self.chains {
            Some(chains) => chains.verify_client_cert(certificate, others, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that is known by its thumbprint needs no authority, but it ends as any other.
fn in_time(certificate: &[u8], now: UnixTime) -> Result<ClientCertVerified, Error> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > read.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    if now < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(ClientCertVerified::assertion())
}

/// Reads a thumbprint: 64 hexadecimal digits, with colons or without.
pub(crate) fn thumbprint(text: &str) -> Result<Thumbprint, TlsError> {
    let wrong = || TlsError::Thumbprint(text.to_owned());
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let bytes = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some((nibble(high)? << 4 | nibble(low)?) as u8),
        _ => None,
    });
    let bytes: Vec<u8> = bytes.collect::<Option<_>>().ok_or_else(wrong)?;
    bytes.try_into().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_read_as_openssl_writes_them() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        assert_eq!(thumbprint(&plain).unwrap(), [15; 32]);
        assert_eq!(thumbprint(&colons).unwrap(), [15; 32]);
        for wrong in ["", "0f", &plain[1..], &plain.replace('f', "g")] {
            assert!(thumbprint(wrong).is_err(), "{wrong}");
        }
    }
}
