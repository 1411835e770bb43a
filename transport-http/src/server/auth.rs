//! What `Authorization` offers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use http::HeaderValue;
use roadbed_core::Credential;

/// Reads the header's value (RFC 9110, section 11.6.2); `None` if it is of no scheme that is known, or broken.
///
/// `Basic` (RFC 7617) is a password; `Bearer` (RFC 6750) a token of the kind `bearer`, and `SharedAccessSignature` one of the
/// kind `sas`.
pub(super) fn credential(value: Option<&HeaderValue>) -> Option<Credential> {
    let Some(value) = value else { return Some(Credential::Anonymous) };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    let token = |kind| Credential::Token {
        kind: ByteString::from_static(kind),
        token: Bytes::copy_from_slice(rest.as_bytes()),
    };
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => basic(rest),
        "bearer" if !rest.is_empty() => Some(token("bearer")),
        "sharedaccesssignature" if !rest.is_empty() => Some(token("sas")),
        _ => None,
    }
}

/// The user's name, if the credential has one.
pub(super) fn user(credential: &Credential) -> &str {
    match credential {
        Credential::Password { user, .. } => user,
        _ => "",
    }
}

fn basic(text: &str) -> Option<Credential> {
    let bytes = Bytes::from(STANDARD.decode(text).ok()?);
    let at = bytes.iter().position(|&byte| byte == b':')?;
    let user = ByteString::try_from(bytes.slice(..at)).ok()?;
    Some(Credential::Password { user, password: bytes.slice(at + 1..) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Option<Credential> {
        credential(Some(&HeaderValue::from_static(text)))
    }

    #[test]
    fn the_example_of_rfc_7617() {
        match read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") {
            Some(Credential::Password { user, password }) => {
                assert_eq!((&user[..], &password[..]), ("Aladdin", &b"open sesame"[..]));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn schemes_have_no_case_and_unknown_ones_are_refused() {
        assert!(
            matches!(read("bearer abc"), Some(Credential::Token { kind, token }) if kind == "bearer" && token == "abc")
        );
        assert!(
            matches!(read("SharedAccessSignature sr=x&sig=y"), Some(Credential::Token { kind, .. }) if kind == "sas")
        );
        assert!(matches!(credential(None), Some(Credential::Anonymous)));
        for wrong in ["Digest x", "Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer ", ""] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
