use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use roadbed_core::Result;
use serde_amqp::Value;

use super::invalid;

/// A map with names for keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Map(BTreeMap<String, Value>);

impl Map {
    /// The map that a body is; a body that is not there is empty.
    pub(crate) fn read(value: Value) -> Result<Self> {
        let entries = match value {
            Value::Null => return Ok(Self::default()),
            Value::Map(entries) => entries,
            _ => return Err(invalid("the body is an amqp-value with a map")),
        };
        let name = |key| match key {
            Value::String(name) => Ok(name),
            Value::Symbol(name) => Ok(name.0),
            _ => Err(invalid("the keys of the map are strings")),
        };
        entries.into_iter().map(|(key, value)| Ok((name(key)?, value))).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.into(), value.into());
        self
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| *value != Value::Null)
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Symbol(text)) => Ok(Some(text.0)),
            Some(_) => Err(invalid(format!("{key} is a string"))),
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(invalid(format!("{key} is a boolean"))),
        }
    }

    /// A number of any integer type that is not negative.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = number(&value).and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| invalid(format!("{key} is a number that is not negative, and not too large")))
    }

    /// A misspelt name is no wish that is granted.
    pub(crate) fn end(self) -> Result<()> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(invalid(format!("{key} is not known here"))),
        }
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::from(map.0)
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    match *value {
        Value::Ubyte(number) => Some(number.into()),
        Value::Ushort(number) => Some(number.into()),
        Value::Uint(number) => Some(number.into()),
        Value::Ulong(number) => Some(number),
        Value::Byte(number) => number.try_into().ok(),
        Value::Short(number) => number.try_into().ok(),
        Value::Int(number) => number.try_into().ok(),
        Value::Long(number) => number.try_into().ok(),
        _ => None,
    }
}
