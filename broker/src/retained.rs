//! The last value of each address.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use bytestring::ByteString;
use roadbed_core::{Address, Filter, Message, Qos, Time, is_reserved};

use crate::broker::Shared;
use crate::lock;

/// Last values by address.
#[derive(Debug, Default)]
pub(crate) struct Retained(Mutex<BTreeMap<ByteString, Value>>);

#[derive(Debug)]
struct Value {
    message: Message,
    qos: Qos,
    /// The store knows it.
    stored: bool,
}

impl Retained {
    /// Makes a message the last value of its address; an empty one removes it.
    pub(crate) fn set(&self, shared: &Shared, message: &Message, qos: Qos, stored: bool) {
        let (settings, meters) = (&shared.settings, &shared.meters);
        let mut values = lock(&self.0);
        if message.payload().is_empty() {
            let gone = values.remove(message.address().as_str());
            meters.retained.sub(u64::from(gone.is_some()));
            meters.retained_bytes.sub(gone.map_or(0, |value| value.message.cost() as u64));
            return;
        }
        let before = values.get(message.address().as_str()).map_or(0, |value| value.message.cost());
        let bytes = meters.retained_bytes.load() as usize - before + message.cost();
        if (before == 0 && values.len() >= settings.retained_messages_max) || bytes > settings.retained_bytes_max {
            meters.retained_refused.one();
            return;
        }
        meters.retained.add(u64::from(before == 0));
        meters.retained_bytes.add(message.cost() as u64);
        meters.retained_bytes.sub(before as u64);
        values.insert(message.address().detach().name().clone(), Value { message: message.detach(), qos, stored });
    }

    /// Whether the store knows a value of this address, so that what takes its place has to go there, too.
    pub(crate) fn is_stored(&self, address: &Address) -> bool {
        lock(&self.0).get(address.as_str()).is_some_and(|value| value.stored)
    }

    /// At most `max` values that match, in order of their addresses. Looks only at addresses that begin as the filter does.
    pub(crate) fn matching(&self, filter: &Filter, now: Time, max: usize) -> Vec<(Message, Qos)> {
        let values = lock(&self.0);
        if !filter.has_wildcard() {
            let found = values.get(filter.as_str()).filter(|value| !value.message.has_expired(now));
            return found.into_iter().map(Value::told).collect();
        }
        let prefix = literal_prefix(filter.as_str());
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let begins = |address: &str| address.starts_with(prefix) || address == prefix.trim_end_matches('/');
        let wanted = |message: &Message| {
            let hidden = prefix.is_empty() && is_reserved(message.address().as_str());
            !hidden && filter.matches(message.address()) && !message.has_expired(now)
        };
        let parent = prefix.strip_suffix('/').and_then(|parent| values.get(parent));
        let range = values.range::<str, _>(from).take_while(|(address, _)| begins(address));
        let all = parent.into_iter().chain(range.map(|(_, value)| value));
        all.filter(|value| wanted(&value.message)).take(max).map(Value::told).collect()
    }
}

impl Value {
    fn told(&self) -> (Message, Qos) {
        (self.message.clone(), self.qos)
    }
}

/// What every address begins with that the filter matches, but for the parent of a `#`.
fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    &filter[..end]
}
