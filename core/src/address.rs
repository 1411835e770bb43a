//! One canonical name, with lossless mappings to every protocol's own.

use alloc::string::String;
use core::fmt;

use bytestring::ByteString;

use crate::escape::{escape, unescape};

/// The name of anything that messages are sent to or received from.
///
/// A legal name has 1 to 65,535 bytes of UTF-8 without U+0000, `+` and `#`: what MQTT calls a topic name
/// \[MQTT-4.7\]. Levels are separated by `/`; empty levels count. Three prefixes are reserved: `queues/NAME`,
/// `logs/NAME` and `$dead/NAME`.
///
/// ```
/// use roadbed_core::Address;
/// let address: Address = "plant/7/température".parse()?;
/// assert_eq!(address.to_path(), "plant/7/temp%C3%A9rature");
/// assert_eq!(Address::from_path("plant/7/temp%C3%A9rature")?, address);
/// # Ok::<_, roadbed_core::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(ByteString);

/// Why a name is not legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is empty.
    #[error("an address needs at least one character")]
    Empty,
    /// It has more than 65,535 bytes.
    #[error("an address has at most 65,535 bytes")]
    TooLong,
    /// It has a character that no address may have.
    #[error("an address cannot contain {0:?}")]
    Forbidden(char),
    /// It is not UTF-8.
    #[error("an address is UTF-8")]
    NotUtf8,
    /// It has an escape without its two hexadecimal digits.
    #[error("the escape at byte {0} lacks its two hexadecimal digits")]
    BadEscape(usize),
}

impl Address {
    /// The longest legal name, in bytes.
    pub const LEN_MAX: usize = 65_535;

    /// The address with this canonical name.
    ///
    /// # Errors
    /// [`AddressError`] if the name is not legal.
    pub fn new(name: impl Into<ByteString>) -> Result<Self, AddressError> {
        let name = name.into();
        check(&name)?;
        Ok(Self(name))
    }

    /// The address with a name that is known to be legal: the codec has checked it.
    pub fn from_checked(name: ByteString) -> Self {
        debug_assert_eq!(check(&name), Ok(()));
        Self(name)
    }

    /// The canonical name. It is also the MQTT topic name, and the AMQP node address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The canonical name, shared.
    pub const fn name(&self) -> &ByteString {
        &self.0
    }

    /// The levels, in order; empty ones count.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The same name in memory of its own, so that it no longer pins the buffer that it was read from.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(ByteString::from(String::from(self.as_str())))
    }

    /// The queue's name, if this is `queues/NAME`.
    pub fn queue(&self) -> Option<&str> {
        self.0.strip_prefix("queues/").filter(|name| !name.is_empty())
    }

    /// The name of the queue whose dead letters these are, if this is `$dead/NAME`.
    pub fn dead_letters(&self) -> Option<&str> {
        self.0.strip_prefix("$dead/").filter(|name| !name.is_empty())
    }

    /// The log's name, if this is `logs/NAME`.
    pub fn log(&self) -> Option<&str> {
        self.0.strip_prefix("logs/").filter(|name| !name.is_empty())
    }

    /// The log and the partition, if this is `logs/NAME` or `logs/NAME/N`: the name of a log has one level.
    pub fn log_place(&self) -> Option<(&str, Option<u32>)> {
        let (name, partition) = match self.log()?.split_once('/') {
            None => (self.log()?, None),
            Some((name, digits)) => (name, Some(digits)),
        };
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            digits.parse().ok().filter(|_| plain)
        };
        match partition {
            _ if name.is_empty() => None,
            None => Some((name, None)),
            Some(digits) => Some((name, Some(number(digits)?))),
        }
    }

    /// As the path of a URL: slashes stand, all but unreserved characters (RFC 3986, section 2.3) are
    /// percent-encoded, and so are the levels `.` and `..`, which clients would otherwise remove.
    pub fn to_path(&self) -> String {
        let mut out = String::with_capacity(self.0.len() + 8);
        for (n, level) in self.levels().enumerate() {
            if n > 0 {
                out.push('/');
            }
            let dots = matches!(level, "." | "..");
            for byte in level.bytes() {
                match byte {
                    b'.' if dots => out.push_str("%2E"),
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
                    _ => escape(&mut out, '%', byte),
                }
            }
        }
        out
    }

    /// Reads the path of a URL: percent-escapes are undone, slashes stand.
    ///
    /// # Errors
    /// [`AddressError`] for a broken escape or a name that is not legal.
    pub fn from_path(path: &str) -> Result<Self, AddressError> {
        Self::new(unescaped(path, '%')?)
    }

    /// As the local part of a JID. XEP-0106's escapes, extended to every byte that preparation (RFC 7622) would
    /// change or refuse: `\` and two hexadecimal digits.
    pub fn to_jid_local(&self) -> String {
        let mut out = String::with_capacity(self.0.len() + 8);
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'$' | b'!' | b'*' | b'=' => {
                    out.push(byte as char);
                }
                _ => escape(&mut out, '\\', byte),
            }
        }
        out
    }

    /// Reads the local part of a JID.
    ///
    /// # Errors
    /// [`AddressError`] for a broken escape or a name that is not legal.
    pub fn from_jid_local(local: &str) -> Result<Self, AddressError> {
        Self::new(unescaped(local, '\\')?)
    }
}

impl core::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(name: &str) -> Result<Self, AddressError> {
        check(name)?;
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(name: &str) -> Result<(), AddressError> {
    match name.len() {
        0 => return Err(AddressError::Empty),
        1..=Address::LEN_MAX => {}
        _ => return Err(AddressError::TooLong),
    }
    match name.bytes().find(|byte| matches!(byte, 0 | b'+' | b'#')) {
        Some(byte) => Err(AddressError::Forbidden(byte as char)),
        None => Ok(()),
    }
}

fn unescaped(text: &str, mark: char) -> Result<String, AddressError> {
    let bytes = unescape(text, mark).map_err(AddressError::BadEscape)?;
    String::from_utf8(bytes).map_err(|_| AddressError::NotUtf8)
}
