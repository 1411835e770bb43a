//! Who a certificate says that somebody is.

use bytestring::ByteString;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The common name of its subject; without one, its first name for a host, URI or address of mail.
pub(crate) fn of(certificate: &[u8]) -> Option<ByteString> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    common.filter(|name| !name.is_empty()).map(Into::into).or_else(|| alternative(&certificate))
}

fn alternative(certificate: &X509Certificate<'_>) -> Option<ByteString> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some((*name).into()),
        _ => None,
    })
}
