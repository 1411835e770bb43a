//! The lock tokens of deliveries, for settling by id.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadbed_core::{DeliveryId, Time};

/// Tokens until their locks end. Bounded: at the bound, those whose locks have ended go; if there are none, the new one is not
/// kept, and its delivery can be settled by its consumer alone.
#[derive(Debug)]
pub(super) struct Tokens {
    entries: Mutex<Entries>,
    max: usize,
}

#[derive(Debug, Default)]
struct Entries {
    tokens: HashMap<DeliveryId, (String, Time)>,
    swept: Time,
}

/// How often ended locks are looked for at most.
const SWEEP: Duration = Duration::from_secs(1);

impl Tokens {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: Mutex::default(), max }
    }

    pub(super) fn keep(&self, id: DeliveryId, token: String, until: Time, now: Time) {
        let mut entries = self.lock();
        if entries.tokens.len() >= self.max && now.since(entries.swept) >= SWEEP {
            entries.swept = now;
            entries.tokens.retain(|_, (_, until)| !until.has_passed(now));
        }
        if entries.tokens.len() < self.max {
            entries.tokens.insert(id, (token, until));
        }
    }

    pub(super) fn find(&self, id: &DeliveryId) -> Option<String> {
        self.lock().tokens.get(id).map(|(token, _)| token.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded() {
        let tokens = Tokens::new(2);
        let id = |n: u8| DeliveryId::from_bytes(&[n; 20]).unwrap();
        let at = |seconds: u64| Time::from_millis(1000 * seconds);
        tokens.keep(id(1), "1".into(), at(10), at(0));
        tokens.keep(id(2), "2".into(), at(20), at(0));
        tokens.keep(id(3), "3".into(), at(30), at(0));
        assert_eq!(tokens.find(&id(3)), None);
        tokens.keep(id(3), "3".into(), at(30), at(15));
        assert_eq!((tokens.find(&id(1)), tokens.find(&id(3))), (None, Some("3".into())));
    }
}
