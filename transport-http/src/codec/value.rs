//! Values that are not text, as text.
//!
//! Text stands for itself. Anything else begins with `=` and its kind; text that begins with `=` gets one more.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytestring::ByteString;
use roadbed_core::Value;

/// The text form of `value`.
pub(crate) fn to_text(value: &Value) -> String {
    match value {
        Value::Text(text) if text.starts_with('=') => format!("={text}"),
        Value::Text(text) => text.to_string(),
        Value::Null => "=null".to_owned(),
        Value::Bool(value) => format!("=bool:{value}"),
        Value::Int(value) => format!("=int:{value}"),
        Value::Uint(value) => format!("=uint:{value}"),
        Value::Float(value) => format!("=float:{value:?}"),
        Value::Binary(bytes) => format!("=binary:{}", URL_SAFE_NO_PAD.encode(bytes)),
        Value::Timestamp(millis) => format!("=time:{millis}"),
        Value::Uuid(_) => format!("=uuid:{value}"),
        // A kind that this version does not know: its readable form.
        other => other.to_string(),
    }
}

/// Reads the text form; `None` if it begins like a value that it is not.
pub(crate) fn from_text(text: ByteString) -> Option<Value> {
    let Some(rest) = text.strip_prefix('=') else {
        return Some(Value::Text(text));
    };
    if rest.starts_with('=') {
        return Some(Value::Text(text.slice_ref(rest)));
    }
    let (kind, rest) = rest.split_once(':').unwrap_or((rest, ""));
    Some(match kind {
        "null" => Value::Null,
        "bool" => Value::Bool(rest.parse().ok()?),
        "int" => Value::Int(rest.parse().ok()?),
        "uint" => Value::Uint(rest.parse().ok()?),
        "float" => Value::Float(rest.parse().ok()?),
        "binary" => Value::Binary(URL_SAFE_NO_PAD.decode(rest).ok()?.into()),
        "time" => Value::Timestamp(rest.parse().ok()?),
        "uuid" => Value::Uuid(uuid(rest)?),
        _ => return None,
    })
}

/// 32 hexadecimal digits, with or without dashes.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.bytes().filter(|&byte| byte != b'-').map(|byte| (byte as char).to_digit(16));
    let mut out = [0; 16];
    for byte in &mut out {
        *byte = (digits.next()?? * 16 + digits.next()??) as u8;
    }
    digits.next().is_none().then_some(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every kind of value.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => "=?.{0,12}".prop_map(|text| Value::Text(text.into())),
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::Bool),
            1 => any::<i64>().prop_map(Value::Int),
            1 => any::<u64>().prop_map(Value::Uint),
            1 => proptest::num::f64::NORMAL.prop_map(Value::Float),
            1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Binary(bytes.into())),
            1 => any::<i64>().prop_map(Value::Timestamp),
            1 => any::<[u8; 16]>().prop_map(Value::Uuid),
        ]
    }

    proptest! {
        #[test]
        fn a_value_comes_back(value in any_value()) {
            prop_assert_eq!(from_text(to_text(&value).into()), Some(value));
        }
    }

    #[test]
    fn what_people_write_is_text() {
        assert_eq!(from_text("5".into()), Some(Value::from("5")));
        assert_eq!(from_text("=int:5".into()), Some(Value::Int(5)));
        assert_eq!(from_text("==x".into()), Some(Value::from("=x")));
        assert_eq!(from_text("=int:five".into()), None);
        assert_eq!(from_text("=what:5".into()), None);
    }
}
