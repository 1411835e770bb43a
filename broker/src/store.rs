//! What the broker asks of a store, and what it keeps there.
//!
//! One promise is one [`Unit`]: all of its operations are committed, or none. The broker waits for the commit before it gives
//! any positive signal. Only what a promise needs comes here: volatile messages never do.

mod log;

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{
    Address, Binding, CopyId, DeliveryId, Gid, Key, Message, Outcome, Qos, QueueId, QueueSettings, Time, Will,
};

pub use log::{LogEntry, LogPage, LogRead, LogRow, LogState, LogStore, ReadFrom};

/// The number of a unit, growing in the order of submission.
pub type UnitId = u64;

/// The number of a read, given by who asks.
pub type ReadId = u64;

/// How often a row has been written; 0: never.
pub type Revision = u64;

/// One promise: its operations happen together or not at all.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its number.
    pub id: UnitId,
    /// What must be true for it to be committed.
    pub expects: Vec<Expect>,
    /// What it does, in order.
    pub ops: Vec<Op>,
    /// Somebody waits until it cannot be lost any more. What is not awaited may be answered as soon as it is written: it is synced with what is awaited, or
    /// a little later.
    pub awaited: bool,
}

impl Unit {
    /// A unit that expects and does nothing, and is awaited.
    pub const fn new(id: UnitId) -> Self {
        Self { id, expects: Vec::new(), ops: Vec::new(), awaited: true }
    }
}

/// A precondition of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// The row was last written in this revision; 0: there is none.
    Revision(RowKey, Revision),
}

/// One operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// Puts one body into any number of queues.
    Enqueue {
        /// The message.
        message: Message,
        /// When it was enqueued.
        at: Time,
        /// Its copies.
        copies: Vec<NewCopy>,
    },
    /// A consumer holds the copy, and remembers so over our restart.
    Hold {
        /// The copy.
        copy: CopyId,
        /// Which attempt.
        attempt: u32,
        /// The slot of the session's slab; 0: none.
        slot: u16,
        /// Who holds it, if it is no copy of a session's own queue.
        holder: Option<Holder>,
    },
    /// The copy's outcome is decided; it is remembered until [`Op::Retire`].
    Own {
        /// The copy.
        copy: CopyId,
        /// The slot of the session's slab; 0: none.
        slot: u16,
        /// The outcome.
        outcome: Outcome,
    },
    /// The copy is available again.
    Return {
        /// The copy.
        copy: CopyId,
        /// Failed attempts so far.
        count: u32,
        /// Attempts so far.
        attempt: u32,
        /// Links that must not have it.
        excluded: Vec<ByteString>,
    },
    /// The copy has come to its end.
    Retire {
        /// The copy.
        copy: CopyId,
    },
    /// The copies of a queue from one position to another have come to their end, both included.
    RetireRun {
        /// The queue.
        queue: QueueId,
        /// The first position.
        first: u64,
        /// The last position.
        last: u64,
    },
    /// Every copy of a queue has come to its end.
    RetireQueue {
        /// The queue.
        queue: QueueId,
    },
    /// Appends one body to partitions of logs. In each it gets the position after the last one, in the order of the units that are
    /// committed: whoever counts these knows it.
    Append {
        /// The message.
        message: Message,
        /// When it was enqueued; never before the one in front of it.
        at: Time,
        /// The partitions.
        partitions: Vec<QueueId>,
    },
    /// The messages of a partition before a position have come to their end. The next one that is appended stands where it would have.
    TrimLog {
        /// The partition.
        partition: QueueId,
        /// The oldest position that is kept.
        before: u64,
    },
    /// A partition is no more.
    DropLog {
        /// The partition.
        partition: QueueId,
    },
    /// Writes a row.
    Put(RowKey, Row),
    /// Removes a row.
    Delete(RowKey),
    /// Keeps a transaction's operations until it is resolved.
    Prepare(Gid, Prepared),
    /// Ends a prepared transaction; its operations follow in the same unit if it is committed.
    Resolve(Gid),
}

/// A copy of a body in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCopy {
    /// Its name.
    pub copy: CopyId,
    /// Its effective assurance.
    pub qos: Qos,
    /// Its retain flag.
    pub retained: bool,
    /// The ids of the bindings that brought it.
    pub bindings: Vec<u32>,
}

/// What a prepared transaction does when it is committed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Prepared {
    /// Messages that it sends.
    pub posts: Vec<PreparedPost>,
    /// Copies that it holds, with the outcomes that it names.
    pub retires: Vec<(CopyId, Outcome)>,
}

/// A message that a prepared transaction sends.
#[derive(Clone, Debug)]
pub struct PreparedPost {
    /// The message.
    pub message: Message,
    /// Its assurance.
    pub qos: Qos,
    /// The row that its key becomes, if it has one that outlives its session.
    pub key: Option<RowKey>,
}

