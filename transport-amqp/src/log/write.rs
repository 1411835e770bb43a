//! What a client says to read a log: the inverse of what a server reads.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use fe2o3_amqp_types::definitions::Fields;
use fe2o3_amqp_types::messaging::Source;
use fe2o3_amqp_types::primitives::{OrderedMap, Symbol};
use roadbed_core::{LogStart, LogTerms, Result};
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;

use super::{EPOCH, SELECTOR, invalid};

/// Whether AMQP can say how the log is to be read.
pub(crate) fn check(terms: &LogTerms) -> Result<()> {
    let plain = |group: &str| !group.is_empty() && !group.contains(['/', '+', '#']);
    if terms.address.log_place().is_none() {
        return Err(invalid("a log is logs/NAME, and its partitions are logs/NAME/N"));
    }
    if terms.group.as_deref().is_some_and(|group| !plain(group)) {
        return Err(invalid("a group is named in an address here: its name has no /, + or #"));
    }
    if terms.epoch.is_some_and(|epoch| i64::try_from(epoch).is_err()) {
        return Err(invalid("an epoch is at most 2^63 - 1"));
    }
    Ok(())
}

/// The node, for a group or not, and the filter that says where to begin.
pub(crate) fn source(terms: &LogTerms) -> Source {
    let address = match (terms.address.log_place(), &terms.group) {
        (Some((name, Some(partition))), Some(group)) => {
            format!("logs/{name}/ConsumerGroups/{group}/Partitions/{partition}")
        }
        (Some((name, None)), Some(group)) => format!("logs/{name}/ConsumerGroups/{group}"),
        _ => terms.address.as_str().into(),
    };
    let filter = selector(terms.from).map(|words| {
        let described = Described { descriptor: Descriptor::Name(SELECTOR.into()), value: Value::String(words) };
        let mut filters = OrderedMap::new();
        filters.insert(Symbol::from(SELECTOR), Value::Described(Box::new(described)));
        filters
    });
    Source { address: Some(address), filter, ..Source::default() }
}

/// The properties of the link, if there is an epoch.
pub(crate) fn properties(terms: &LogTerms) -> Option<Fields> {
    let epoch = i64::try_from(terms.epoch?).ok()?;
    let mut properties = Fields::new();
    properties.insert(Symbol::from(EPOCH[1]), Value::Long(epoch));
    Some(properties)
}

/// The annotation is in milliseconds: what came within the same one as the time that is asked for comes, too.
fn selector(from: LogStart) -> Option<String> {
    let words = match from {
        LogStart::Earliest => "x-opt-offset > '-1'".into(),
        LogStart::Latest => "x-opt-offset > '@latest'".into(),
        LogStart::Position(position) => format!("x-opt-sequence-number >= '{position}'"),
        LogStart::Time(time) => format!("x-opt-enqueued-time >= '{}'", time.as_millis()),
        _ => return None,
    };
    Some(format!("amqp.annotation.{words}"))
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;
    use roadbed_core::{ErrorKind, Time};

    use super::*;

    fn terms(address: &str, from: LogStart) -> LogTerms {
        LogTerms::new(address.parse().expect("an address"), from)
    }

    #[test]
    fn what_is_said_is_read() {
        for address in ["logs/l", "logs/l/7"] {
            for group in [None, Some(ByteString::from("billing"))] {
                for from in [
                    LogStart::Earliest,
                    LogStart::Latest,
                    LogStart::Position(0),
                    LogStart::Position(u64::MAX),
                    LogStart::Time(Time::from_millis(1_800_000_000_001)),
                    LogStart::Checkpoint,
                ] {
                    for epoch in [None, Some(0), Some(7)] {
                        let said = LogTerms { group: group.clone(), epoch, ..terms(address, from) };
                        check(&said).expect("it can be said");
                        let read = super::super::log(&source(&said)).expect("legal").expect("a log");
                        let read = super::super::boxed(read, properties(&said).as_ref()).expect("legal");
                        // Without a group there is no checkpoint to begin at.
                        let plain = from == LogStart::Checkpoint && group.is_none();
                        let from = if plain { LogStart::Earliest } else { from };
                        assert_eq!(*read, LogTerms { from, ..said });
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let group = |group: &'static str| LogTerms::group("logs/l/0".parse().expect("an address"), group);
        let far = LogTerms { epoch: Some(1 << 63), ..group("g") };
        for wrong in [terms("queues/l", LogStart::Earliest), group(""), group("a/b"), group("a+"), group("#"), far] {
            assert_eq!(check(&wrong).expect_err("refused").kind(), ErrorKind::Invalid, "{wrong:?}");
        }
    }
}
