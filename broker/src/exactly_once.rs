//! Messages that come again: the keys of sessions, and the idempotency names of principals.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_core::{Key, Outcome, Time};

use crate::broker::Shared;
use crate::keys::Row;
use crate::lock;
use crate::mailbox::SessionCore;
use crate::store::{Op, Row as StoreRow, RowKey};
use crate::timers::Timer;

/// The idempotency names of all principals, each remembered for a window of time.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<ByteString, Window>>);

#[derive(Debug, Default)]
struct Window {
    rows: HashMap<Bytes, (Row, Time)>,
    order: VecDeque<(Time, Bytes)>,
    /// What is forgotten, and the store is not told yet.
    gone: Vec<Bytes>,
}

impl Window {
    fn forget_old(&mut self, now: Time, max: usize) {
        while self.order.front().is_some_and(|(until, _)| until.has_passed(now)) || self.order.len() > max {
            let Some((until, name)) = self.order.pop_front() else { return };
            if self.rows.get(&name).is_some_and(|(_, found)| *found == until) {
                self.forget(&name);
            }
        }
    }

    fn forget(&mut self, name: &Bytes) {
        if let Some((name, _)) = self.rows.remove_entry(name).filter(|(_, (row, _))| row.stored) {
            self.gone.push(name);
        }
    }

    /// What the store is told to forget. A name that was used again has another row now.
    fn take_gone(&mut self) -> impl Iterator<Item = Bytes> {
        let rows = &self.rows;
        std::mem::take(&mut self.gone).into_iter().filter(|name| !rows.contains_key(name))
    }
}

impl Names {
    /// Forgets what is out of its window, of all principals.
    pub(crate) fn forget_old(&self, shared: &Shared, now: Time) {
        let mut forgets = false;
        lock(&self.0).values_mut().for_each(|window| {
            window.forget_old(now, shared.settings.key_window_entries_max);
            forgets |= !window.gone.is_empty();
        });
        if forgets {
            // A name that is used again meanwhile is not forgotten by this: its row comes behind.
            shared.commits.submit_made(shared, || self.take_gone());
        }
        let mut names = lock(&self.0);
        names.retain(|_, window| !window.rows.is_empty() || !window.gone.is_empty());
        let next = names.values().filter_map(|window| window.order.front()).map(|(until, _)| *until).min();
        if let Some(next) = next {
            shared.timers.set(Timer::Names, next.max(now + Duration::from_secs(1)));
        }
    }

    fn take_gone(&self) -> Vec<Op> {
        let (mut names, mut ops) = (lock(&self.0), Vec::new());
        for (principal, window) in names.iter_mut() {
            ops.extend(window.take_gone().map(|name| Op::Delete(RowKey::Name(principal.clone(), name))));
        }
        ops
    }
}

impl Shared {
    /// What is known of a key of this session.
    pub(crate) fn key(&self, session: &SessionCore, key: &Key) -> Option<Row> {
        if let Some(name) = windowed(session, key) {
            let now = self.now();
            let mut names = lock(&self.names.0);
            let window = names.get_mut(&session.origin.principal)?;
            window.forget_old(now, self.settings.key_window_entries_max);
            return window.rows.get(name).map(|(row, _)| row.clone());
        }
        lock(&session.keys).as_ref()?.get(key).cloned()
    }

    /// Remembers a key whose outcome is not known yet. Whether there was room.
    pub(crate) fn record(&self, session: &SessionCore, key: &Key) -> bool {
        if let Some(name) = windowed(session, key) {
            let row = Row { order: 0, stored: false, outcome: None };
            let until = self.now() + Duration::from_secs(self.settings.key_window_seconds);
            self.remember(session.origin.principal.clone(), name, row, until);
            return true;
        }
        let mut keys = lock(&session.keys);
        let keys = keys.get_or_insert_default();
        let room = keys.len() < self.settings.session_keys_max;
        if room {
            keys.insert(key, None, false);
        }
        room
    }

    pub(crate) fn remember(&self, principal: ByteString, name: &[u8], row: Row, until: Time) {
        let now = self.now();
        let name = Bytes::copy_from_slice(name);
        let mut names = lock(&self.names.0);
        if names.is_empty() {
            self.timers.set(Timer::Names, until);
        }
        let window = names.entry(principal).or_default();
        window.forget_old(now, self.settings.key_window_entries_max);
        window.rows.insert(name.clone(), (row, until));
        window.order.push_back((until, name));
    }

    /// What the store is told of a key, together with its message.
    pub(crate) fn key_op(&self, session: &SessionCore, key: &Key) -> Option<Op> {
        let principal = session.origin.principal.clone();
        let outcome = Outcome::Accepted;
        if let Some(name) = windowed(session, key) {
            let mut names = lock(&self.names.0);
            let (row, until) = names.get_mut(&principal)?.rows.get_mut(name)?;
            row.stored = true;
            let row = StoreRow::Key { outcome, order: 0, until: Some(*until) };
            return Some(Op::Put(RowKey::Name(principal, name.clone()), row));
        }
        let name = session.name.clone().filter(|_| session.is_durable())?;
        let mut keys = lock(&session.keys);
        let row = keys.as_mut()?.get_mut(key)?;
        row.stored = true;
        let row = StoreRow::Key { outcome, order: row.order, until: None };
        Some(Op::Put(RowKey::SessionKey(principal, name, key.clone()), row))
    }

    /// The row in which a key outlives us, if it does.
    pub(crate) fn row_key(&self, session: &SessionCore, key: &Key) -> Option<RowKey> {
        let principal = session.origin.principal.clone();
        match windowed(session, key) {
            Some(name) => Some(RowKey::Name(principal, name.clone())),
            None => {
                let name = session.name.clone().filter(|_| session.is_durable())?;
                Some(RowKey::SessionKey(principal, name, key.clone()))
            }
        }
    }

    /// The outcome under a key is known. A refusal leaves the key free.
    pub(crate) fn decide(&self, session: &SessionCore, key: &Key, outcome: &Outcome, refused: bool) {
        if let Some(name) = windowed(session, key) {
            let mut names = lock(&self.names.0);
            let Some(window) = names.get_mut(&session.origin.principal) else { return };
            if refused {
                window.rows.remove(name);
            } else if let Some((row, _)) = window.rows.get_mut(name) {
                row.outcome = Some(outcome.clone());
            }
            return;
        }
        let mut keys = lock(&session.keys);
        let Some(keys) = keys.as_mut() else { return };
        if refused {
            keys.remove(key);
        } else {
            keys.decide(key, outcome);
        }
    }

    /// The second half of exactly once: what the store has to be told.
    pub(crate) fn forget(&self, session: &SessionCore, forgotten: &mut Vec<Key>) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut keys = lock(&session.keys);
        for key in forgotten.drain(..) {
            if let Some(name) = windowed(session, &key) {
                if let Some(window) = lock(&self.names.0).get_mut(&session.origin.principal) {
                    window.forget(name);
                }
                continue;
            }
            let row = keys.as_mut().and_then(|keys| keys.remove(&key));
            if let (Some(Row { stored: true, .. }), Some(name)) = (row, &session.name) {
                ops.push(Op::Delete(RowKey::SessionKey(session.origin.principal.clone(), name.clone(), key)));
            }
        }
        ops
    }
}

/// The idempotency name, if the key is one: of a session without a name, which cannot keep it.
fn windowed<'a>(session: &SessionCore, key: &'a Key) -> Option<&'a Bytes> {
    match key {
        Key::Name(name) if session.name.is_none() => Some(name),
        _ => None,
    }
}
