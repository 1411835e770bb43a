//! What a session's peer has sent and not forgotten: the first half of exactly once.

use hashbrown::HashMap;
use roadbed_core::{Key, Outcome};

/// The keys of one session, with their first outcomes.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    numbers: HashMap<u32, Row>,
    names: HashMap<bytes::Bytes, Row>,
    next: u64,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) order: u64,
    pub(crate) stored: bool,
    /// `None` until its commit.
    pub(crate) outcome: Option<Outcome>,
}

/// A table that once had more rows than this gives its memory back when it is empty.
const KEEP: usize = 64;

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.numbers.len() + self.names.len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Row> {
        match key {
            Key::Number(number) => self.numbers.get(number),
            Key::Name(name) => self.names.get(name),
        }
    }

    /// Remembers a key; its place in the order of sending.
    pub(crate) fn insert(&mut self, key: &Key, outcome: Option<Outcome>, stored: bool) -> u64 {
        self.next += 1;
        self.put(key, Row { order: self.next, stored, outcome });
        self.next
    }

    pub(crate) fn put(&mut self, key: &Key, row: Row) {
        self.next = self.next.max(row.order);
        match key {
            Key::Number(number) => self.numbers.insert(*number, row),
            Key::Name(name) => self.names.insert(bytes::Bytes::copy_from_slice(name), row),
        };
    }

    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Row> {
        match key {
            Key::Number(number) => self.numbers.get_mut(number),
            Key::Name(name) => self.names.get_mut(name),
        }
    }

    pub(crate) fn decide(&mut self, key: &Key, outcome: &Outcome) {
        if let Some(row) = self.get_mut(key) {
            row.outcome = Some(outcome.clone());
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Row> {
        let row = match key {
            Key::Number(number) => self.numbers.remove(number),
            Key::Name(name) => self.names.remove(name),
        };
        if self.numbers.is_empty() && self.numbers.capacity() > KEEP {
            self.numbers = HashMap::new();
        }
        row
    }

    /// The keys that the store knows.
    pub(crate) fn stored(&self) -> impl Iterator<Item = Key> {
        let numbers = self.numbers.iter().map(|(number, row)| (Key::Number(*number), row));
        let names = self.names.iter().map(|(name, row)| (Key::Name(name.clone()), row));
        numbers.chain(names).filter(|(_, row)| row.stored).map(|(key, _)| key)
    }

    /// All keys in the order of sending, with their outcomes.
    pub(crate) fn in_order(&self) -> Vec<(Key, Option<Outcome>)> {
        let numbers = self.numbers.iter().map(|(number, row)| (Key::Number(*number), row));
        let names = self.names.iter().map(|(name, row)| (Key::Name(name.clone()), row));
        let mut all: Vec<(Key, &Row)> = numbers.chain(names).collect();
        all.sort_unstable_by_key(|(_, row)| row.order);
        all.into_iter().map(|(key, row)| (key, row.outcome.clone())).collect()
    }
}
