//! The grammar of RFC 5802, section 7, as far as a message has to keep it before anything else looks at it.

use std::borrow::Cow;

use roadbed_core::{Error, ErrorKind, Result};

/// The longest message of either end, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// What a client says first.
pub(crate) struct ClientFirst<'a> {
    /// Who it wants to act as; empty: as itself.
    pub(crate) authzid: Cow<'a, str>,
    pub(crate) user: Cow<'a, str>,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self> {
        let text = text(message)?;
        let mut parts = text.splitn(3, ',');
        let (Some(binding), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        if !matches!(binding, "n" | "y") {
            // `p=`: no channel binding is offered here.
            return Err(malformed());
        }
        let authzid = match authzid.strip_prefix("a=") {
            Some(authzid) => name(authzid)?,
            None if authzid.is_empty() => Cow::Borrowed(""),
            None => return Err(malformed()),
        };
        let attributes = attributes(bare)?;
        match attributes[..] {
            [("n", user), ("r", nonce), ..] if !nonce.is_empty() => Ok(Self { authzid, user: name(user)? }),
            _ => Err(malformed()),
        }
    }
}

/// Whether a message is a list of attributes, the first of which are `names`.
pub(crate) fn check(message: &[u8], names: &[&str]) -> Result<()> {
    let found = attributes(text(message)?)?;
    let begins = names.iter().enumerate().all(|(n, name)| found.get(n).is_some_and(|(found, _)| found == name));
    if begins { Ok(()) } else { Err(malformed()) }
}

/// The value of the attribute `name` of a message that [`check`] has let through.
pub(crate) fn attribute<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    let found = attributes(text(message).ok()?).ok()?;
    found.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
}

fn attributes(message: &str) -> Result<Vec<(&str, &str)>> {
    let is_name = |name: &str| matches!(name.as_bytes(), [letter] if letter.is_ascii_alphabetic());
    let parts = message.split(',').map(|part| part.split_once('=').filter(|(name, _)| is_name(name)));
    parts.map(|part| part.ok_or_else(malformed)).collect()
}

/// A name in which a comma is `=2C` and an equals sign `=3D`.
fn name(escaped: &str) -> Result<Cow<'_, str>> {
    if escaped.is_empty() {
        return Err(malformed());
    }
    if !escaped.contains('=') {
        return Ok(Cow::Borrowed(escaped));
    }
    let mut parts = escaped.split('=');
    let mut plain = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(malformed()),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    Ok(Cow::Owned(plain))
}

fn text(message: &[u8]) -> Result<&str> {
    let text =
        core::str::from_utf8(message).ok().filter(|text| text.len() <= MESSAGE_BYTES_MAX && !text.contains('\0'));
    text.ok_or_else(malformed)
}

pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::Unauthenticated, "authenticate").detail("the message is not one of this mechanism")
}
