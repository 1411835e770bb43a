//! The names of deliveries, transactions and keys.

use core::fmt;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// A queue's durable number within its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// A message in a queue: stable over attempts, and so the deduplication key of an exactly-once hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId {
    /// The queue.
    pub queue: QueueId,
    /// The position in which it was enqueued; never used again.
    pub seq: u64,
}

/// Distinguishes the owners of one copy: boot epoch and attempt, so that no two owners ever share a name, also over a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Grows by one at each start of the endpoint.
    pub epoch: u32,
    /// Grows by one at each attempt.
    pub attempt: u32,
}

/// One attempt to move a copy: durable, 20 bytes on the wire. It is the AMQP delivery tag and the HTTP lock token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// What is moved.
    pub copy: CopyId,
    /// To which owner.
    pub fence: Fence,
}

impl DeliveryId {
    /// Its length on the wire, in bytes.
    pub const LEN: usize = 20;

    /// Its form on the wire: big-endian queue, sequence, epoch, attempt.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0..4].copy_from_slice(&self.copy.queue.0.to_be_bytes());
        out[4..12].copy_from_slice(&self.copy.seq.to_be_bytes());
        out[12..16].copy_from_slice(&self.fence.epoch.to_be_bytes());
        out[16..20].copy_from_slice(&self.fence.attempt.to_be_bytes());
        out
    }

    /// Reads the form that [`to_bytes`](Self::to_bytes) writes; `None` if the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let seq = (u64::from(word(4)) << 32) | u64::from(word(8));
        let copy = CopyId { queue: QueueId(word(0)), seq };
        Some(Self { copy, fence: Fence { epoch: word(12), attempt: word(16) } })
    }
}

/// The hot path's name of a delivery: a slot of the session's in-flight slab, and the slot's generation.
///
/// The slot is the MQTT packet identifier. Generation 0 means whoever is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(NonZeroU64);

impl Handle {
    /// The handle of `slot` (1 or more) in `generation` (48 bits; 0: whoever is there). `None` for slot 0.
    pub const fn new(slot: u16, generation: u64) -> Option<Self> {
        if slot == 0 {
            return None;
        }
        match NonZeroU64::new((generation << 16) | slot as u64) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The slot, 1 or more.
    pub const fn slot(self) -> u16 {
        self.0.get() as u16
    }

    /// The generation; 0 means whoever is in the slot.
    pub const fn generation(self) -> u64 {
        self.0.get() >> 16
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({}.{})", self.slot(), self.generation())
    }
}

/// What a peer settles by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryRef {
    /// The hot path's name.
    Handle(Handle),
    /// The durable name: from another connection, or after a restart.
    Id(DeliveryId),
}

impl From<Handle> for DeliveryRef {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

impl From<DeliveryId> for DeliveryRef {
    fn from(id: DeliveryId) -> Self {
        Self::Id(id)
    }
}

/// A transaction of one endpoint: 8 bytes, big endian, on the wire of AMQP; 16 hexadecimal digits in HTTP.
///
/// Every session of the principal that declared it may use it, over any protocol. Nobody in particular, the principal without a
/// name, is not one peer: there it is every session of the same [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);

/// A connection, as far as its sessions share something that they have no principal's name for: transactions.
///
/// By default a session shares with no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(usize);

impl Scope {
    /// The scope of a new connection: no other of this process is equal, whichever server it is of.
    pub fn unique() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A transaction's name over several endpoints, up to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid(pub Bytes);

/// What a sender names a message by, so that it is recognised when it comes again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A number that is used again after it was forgotten: the MQTT packet identifier.
    Number(u32),
    /// A name: the AMQP delivery tag, the HTTP idempotency key.
    Name(Bytes),
}
