//! Who a certificate says that somebody is.

use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::Time;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The common name of its subject; without one, its first name for a host, URI or address of mail.
pub(crate) fn of(certificate: &[u8]) -> Option<ByteString> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    common.filter(|name| !name.is_empty()).map(Into::into).or_else(|| alternative(&certificate))
}

/// When it ends, by the time of day (RFC 5280, section 4.1.2.5).
pub(crate) fn until(certificate: &[u8]) -> Option<Time> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    // The last second is its own.
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?.saturating_add(1);
    Some(Time::ZERO + Duration::from_secs(seconds))
}

fn alternative(certificate: &X509Certificate<'_>) -> Option<ByteString> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some((*name).into()),
        _ => None,
    })
}