/// The name of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RowKey {
    /// The broker's own numbers.
    Broker,
    /// A kept session: principal and name.
    Session(ByteString, ByteString),
    /// A key that a session's peer has not forgotten: principal, session and key.
    SessionKey(ByteString, ByteString, Key),
    /// An idempotency name of a principal.
    Name(ByteString, Bytes),
    /// A queue.
    Queue(Address),
    /// The last value of an address.
    Retained(Address),
    /// A coordinator's own numbers.
    Coordinator,
    /// What a coordinator has decided about a transaction over several endpoints.
    Decision(Gid),
    /// A delivery under a lease that was settled.
    Tombstone(DeliveryId),
    /// A log.
    Log(Address),
    /// How far a group has come: the partition, and the group.
    Checkpoint(QueueId, ByteString),
    /// The will of a session that is not kept, while it is connected: the start of the broker, and the number of the session.
    Will(u32, u64),
    /// The highest epoch that a reader of a group has had: the partition, and the group.
    GroupEpoch(QueueId, ByteString),
}

/// The content of a row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Row {
    /// See [`RowKey::Broker`].
    Broker {
        /// Starts so far.
        epoch: u32,
        /// Positions of copies up to here were perhaps given: after a restart, every queue begins behind.
        positions: u64,
    },
    /// See [`RowKey::Session`].
    Session(SessionRow),
    /// See [`RowKey::SessionKey`] and [`RowKey::Name`]: the first outcome, and the place in the order of sending.
    Key {
        /// The first outcome.
        outcome: Outcome,
        /// The place in the order of sending.
        order: u64,
        /// When it is forgotten by itself.
        until: Option<Time>,
    },
    /// See [`RowKey::Queue`].
    Queue(QueueRow),
    /// See [`RowKey::Coordinator`]: how often it has started.
    Coordinator {
        /// Starts so far.
        epoch: u32,
    },
    /// See [`RowKey::Decision`].
    Decision {
        /// Who takes part, by the coordinator's names.
        participants: Vec<ByteString>,
        /// It is to be committed; otherwise its last branch was asked, and decides.
        commit: bool,
    },
    /// See [`RowKey::Retained`].
    Retained(Message, Qos),
    /// See [`RowKey::Tombstone`]: so that who settles it again learns that it is done.
    Tombstone {
        /// How it was settled.
        outcome: Outcome,
        /// When that is forgotten.
        until: Time,
    },
    /// See [`RowKey::Log`].
    Log(LogRow),
    /// See [`RowKey::Checkpoint`]: where the group goes on.
    Checkpoint(u64),
    /// See [`RowKey::Will`]: who left it, and what is sent if the broker does not see the end of the session.
    Will(ByteString, Will),
    /// See [`RowKey::GroupEpoch`]: a reader with a lower one is refused.
    GroupEpoch(u64),
}

/// A kept session.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// The number of its own queue.
    pub queue: QueueId,
    /// What it follows.
    pub bindings: Vec<Binding>,
    /// How long it is kept after its connection ends.
    pub expiry: Duration,
    /// When its connection ended; `None` while it is connected.
    pub disconnected_at: Option<Time>,
    /// What is sent if it does not end in good order.
    pub will: Option<Will>,
}

/// A queue.
#[derive(Clone, Debug)]
pub struct QueueRow {
    /// Its number.
    pub queue: QueueId,
    /// Its settings.
    pub settings: QueueSettings,
    /// What it follows.
    pub bindings: Vec<Binding>,
}

/// Who holds a copy of a queue, and remembers so over our restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A link; its session is kept, too.
    Link {
        /// Whose session.
        principal: ByteString,
        /// The session's name.
        session: ByteString,
        /// The link's name.
        link: ByteString,
    },
    /// A principal, by the name of the delivery.
    Lease {
        /// Whose lease.
        principal: ByteString,
        /// The name of the link that took it, if that had one.
        link: Option<ByteString>,
        /// The epoch in the name of the delivery.
        epoch: u32,
        /// How long the lease is. Its deadline is not kept: after a restart it begins anew.
        lease: Duration,
    },
}

/// How a stored copy is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHold {
    /// The slot of the session's slab; 0: none.
    pub slot: u16,
    /// See [`Op::Hold`].
    pub holder: Option<Holder>,
    /// The outcome, if it is decided.
    pub outcome: Option<Outcome>,
}

/// A copy that the store has kept.
#[derive(Clone, Debug)]
pub struct StoredCopy {
    /// The copy.
    pub copy: NewCopy,
    /// Its message.
    pub message: Message,
    /// When it was enqueued.
    pub at: Time,
    /// Failed attempts so far.
    pub count: u32,
    /// Attempts so far.
    pub attempt: u32,
    /// Links that must not have it.
    pub excluded: Vec<ByteString>,
    /// How it is held, if that is durable.
    pub held: Option<StoredHold>,
}

