//! Sources that are logs: which partition, for which group, and where a reader begins.

pub(crate) mod write;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use bytestring::ByteString;
use fe2o3_amqp_types::definitions::Fields;
use fe2o3_amqp_types::messaging::Source;
use roadbed_core::{Address, Error, ErrorKind, LogStart, LogTerms, Result, Time};
use serde_amqp::Value;
use serde_amqp::descriptor::Descriptor;

/// The one filter that is known: a comparison of an annotation (Part 3, section 3.5.8, and the selector filter of the registry).
const SELECTOR: &str = "apache.org:selector-filter:string";
const SELECTOR_CODE: u64 = 0x0000_468c_0000_0004;
/// The link property that takes the partition from readers with a lower one, by our name and by that of other hubs.
const EPOCH: [&str; 2] = ["epoch", "com.microsoft:epoch"];

/// How a log is read; `None`: the source is no log.
///
/// Addresses are `logs/NAME`, `logs/NAME/N`, and for a group `logs/NAME/ConsumerGroups/GROUP` with or without `/Partitions/N`.
pub(crate) fn log(source: &Source) -> Result<Option<LogTerms>> {
    let Some(text) = source.address.as_deref().filter(|text| text.starts_with("logs/")) else { return Ok(None) };
    if text.contains(['+', '#']) {
        return Ok(None);
    }
    let (address, group) = place(text)?;
    let from = match selector(source)? {
        Some(selector) => start(&selector)?,
        None if group.is_some() => LogStart::Checkpoint,
        None => LogStart::Earliest,
    };
    Ok(Some(LogTerms { group, ..LogTerms::new(address, from) }))
}

/// The epoch among the properties of a link.
pub(crate) fn epoch(properties: Option<&Fields>) -> Result<Option<u64>> {
    let found = properties.and_then(|properties| {
        EPOCH.iter().find_map(|name| properties.iter().find(|(key, _)| key.0 == **name).map(|(_, value)| value))
    });
    let number = |value: &Value| match *value {
        Value::Long(number) => u64::try_from(number).ok(),
        Value::Int(number) => u64::try_from(number).ok(),
        Value::Ulong(number) => Some(number),
        Value::Uint(number) => Some(number.into()),
        _ => None,
    };
    found.map(|value| number(value).ok_or_else(|| invalid("an epoch is a number, 0 or more"))).transpose()
}

fn place(text: &str) -> Result<(Address, Option<ByteString>)> {
    let (log, rest) = match text.split_once("/ConsumerGroups/") {
        None => (String::from(text), None),
        Some((log, rest)) => match rest.split_once("/Partitions/") {
            None => (String::from(log), Some(rest)),
            Some((group, partition)) => (format!("{log}/{partition}"), Some(group)),
        },
    };
    let address = Address::new(log).map_err(|error| invalid(&format!("{error}")))?;
    let legal = rest.is_none_or(|group| !group.is_empty() && !group.contains('/'));
    if address.log_place().is_none() || !legal {
        let words = "a log is logs/NAME, logs/NAME/N, or logs/NAME/ConsumerGroups/GROUP/Partitions/N";
        return Err(Error::new(ErrorKind::NotFound, "attach").detail(format!("there is no node {text}: {words}")));
    }
    Ok((address, rest.map(ByteString::from)))
}

/// The words of the selector. Any other filter is refused, since a reader that is given more than it asked for may do wrong.
fn selector(source: &Source) -> Result<Option<String>> {
    let Some(filters) = &source.filter else { return Ok(None) };
    let mut found = None;
    for (name, value) in filters.iter() {
        // A filter is what its descriptor says; the key is only what the link calls it. Without a descriptor, the key is all there is.
        let (known, value) = match value {
            Value::Null => continue,
            Value::Described(described) => (is_selector(&described.descriptor), &described.value),
            plain => (name.0 == SELECTOR, plain),
        };
        let words = match value {
            Value::String(words) => Some(words.clone()),
            Value::Symbol(words) => Some(words.0.clone()),
            Value::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        };
        match words.filter(|_| known) {
            Some(words) if found.is_none() => found = Some(words),
            _ => return Err(unknown(&format!("the filter {}", name.0))),
        }
    }
    Ok(found)
}

fn is_selector(descriptor: &Descriptor) -> bool {
    match descriptor {
        Descriptor::Name(name) => name.0 == SELECTOR,
        Descriptor::Code(code) => *code == SELECTOR_CODE,
    }
}

