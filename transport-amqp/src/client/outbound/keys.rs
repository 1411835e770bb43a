//! Keys: how an application names its messages, and how that looks on the wire.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};
use roadbed_core::Key;
use roadbed_core::client::Change;
use sha2::{Digest, Sha256};

use super::{Outbox, Staged};
use crate::client::shared::Wakers;
use crate::client::state::{Kind, Session};
use crate::codec::Tag;

/// The tag under which the server knows a message again: the same in every process, whatever else is lost. A number is used again for other messages, so that it
/// makes no tag: the server may not have heard yet that it was forgotten.
pub(super) fn name_tag(key: &Key) -> Option<Tag> {
    let Key::Name(name) = key else { return None };
    let mut bytes = Vec::with_capacity(Tag::LEN_MAX);
    if name.len() < Tag::LEN_MAX {
        bytes.put_u8(b'k');
        bytes.put_slice(name);
    } else {
        bytes.put_u8(b'h');
        bytes.put_slice(&Sha256::digest(name)[..Tag::LEN_MAX - 1]);
    }
    Tag::new(&bytes)
}

/// The name of a delivery in the store: tags belong to their link.
pub(in crate::client) fn stored_name(link: &str, tag: &Tag) -> Key {
    let mut name = BytesMut::with_capacity(link.len() + 1 + tag.len());
    name.put_slice(link.as_bytes());
    name.put_u8(0);
    name.put_slice(tag);
    Key::Name(name.freeze())
}

/// The link and the tag that a name in the store is made of.
pub(in crate::client) fn split_name(name: &Key) -> Option<(Bytes, Tag)> {
    let Key::Name(name) = name else { return None };
    let at = name.iter().position(|&byte| byte == 0)?;
    Some((name.slice(..at), Tag::new(&name[at + 1..])?))
}

impl Outbox {
    pub(super) fn remember(&mut self, key: Key) {
        let keyed = self.keys.entry(key.clone()).or_default();
        keyed.accepted = true;
        keyed.owners.clear();
        self.accepted.push_back(key);
    }

    /// The oldest accepted key, if there are too many.
    fn surplus(&mut self) -> Option<Key> {
        while self.accepted.len() > self.keys_max {
            let oldest = self.accepted.pop_front()?;
            if self.keys.get(&oldest).is_some_and(|keyed| keyed.accepted) {
                return Some(oldest);
            }
        }
        None
    }
}

impl Session {
    /// Forgets keys: the server may forget them, too. What is in flight under them stays so.
    pub(in crate::client) fn forget(&mut self, keys: &mut Vec<Key>, wakers: &mut Wakers) {
        keys.drain(..).for_each(|key| self.forget_key(key));
        self.tell_confirms(wakers);
        wakers.wake_driver();
    }

    pub(super) fn forget_surplus(&mut self) {
        while let Some(key) = self.outbox.surplus() {
            self.forget_key(key);
        }
    }

    fn forget_key(&mut self, key: Key) {
        let Some(keyed) = self.outbox.keys.remove(&key) else { return };
        if let Some((link, sequence)) = keyed.flight
            && let Some(found) = self.links.get_mut(&link)
            && let Kind::Producer(outbound) = &mut found.kind
            && let Some(flight) = outbound.flights.get_mut(&sequence)
        {
            flight.key = None;
            if flight.is_decided() {
                outbound.staged.push_back(Staged::Forget(sequence));
                self.touch(link);
            }
        }
        for link in self.links.values_mut().filter(|_| !keyed.accepted) {
            let Kind::Producer(outbound) = &mut link.kind else { continue };
            let queued = outbound.queue.iter_mut().filter(|queued| queued.key.as_ref() == Some(&key));
            queued.for_each(|queued| queued.key = None);
        }
        self.change(|| Change::Forgotten(key));
    }
}
