//! The client's half of a session's state.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use roadbed_core::{Fut, Key, Message, Outcome, Qos};

use crate::codec::PacketId;

/// Keeps the client's half of its sessions' state \[MQTT-4.1.0-1\]: what was sent and is not answered, and which messages of QoS 2 came.
///
/// The client side of exactly once is worth as much as this store: with [`MemoryStore`] it ends with the process. After a restart without its state a resumed
/// session can neither know a message again that was sent under a key, nor know which packet identifiers the server still holds.
///
/// *Contract*: one client uses a client identifier at a time. Changes are applied in order, all of a batch or none.
pub trait SessionStore: Send + Sync {
    /// What is kept for a client identifier; empty if nothing is.
    fn load(&self, client_id: &ByteString) -> Fut<StoredSession>;

    /// Applies changes; resolves when they are as durable as this store makes them. Nothing that depends on them is written to the server before.
    fn commit(&self, client_id: &ByteString, changes: Vec<Change>) -> Fut<()>;
}

/// What is kept of a session.
#[derive(Clone, Debug, Default)]
pub struct StoredSession {
    /// What was sent and has not come to its end, in the order of sending.
    pub messages: Vec<StoredMessage>,
    /// Keys of messages that were accepted and are not forgotten, oldest first.
    pub accepted: Vec<Key>,
    /// Messages of QoS 2 that were taken and have not come to their end.
    pub received: Vec<StoredReceipt>,
}

/// A message that was sent at QoS 1 or 2.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// The name under which the server knows it.
    pub packet_id: PacketId,
    /// The name under which the application knows it.
    pub key: Option<Key>,
    /// How it was sent.
    pub qos: Qos,
    /// The message; `None` once the server owns it (PUBREC), and PUBREL is to be sent.
    pub message: Option<Message>,
}

/// A message of QoS 2 that was taken: PUBREC was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// The name that the server has given to it.
    pub packet_id: PacketId,
    /// The application will say when it has forgotten the delivery ([`Step::Settle`](roadbed_core::Step)): no PUBCOMP before.
    pub keep: bool,
}

/// A change of a session's state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// A message is about to be sent for the first time.
    Sent(StoredMessage),
    /// PUBREC: the server owns the message. Its key, if it has one, is accepted.
    Released(PacketId),
    /// The message has come to its end, or was refused; its packet identifier is free.
    Ended {
        /// Which.
        packet_id: PacketId,
        /// Whether its key, if it has one, is to be remembered as accepted.
        accepted: bool,
    },
    /// The application has forgotten a key.
    Forgotten(Key),
    /// A message of QoS 2 was taken: PUBREC is about to be sent.
    Received(StoredReceipt),
    /// It has come to its end: PUBCOMP is about to be sent.
    Completed(PacketId),
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
            Change::Released(id) => {
                if let Some(message) = self.messages.iter_mut().find(|message| message.packet_id == id) {
                    message.message = None;
                }
            }
            Change::Ended { packet_id, accepted } => {
                let at = self.messages.iter().position(|message| message.packet_id == packet_id);
                let key = at.and_then(|at| self.messages.remove(at).key);
                self.accepted.extend(key.filter(|_| accepted));
            }
            Change::Forgotten(key) => {
                self.accepted.retain(|known| *known != key);
                let named = self.messages.iter_mut().filter(|message| message.key.as_ref() == Some(&key));
                named.for_each(|message| message.key = None);
            }
            Change::Received(receipt) => {
                self.received.retain(|known| known.packet_id != receipt.packet_id);
                self.received.push(receipt);
            }
            Change::Completed(id) => self.received.retain(|known| known.packet_id != id),
            Change::Cleared => *self = Self::default(),
        }
    }

    /// The keys that are not forgotten, in the order of sending.
    pub(super) fn in_doubt(&self) -> Vec<Key> {
        let sent = self.messages.iter().filter_map(|message| message.key.as_ref());
        self.accepted.iter().chain(sent).cloned().collect()
    }
}

impl StoredMessage {
    /// What became of it, as far as is known.
    pub(super) fn outcome(&self) -> Option<Outcome> {
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
    fn load(&self, client_id: &ByteString) -> Fut<StoredSession> {
        let session = self.lock().get(client_id).cloned().unwrap_or_default();
        Box::pin(core::future::ready(Ok(session)))
    }

    fn commit(&self, client_id: &ByteString, changes: Vec<Change>) -> Fut<()> {
        let mut sessions = self.lock();
        let session = sessions.entry(client_id.clone()).or_default();
        changes.into_iter().for_each(|change| session.apply(change));
        if session.is_empty() {
            sessions.remove(client_id);
        }
        drop(sessions);
        Box::pin(core::future::ready(Ok(())))
    }
}
