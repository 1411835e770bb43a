//! The client's half of a session's state.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;

use crate::{Fut, Key, Message, Outcome, Qos};

/// Keeps the client's half of its sessions' state: what was sent and is not answered, and what was received exactly once and is not settled by both ends.
/// MQTT calls it the session state of the client \[MQTT-4.1.0-1\], AMQP the unsettled maps of its links (Part 2, section 2.6.13).
///
/// The client side of exactly once is worth as much as this store: with [`MemoryStore`] it ends with the process. After a restart without its state a resumed
/// session can neither know a message again that was sent under a key, nor know which names of deliveries the server still holds.
///
/// *Contract*: one client uses the name of a session at a time. Changes are applied in order, all of a batch or none.
pub trait SessionStore: Send + Sync {
    /// What is kept for a session, by its name (MQTT: the client identifier); empty if nothing is.
    fn load(&self, session: &ByteString) -> Fut<StoredSession>;

    /// Applies changes; resolves when they are as durable as this store makes them. Nothing that depends on them is written to the server before.
    fn commit(&self, session: &ByteString, changes: Vec<Change>) -> Fut<()>;
}

/// What is kept of a session.
#[derive(Clone, Debug, Default)]
pub struct StoredSession {
    /// What was sent and has not come to its end, in the order of sending.
    pub messages: Vec<StoredMessage>,
    /// Keys of messages that were accepted and are not forgotten, oldest first.
    pub accepted: Vec<Key>,
    /// Messages received exactly once that have not come to their end, in the order in which they were handed over.
    pub received: Vec<StoredReceipt>,
}

/// A message that was sent at least once or exactly once.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// The name under which the server knows it: MQTT's packet identifier, AMQP's link and delivery tag.
    pub name: Key,
    /// The name under which the application knows it.
    pub key: Option<Key>,
    /// How it was sent.
    pub qos: Qos,
    /// The message; `None` once the server owns it (MQTT's PUBREC, an AMQP outcome), and is to be told to forget it.
    pub message: Option<Message>,
}

/// A message received exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// The name that the server has given to it.
    pub name: Key,
    /// The slot of its handle. It is the same on every connection until the delivery has come to its end, and no other's: who passes the delivery on may
    /// know it by its slot alone, as an MQTT server does, whose packet identifier it is \[MQTT-4.4.0-1\].
    pub slot: u16,
    /// The outcome; `None` as long as it is not named.
    pub outcome: Option<Outcome>,
    /// The application will say when it has forgotten the delivery ([`Step::Settle`](crate::Step)): the server is not told to forget it before.
    pub keep: bool,
}

/// A change of a session's state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// A message is about to be sent for the first time.
    Sent(StoredMessage),
    /// The server owns the message. Its key, if it has one, is accepted.
    Released(Key),
    /// The message has come to its end, or was refused; its name is free.
    Ended {
        /// Which.
        name: Key,
        /// Whether its key, if it has one, is to be remembered as accepted.
        accepted: bool,
    },
    /// The application has forgotten a key.
    Forgotten(Key),
    /// A message that comes exactly once is about to be handed over for the first time. Its name is new.
    Delivered(StoredReceipt),
    /// A message received exactly once was taken; the server is about to be told.
    Received(StoredReceipt),
    /// It has come to its end.
    Completed(Key),
    /// The session has ended: nothing of it is left.
    Cleared,
}

impl StoredSession {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.accepted.is_empty() && self.received.is_empty()
    }

    /// Applies a change: what every store does, in memory.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Sent(message) => self.messages.push(message),
            Change::Released(name) => {
                if let Some(message) = self.messages.iter_mut().find(|message| message.name == name) {
                    message.message = None;
                }
            }
            Change::Ended { name, accepted } => {
                let at = self.messages.iter().position(|message| message.name == name);
                let key = at.and_then(|at| self.messages.remove(at).key);
                self.accepted.extend(key.filter(|_| accepted));
            }
            Change::Forgotten(key) => {
                self.accepted.retain(|known| *known != key);
                let named = self.messages.iter_mut().filter(|message| message.key.as_ref() == Some(&key));
                named.for_each(|message| message.key = None);
            }
            Change::Delivered(receipt) => self.received.push(receipt),
            Change::Received(receipt) => match self.received.iter_mut().find(|known| known.name == receipt.name) {
                Some(known) => *known = receipt,
                None => self.received.push(receipt),
            },
            Change::Completed(name) => {
                let at = self.received.iter().position(|known| known.name == name);
                at.map(|at| self.received.remove(at));
            }
            Change::Cleared => *self = Self::default(),
        }
    }

    /// The keys that are not forgotten, in the order of sending.
    pub fn in_doubt(&self) -> Vec<Key> {
        let sent = self.messages.iter().filter_map(|message| message.key.as_ref());
        self.accepted.iter().chain(sent).cloned().collect()
    }
}

impl StoredMessage {
    /// What became of it, as far as is known.
    pub fn outcome(&self) -> Option<Outcome> {
        self.message.is_none().then_some(Outcome::Accepted)
    }
}

/// Keeps sessions as long as the process runs.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<ByteString, StoredSession>>);

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ByteString, StoredSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for MemoryStore {
    fn load(&self, session: &ByteString) -> Fut<StoredSession> {
        let kept = self.lock().get(session).cloned().unwrap_or_default();
        Box::pin(core::future::ready(Ok(kept)))
    }

    fn commit(&self, session: &ByteString, changes: Vec<Change>) -> Fut<()> {
        let mut sessions = self.lock();
        let kept = sessions.entry(session.clone()).or_default();
        changes.into_iter().for_each(|change| kept.apply(change));
        if kept.is_empty() {
            sessions.remove(session);
        }
        drop(sessions);
        Box::pin(core::future::ready(Ok(())))
    }
}
