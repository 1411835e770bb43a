use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use roadbed_core::Value;

use super::reader::Reader;
use super::writer::{put_binary, put_bool, put_null, put_str, put_u64};
use crate::DecodeError;

/// A simple value that is encoded as a part of `frame`; `None` for what is no simple type of the core: lists, maps, arrays,
/// decimals and described values.
pub(crate) fn read_value(encoded: &[u8], frame: &Bytes) -> Result<Option<Value>, DecodeError> {
    if encoded.first() == Some(&0) {
        return Ok(None);
    }
    let raw = Reader::new(encoded).raw()?;
    let bytes = raw.bytes;
    Ok(Some(match raw.code {
        0x40 => Value::Null,
        0x41 | 0x42 | 0x56 => Value::Bool(raw.bool()?),
        0x43 | 0x44 | 0x50 | 0x52 | 0x53 | 0x60 | 0x70 | 0x80 => Value::Uint(raw.u64()?),
        0x51 | 0x54 | 0x55 | 0x61 | 0x71 | 0x81 => Value::Int(signed(bytes)),
        0x83 => Value::Timestamp(signed(bytes)),
        0x72 => Value::Float(f32::from_be_bytes(array(bytes)?).into()),
        0x82 => Value::Float(f64::from_be_bytes(array(bytes)?)),
        0x73 => {
            let char = char::from_u32(u32::from_be_bytes(array(bytes)?)).ok_or(DecodeError::Utf8)?;
            Value::Text(alloc::string::String::from(char).into())
        }
        0x98 => Value::Uuid(array(bytes)?),
        0xa0 | 0xb0 => Value::Binary(frame.slice_ref(bytes)),
        0xa1 | 0xb1 => Value::Text(text(raw.str()?, frame)),
        0xa3 | 0xb3 => Value::Text(text(raw.symbol()?, frame)),
        _ => return Ok(None),
    }))
}

pub(crate) fn put_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Bool(value) => put_bool(out, *value),
        Value::Int(value) => {
            out.put_u8(0x81);
            out.put_i64(*value);
        }
        Value::Uint(value) => put_u64(out, *value),
        Value::Float(value) => {
            out.put_u8(0x82);
            out.put_f64(*value);
        }
        Value::Text(text) => put_str(out, text),
        Value::Binary(bytes) => put_binary(out, bytes),
        Value::Timestamp(value) => {
            out.put_u8(0x83);
            out.put_i64(*value);
        }
        Value::Uuid(id) => {
            out.put_u8(0x98);
            out.put_slice(id);
        }
        // Null, and what the core may come to know: nothing that AMQP could say.
        _ => put_null(out),
    }
}

pub(crate) fn text(text: &str, frame: &Bytes) -> ByteString {
    ByteString::try_from(frame.slice_ref(text.as_bytes())).unwrap_or_default()
}

/// A signed number of any width.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|&first| first >= 0x80);
    bytes.iter().fold(if negative { -1 } else { 0 }, |sum, &byte| (sum << 8) | i64::from(byte))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Truncated)
}
