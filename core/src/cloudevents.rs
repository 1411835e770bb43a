//! CloudEvents 1.0.2 as every protocol's messages have them: attributes are properties under the prefix of the AMQP binding.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use crate::{Details, Properties, Time, Value};

/// Before the name of an attribute (AMQP binding, section 3.1.3.1).
pub const PREFIX: &str = "cloudEvents:";
/// The other one that the AMQP binding knows: names with a colon are not legal in JMS.
pub const PREFIX_JMS: &str = "cloudEvents_";
/// The attributes that every event has ("Required attributes").
pub const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The media type of an event in JSON (JSON event format, section 3).
pub const JSON: &str = "application/cloudevents+json";
/// The media type of several (section 4).
pub const BATCH: &str = "application/cloudevents-batch+json";

/// The attribute that a property is.
pub fn attribute(property: &str) -> Option<&str> {
    property.strip_prefix(PREFIX).filter(|name| is_attribute_name(name))
}

/// Lower-case letters and digits ("Attribute naming convention").
pub fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether the properties are those of an event: all required attributes are there, as text.
pub fn is_event(properties: &Properties) -> bool {
    !properties.is_empty() && REQUIRED.iter().all(|required| find(properties, required).is_some())
}

/// The value of an attribute, if it is text.
pub fn find<'a>(properties: &'a Properties, attribute: &str) -> Option<&'a str> {
    let mut found = properties.iter().filter(|(name, _)| self::attribute(name) == Some(attribute));
    found.next().and_then(|(_, value)| value.as_str()).filter(|text| !text.is_empty())
}

/// The value of an attribute as text ("Type system"): times are those of RFC 3339.
pub fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Timestamp(millis) => Cow::Owned(rfc3339(*millis)),
        other => Cow::Owned(other.to_string()),
    }
}

/// Milliseconds since the Unix epoch as RFC 3339 has them, in UTC; years before 0 or after 9999 it cannot say, and gets the nearest that it can.
///
/// ```
/// assert_eq!(roadbed_core::cloudevents::rfc3339(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
/// ```
pub fn rfc3339(millis: i64) -> String {
    const FIRST: i64 = -62_167_219_200_000;
    const LAST: i64 = 253_402_300_799_999;
    let millis = millis.clamp(FIRST, LAST);
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that the leap day is the last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    let fraction = match of_day % 1_000 {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Reads a time of RFC 3339, to the millisecond; `None` if it is none.
///
/// ```
/// use roadbed_core::cloudevents::read_rfc3339;
/// assert_eq!(read_rfc3339("2023-11-14T23:13:20.12+01:00"), Some(1_700_000_000_120));
/// assert_eq!(read_rfc3339("yesterday"), None);
/// ```
pub fn read_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if !marks.iter().all(|&(at, mark)| bytes.get(at) == Some(&mark)) || !matches!(bytes.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if bytes.get(at) == Some(&b'.') {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let known = digits.min(3);
        millis = number(at + 1, known).filter(|_| known > 0)? * [0, 100, 10, 1][known];
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' | b'z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 && bytes[at + 3] == b':' => {
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    // As in `rfc3339`, the other way.
    let (year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * march_month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era - 719_468;
    Some((((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1_000 + millis)
}

/// An event's attributes are the message's own where it has none; the result is when it expires, if the event says so (the extensions for partitioning,
/// correlation and expiry).
pub fn adopt(details: &mut Details) -> Option<Time> {
    let properties = core::mem::take(&mut details.properties);
    let text = |attribute: &str| find(&properties, attribute);
    let time = |attribute: &str| {
        let millis = read_rfc3339(text(attribute)?)?;
        Some(Time::from_millis(u64::try_from(millis).unwrap_or(0)))
    };
    details.message_id = details.message_id.take().or_else(|| text("id").map(Value::from));
    details.correlation_id = details.correlation_id.take().or_else(|| text("correlationid").map(Value::from));
    details.subject = details.subject.take().or_else(|| text("subject").map(Into::into));
    details.group = details.group.take().or_else(|| text("partitionkey").map(Into::into));
    details.created_at = details.created_at.or_else(|| time("time"));
    let expires_at = time("expirytime");
    details.properties = properties;
    expires_at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
            let known = millis.clamp(-62_167_219_200_000, 253_402_300_799_999);
            assert_eq!(read_rfc3339(text), Some(known));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_time_comes_back(millis in -62_167_219_200_000_i64..=253_402_300_799_999) {
            proptest::prop_assert_eq!(read_rfc3339(&rfc3339(millis)), Some(millis));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}", tail in "[0-9.:TZ+-]{0,30}") {
            let _ = (read_rfc3339(&text), read_rfc3339(&alloc::format!("2023-11-14T22:13:20{tail}")));
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "2023-11-14",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+1:00",
            "2023-11-14T22:13:20Zulu",
            "+023-11-14T22:13:20Z",
        ] {
            assert_eq!(read_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn an_event_has_four_attributes_of_text() {
        let list = |names: &[&str]| names.iter().map(|name| ((*name).into(), Value::from("x"))).collect::<Properties>();
        let all = ["cloudEvents:specversion", "cloudEvents:id", "cloudEvents:source", "cloudEvents:type"];
        assert!(is_event(&list(&all)));
        assert!(!is_event(&list(&all[1..])));
        assert!(!is_event(&list(&["specversion", "id", "source", "type"])));
        assert_eq!(attribute("cloudEvents:time"), Some("time"));
        for none in ["cloudEvents:", "cloudEvents:Time", "cloudEvents:a-b", "time"] {
            assert_eq!(attribute(none), None);
        }
    }
}