/// Where a reader begins: after (`>`), or with (`>=`), an offset, a sequence number or a time in milliseconds.
fn start(selector: &str) -> Result<LogStart> {
    let wrong = || unknown(&format!("the selector {selector:?}"));
    let words = selector.trim().strip_prefix("amqp.annotation.").ok_or_else(wrong)?;
    let (name, rest) = words.split_once('>').ok_or_else(wrong)?;
    let (with, value) = match rest.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, rest),
    };
    let value = unquoted(value.trim()).ok_or_else(wrong)?;
    let position = |value: &str| {
        let number: u64 = value.parse().ok()?;
        Some(LogStart::Position(if with { number } else { number.saturating_add(1) }))
    };
    let found = match (name.trim(), value) {
        ("x-opt-offset" | "x-opt-sequence-number", "-1") => Some(LogStart::Earliest),
        ("x-opt-offset", "@latest") => Some(LogStart::Latest),
        ("x-opt-offset" | "x-opt-sequence-number", value) => position(value),
        ("x-opt-enqueued-time", value) => value.parse().ok().map(|millis: u64| {
            let more = Duration::from_millis(u64::from(!with));
            LogStart::Time(Time::from_millis(millis) + more)
        }),
        _ => None,
    };
    found.ok_or_else(wrong)
}

fn invalid(words: &str) -> Error {
    Error::new(ErrorKind::Invalid, "attach").detail(words)
}

/// A literal, in quotes or not.
fn unquoted(value: &str) -> Option<&str> {
    let bare = match value.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'')?,
        None => value,
    };
    let plain =
        !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'-'));
    plain.then_some(bare)
}

fn unknown(what: &str) -> Error {
    let words = format!(
        "{what} is not known: a reader of a log begins by {SELECTOR} = amqp.annotation.NAME > 'VALUE' or >= 'VALUE', with \
         x-opt-offset, x-opt-sequence-number or x-opt-enqueued-time"
    );
    Error::new(ErrorKind::NotSupported, "attach").detail(words)
}

/// What is read, boxed as terms of a node.
pub(crate) fn boxed(terms: LogTerms, properties: Option<&Fields>) -> Result<Box<LogTerms>> {
    Ok(Box::new(LogTerms { epoch: epoch(properties)?, ..terms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(selector: &str) -> Option<LogStart> {
        start(selector).map_err(|error| assert_eq!(error.kind(), ErrorKind::NotSupported)).ok()
    }

    #[test]
    fn selectors_of_readers_of_events() {
        for (selector, wanted) in [
            ("amqp.annotation.x-opt-offset > '123'", LogStart::Position(124)),
            ("amqp.annotation.x-opt-offset >= '123'", LogStart::Position(123)),
            ("amqp.annotation.x-opt-offset > '-1'", LogStart::Earliest),
            ("amqp.annotation.x-opt-offset > '@latest'", LogStart::Latest),
            ("amqp.annotation.x-opt-sequence-number > '5'", LogStart::Position(6)),
            (" amqp.annotation.x-opt-sequence-number>=5 ", LogStart::Position(5)),
            ("amqp.annotation.x-opt-enqueued-time > '1000'", LogStart::Time(Time::from_millis(1001))),
            ("amqp.annotation.x-opt-enqueued-time >= '1000'", LogStart::Time(Time::from_millis(1000))),
        ] {
            assert_eq!(begins(selector), Some(wanted), "{selector}");
        }
        for wrong in [
            "",
            "x-opt-offset > '1'",
            "amqp.annotation.x-opt-offset < '1'",
            "amqp.annotation.x-opt-offset = '1'",
            "amqp.annotation.x-opt-offset > '1' AND amqp.annotation.x-opt-offset > '2'",
            "amqp.annotation.x-opt-offset > '1",
            "amqp.annotation.x-opt-offset > ''",
            "amqp.annotation.x-opt-partition-key > '1'",
            "amqp.annotation.x-opt-enqueued-time > 'yesterday'",
            "amqp.annotation.x-opt-sequence-number > '99999999999999999999'",
        ] {
            assert_eq!(begins(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_of_partitions_and_groups() {
        let read = |text: &str| {
            let source = Source { address: Some(text.into()), ..Source::default() };
            log(&source).map(|terms| terms.map(|terms| (String::from(terms.address.as_str()), terms.group, terms.from)))
        };
        let (g, earliest, checkpoint) = (Some(ByteString::from("g")), LogStart::Earliest, LogStart::Checkpoint);
        assert_eq!(read("logs/l").expect("legal"), Some(("logs/l".into(), None, earliest)));
        assert_eq!(read("logs/l/3").expect("legal"), Some(("logs/l/3".into(), None, earliest)));
        let whole = Some(("logs/l".into(), g.clone(), checkpoint));
        assert_eq!(read("logs/l/ConsumerGroups/g").expect("legal"), whole);
        let one = Some(("logs/l/0".into(), g, checkpoint));
        assert_eq!(read("logs/l/ConsumerGroups/g/Partitions/0").expect("legal"), one);
        assert_eq!(read("queues/l").expect("legal"), None);
        assert_eq!(read("logs/l/+").expect("a pattern"), None);
        for wrong in
            ["logs/", "logs/l/x", "logs/l/01", "logs/l/0/0", "logs/l/ConsumerGroups/", "logs/l/ConsumerGroups/a/b"]
        {
            assert_eq!(read(wrong).expect_err(wrong).kind(), ErrorKind::NotFound);
        }
    }
}
