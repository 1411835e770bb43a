//! Named values that travel with a message.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;

/// A value of a property: the simple types of AMQP 1.0, of which every other protocol's are a subset.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(ByteString),
    /// Bytes.
    Binary(Bytes),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// A universally unique identifier.
    Uuid([u8; 16]),
}

impl Value {
    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Value {
    /// The same value in memory of its own, so that it no longer pins the buffer that it was read from.
    #[must_use]
    pub fn detach(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(String::from(&**text).into()),
            Self::Binary(bytes) => Self::Binary(Bytes::copy_from_slice(bytes)),
            other => other.clone(),
        }
    }
}

impl core::fmt::Display for Value {
    /// The form in which protocols that know only text carry it.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) | Self::Timestamp(value) => value.fmt(f),
            Self::Uint(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Binary(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Uuid(id) => id.iter().enumerate().try_for_each(|(n, byte)| {
                let dash = if matches!(n, 4 | 6 | 8 | 10) { "-" } else { "" };
                write!(f, "{dash}{byte:02x}")
            }),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<ByteString> for Value {
    fn from(text: ByteString) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

/// Named values in the order in which they were given; duplicates are kept \[MQTT-3.3.2-18\].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(Vec<(ByteString, Value)>);

impl Properties {
    /// No properties.
    pub const EMPTY: Self = Self(Vec::new());

    /// Adds one at the end.
    pub fn push(&mut self, name: impl Into<ByteString>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value with this name.
    pub fn first(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ByteString, &Value)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The same in memory of their own, so that they no longer pin the buffer that they were read from.
    #[must_use]
    pub fn detach(&self) -> Self {
        self.0.iter().map(|(name, value)| (String::from(&**name).into(), value.detach())).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(ByteString, Value)> for Properties {
    fn from_iter<I: IntoIterator<Item = (ByteString, Value)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
