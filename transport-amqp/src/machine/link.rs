use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::definitions::SenderSettleMode;
use roadbed_core::Role;

use crate::codec::{State, Tag, Transfer};
use crate::dialect::Pieces;

/// One end of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: Arc<str>,
    /// Ours.
    pub(super) role: Role,
    pub(super) stage: Stage,
    /// The peer's handle, once it has attached.
    pub(super) remote: Option<u32>,
    /// How the sender settles.
    pub(super) settles: SenderSettleMode,
    /// The sender settles after the receiver has said its outcome.
    pub(super) second: bool,
    /// One end could not name all that it has not settled: nothing new is sent on this attachment.
    pub(super) only_resumes: bool,
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    /// Credit that was taken back, and that the sender may have used before it heard so.
    pub(super) taken_back: u32,
    /// How many deliveries have come without credit since there was some.
    pub(super) overdrawn: u32,
    pub(super) drain: bool,
    /// How many deliveries wait behind the credit; told in flows.
    pub(super) available: u32,
    /// How many deliveries have come and are not settled.
    pub(super) unanswered: u32,
    /// The largest message that the peer takes, in bytes.
    pub(super) message_bytes_max: u64,
    /// A message that has not come whole.
    pub(super) partial: Option<Box<Partial>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// We have attached, and the peer has not.
    Asking,
    /// The peer has attached, and we have not.
    Asked,
    Attached,
    /// We have detached, and the peer has not: what comes is not looked at.
    Detaching,
}

#[derive(Debug)]
pub(super) struct Partial {
    pub(super) delivery: u64,
    pub(super) tag: Tag,
    pub(super) settled: bool,
    pub(super) second: bool,
    pub(super) resume: bool,
    pub(super) state: Option<State>,
    pub(super) held: Held,
    pub(super) pieces: Pieces,
    /// How many pieces at the end are small.
    small: usize,
}

/// What messages hold that have not come whole.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) bytes: u64,
    /// Pieces that are slices of what was read, and keep all of that from being freed.
    pub(super) pinned: u32,
}

/// How many pieces of unfinished messages a connection may pin; further ones are copied.
pub(super) const PINNED_MAX: u32 = 64;
/// A piece below this size does not stand alone for long, since each pins what it was read with.
const SMALL: usize = 4096;
/// How many small pieces are joined.
const JOIN: usize = 64;

impl Link {
    pub(super) const fn new(name: Arc<str>, role: Role, stage: Stage) -> Self {
        Self {
            name,
            role,
            stage,
            remote: None,
            settles: SenderSettleMode::Mixed,
            second: false,
            only_resumes: false,
            delivery_count: 0,
            credit: 0,
            taken_back: 0,
            overdrawn: 0,
            drain: false,
            available: 0,
            unanswered: 0,
            message_bytes_max: u64::MAX,
            partial: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Attached
    }

    /// A delivery has come: the sender may have credit, or have had it, or be over it.
    pub(super) fn use_credit(&mut self) {
        if let Some(credit) = self.credit.checked_sub(1) {
            (self.credit, self.overdrawn) = (credit, 0);
        } else if self.taken_back > 0 {
            self.taken_back -= 1;
        } else {
            self.overdrawn += 1;
        }
    }
}

impl Partial {
    pub(super) fn new(delivery: u64, tag: Tag) -> Self {
        Self {
            delivery,
            tag,
            settled: false,
            second: false,
            resume: false,
            state: None,
            held: Held::default(),
            pieces: Pieces::new(),
            small: 0,
        }
    }

    /// What a frame says of its delivery.
    pub(super) fn take(&mut self, transfer: Transfer, begins: bool, second: bool) {
        self.settled |= transfer.settled.unwrap_or(false);
        self.resume |= transfer.resume;
        if begins || transfer.rcv_settle_mode.is_some() {
            // A delivery may ask for less than its link, and not for more.
            self.second = second && transfer.rcv_settle_mode != Some(0);
        }
        if let Some(state) = transfer.state {
            self.state = Some(state);
        }
    }

    /// Takes a piece, as it is or copied.
    pub(super) fn push(&mut self, piece: Bytes, copied: bool) {
        if piece.is_empty() {
            return;
        }
        self.held.add(Held { bytes: piece.len() as u64, pinned: u32::from(!copied) });
        let piece = if copied { Bytes::copy_from_slice(&piece) } else { piece };
        self.small = if piece.len() < SMALL { self.small + 1 } else { 0 };
        self.pieces.push(piece);
        if self.small == JOIN {
            let first = self.pieces.len() - JOIN;
            let mut joined = BytesMut::with_capacity(self.pieces[first..].iter().map(Bytes::len).sum());
            self.pieces.drain(first..).for_each(|piece| joined.put_slice(&piece));
            self.pieces.push(joined.freeze());
            self.small = 0;
        }
    }
}

impl Held {
    pub(super) const fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.pinned += other.pinned;
    }

    pub(super) const fn remove(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.pinned = self.pinned.saturating_sub(other.pinned);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_idle_link_is_small() {
        let bytes = size_of::<super::Link>();
        assert!(bytes <= 120, "{bytes} bytes");
    }
}