/// What a queue must know of a message that only the store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it costs a queue ([`Message::cost`]), in bytes; no more than 4 GiB.
    pub cost: u32,
    /// See [`Message::priority`].
    pub priority: u8,
    /// See [`Message::expires_at`].
    pub expires_at: Option<Time>,
    /// See [`Details::deliver_after`](roadbed_core::Details).
    pub deliver_after: Option<Time>,
    /// See [`Details::deadline`](roadbed_core::Details).
    pub deadline: Option<Time>,
}

impl Facts {
    /// Those of `message`.
    pub fn of(message: &Message) -> Self {
        let cost = u32::try_from(message.cost()).unwrap_or(u32::MAX);
        let (priority, expires_at) = (message.priority(), message.expires_at());
        let details = message.has_details().then(|| message.details());
        let (deliver_after, deadline) = details.map_or((None, None), |found| (found.deliver_after, found.deadline));
        Self { cost, priority, expires_at, deliver_after, deadline }
    }
}

/// A copy that the store has kept, without its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCopy {
    /// The copy.
    pub copy: NewCopy,
    /// What is to be known of its message.
    pub facts: Facts,
    /// When it was enqueued.
    pub at: Time,
    /// Failed attempts so far.
    pub count: u32,
    /// Attempts so far.
    pub attempt: u32,
    /// Links that must not have it.
    pub excluded: Vec<ByteString>,
    /// How it is held, if that is durable.
    pub held: Option<StoredHold>,
}

/// Everything that the store has kept, but for the copies, which are many: see [`Store::list`].
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// All rows, in order of their keys.
    pub rows: Vec<(RowKey, Row)>,
    /// The queues that copies are in, in order.
    pub queues: Vec<QueueId>,
    /// Transactions that are prepared and not resolved.
    pub prepared: Vec<(Gid, Prepared)>,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Nothing but the broker itself.
    Volatile,
    /// A power cut.
    Fsynced,
    /// The loss of one machine.
    Quorum,
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// What a commit survives.
    pub level: Level,
    /// The longest message that it keeps, in bytes.
    pub message_bytes_max: usize,
}

impl Caps {
    /// What a store can do.
    pub const fn new(level: Level, message_bytes_max: usize) -> Self {
        Self { level, message_bytes_max }
    }
}

/// Why a unit was not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// This precondition was not met; the unit changed nothing, and the next ones are not concerned.
    Precondition(Expect),
    /// The store takes nothing new (a full disk); the unit changed nothing.
    Full,
    /// The store has failed: nothing that waits is promised any more.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precondition(expect) => write!(f, "a precondition was not met: {expect:?}"),
            Self::Full => f.write_str("the store is full"),
            Self::Failed(why) => write!(f, "the store failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What a read has found.
pub type ReadAnswer = (ReadId, Result<Vec<StoredCopy>, StoreError>);

/// Where the broker keeps what it has promised to keep.
///
/// *Contract*: units are committed in the order of submission, and answered in it. What is read is at least as new as every unit that was
/// answered before it was asked for. A store wakes its waker without holding a lock that one of its methods takes: the broker does its work
/// in the wake-up.
pub trait Store: LogStore + Send {
    /// What it can do. Does not change.
    fn caps(&self) -> Caps;

    /// Takes all units out of `units`. Never waits.
    fn submit(&mut self, units: &mut Vec<Unit>);

    /// Appends the answers that have come, one for each unit, in order. `Pending` if none has.
    fn poll_commits(&mut self, cx: &mut Context<'_>, into: &mut Vec<(UnitId, Result<(), StoreError>)>) -> Poll<usize>;

    /// Asks for copies by name, to be answered by [`poll_reads`](Store::poll_reads). Never waits.
    fn read(&mut self, id: ReadId, copies: Vec<CopyId>);

    /// Appends the answers that have come, one for each read; copies that are not kept any more are left out of theirs. `Pending` if none has.
    /// Woken like [`poll_commits`](Store::poll_commits), by the waker that either was polled with last.
    fn poll_reads(&mut self, cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize>;

    /// Copies of a queue in order of their positions, at most `max`, from behind the position `after`. Waits for no disk.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if they cannot be told.
    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError>;

    /// Everything that is kept but for the copies: read once, before anything is submitted.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be read.
    fn recover(&mut self) -> Result<Recovery, StoreError>;

    /// Copies by name, in order of being asked for; those that are not kept are left out. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be read.
    fn fetch(&mut self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError>;

    /// A row with its revision.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be read.
    fn get(&mut self, key: &RowKey) -> Result<Option<(Row, Revision)>, StoreError>;

    /// Transactions that are prepared and not resolved.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if it cannot be read.
    fn in_doubt(&mut self) -> Result<Vec<Gid>, StoreError>;
}
