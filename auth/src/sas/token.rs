use core::fmt;
use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use roadbed_core::Time;

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// A token as it was read: `SharedAccessSignature sr=RESOURCE&sig=SIGNATURE&se=EXPIRY[&skn=KEY]`, in any order, with or without the first
/// word.
pub struct SasToken<'a> {
    resource: &'a str,
    signature: [u8; 32],
    expiry: &'a str,
    expires_secs: u64,
    key_name: Cow<'a, str>,
}

/// Why something is no SAS token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SasTokenError {
    /// It is longer than any token is.
    #[error("the token is too long")]
    TooLong,
    /// It is not text.
    #[error("the token is not text")]
    NotText,
    /// A part is missing, comes twice, or is none of a token.
    #[error("a token has sr, sig, se and perhaps skn, each once")]
    Parts,
    /// The expiry is not a number of seconds.
    #[error("the expiry is no Unix time in seconds")]
    Expiry,
    /// The signature is not 32 bytes in base64.
    #[error("the signature is not an HMAC-SHA256 in base64")]
    Signature,
}

impl<'a> SasToken<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(token: &'a [u8]) -> Result<Self, SasTokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(SasTokenError::TooLong);
        }
        let text = core::str::from_utf8(token).map_err(|_| SasTokenError::NotText)?.trim();
        let text = text.strip_prefix("SharedAccessSignature ").unwrap_or(text);
        let [mut resource, mut signature, mut expiry, mut key_name] = [None; 4];
        for part in text.split('&') {
            let (name, value) = part.split_once('=').ok_or(SasTokenError::Parts)?;
            let place = match name {
                "sr" => &mut resource,
                "sig" => &mut signature,
                "se" => &mut expiry,
                "skn" => &mut key_name,
                _ => return Err(SasTokenError::Parts),
            };
            if place.replace(value).is_some() {
                return Err(SasTokenError::Parts);
            }
        }
        let (Some(resource), Some(signature), Some(expiry)) = (resource, signature, expiry) else {
            return Err(SasTokenError::Parts);
        };
        Ok(Self {
            resource,
            signature: bytes(signature)?,
            expiry,
            expires_secs: seconds(expiry)?,
            key_name: percent_decode_str(key_name.unwrap_or_default()).decode_utf8_lossy(),
        })
    }

    /// The resource, decoded. What is not UTF-8 in it matches nothing.
    pub fn resource(&self) -> Cow<'a, str> {
        percent_decode_str(self.resource).decode_utf8_lossy()
    }

    /// When it ends.
    pub fn expires_at(&self) -> Time {
        Time::from_millis(self.expires_secs.saturating_mul(1000))
    }

    /// The name of the key, or nothing.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    pub(super) const fn signature(&self) -> &[u8; 32] {
        &self.signature
    }

    /// What is signed: the resource and the expiry exactly as they stand in the token.
    pub(super) const fn signed(&self) -> (&'a str, &'a str) {
        (self.resource, self.expiry)
    }
}

impl fmt::Debug for SasToken<'_> {
    /// Never shows the signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SasToken({:?} until {})", self.resource(), self.expires_secs)
    }
}

fn seconds(text: &str) -> Result<u64, SasTokenError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(SasTokenError::Expiry)
}

fn bytes(text: &str) -> Result<[u8; 32], SasTokenError> {
    let decoded: Vec<u8> = percent_decode_str(text).collect();
    let bytes = STANDARD.decode(decoded).map_err(|_| SasTokenError::Signature)?;
    bytes.try_into().map_err(|_| SasTokenError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D";

    fn parse(parts: &str) -> Result<u64, SasTokenError> {
        SasToken::parse(parts.replace("SIG", SIGNATURE).as_bytes()).map(|token| token.expires_secs)
    }

    #[test]
    fn parts_come_in_any_order_and_each_once() {
        assert_eq!(parse("SharedAccessSignature sr=a%2Fb&sig=SIG&se=7"), Ok(7));
        assert_eq!(parse("skn=k&se=7&sig=SIG&sr=a"), Ok(7));
        for wrong in ["sr=a&sig=SIG", "sr=a&sig=SIG&se=7&se=8", "sr=a&sig=SIG&se=7&x=y", "sr=a&sig=SIG&se=7&", ""] {
            assert_eq!(parse(wrong), Err(SasTokenError::Parts), "{wrong}");
        }
    }

    #[test]
    fn numbers_and_signatures_are_strict() {
        for wrong in ["+7", "-7", "", "7.0", "99999999999999999999"] {
            assert_eq!(parse(&format!("sr=a&sig=SIG&se={wrong}")), Err(SasTokenError::Expiry), "{wrong}");
        }
        for wrong in ["", "AAAA", "%", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(parse(&format!("sr=a&sig={wrong}&se=7")), Err(SasTokenError::Signature), "{wrong}");
        }
        assert_eq!(parse(&format!("sr={}&sig=SIG&se=7", "a".repeat(9000))), Err(SasTokenError::TooLong));
        assert!(parse("sr=a&sig=SIG&se=18446744073709551615").is_ok());
    }
}
