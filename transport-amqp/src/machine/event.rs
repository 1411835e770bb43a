use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{Source, TargetArchetype};
use fe2o3_amqp_types::performatives::{Attach, Open};
use roadbed_core::TxnId;
use smallvec::SmallVec;

use crate::codec::{Fault, State, Tag};
use crate::dialect::Pieces;

/// A session, by the channel that we send on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u16);

/// A link, by its session and the handle that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// The session.
    pub session: SessionId,
    /// The handle.
    pub handle: u32,
}

/// What the peer has said.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Server: who the client says it is. Answer with [`Machine::admit`](super::Machine::admit) or [`Machine::challenge`](super::Machine::challenge).
    Sasl {
        /// The mechanism, one of those offered.
        mechanism: String,
        /// What the client says first.
        response: Option<Bytes>,
    },
    /// Server: what the client says to a challenge; answer as before.
    SaslResponse(Bytes),
    /// Server: the client opens the connection; answer with [`Machine::open`](super::Machine::open). Client: the connection is open.
    Open(Box<Open>),
    /// A session has begun, asked for by either end.
    Begin(SessionId),
    /// The peer asks for a link: answer with [`Machine::accept`](super::Machine::accept) or [`Machine::refuse`](super::Machine::refuse). If we
    /// have asked for it, this is the answer; one without a terminus is followed by a detach.
    Attach(LinkId, Box<Attach>),
    /// A link on which we send has more credit, or less.
    Credit(LinkId, Credit),
    /// A link on which we receive has used up the credit that was to be drained.
    Drained(LinkId),
    /// A whole message.
    Transfer(Incoming),
    /// The receiver says what became of what we sent.
    Disposed(Disposed),
    /// The sender has settled deliveries that came and were not settled.
    Forgotten(Vec<Forgotten>),
    /// A link is gone, because of the peer or because of what it did.
    Detach(LinkId, Detached),
    /// A session is gone with all its links.
    End(SessionId, Option<Fault>),
    /// The connection is closed in good order.
    Close(Option<Fault>),
}

/// The credit of a link on which we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// How many more deliveries it takes.
    pub credit: u32,
    /// What cannot be used now is to lapse.
    pub drain: bool,
    /// What is delivered on it belongs to this transaction; `Some(None)` if its name is none of ours.
    pub txn: Option<Option<TxnId>>,
}

/// A message that has come whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// Its link.
    pub link: LinkId,
    /// Its number within the session.
    pub delivery: u64,
    /// Its name.
    pub tag: Tag,
    /// Whether an answer is expected.
    pub settled: bool,
    /// Whether the sender settles last: the answer is confirmed before it may be forgotten.
    pub second: bool,
    /// It goes on from an earlier attachment of its link. If it is settled, its sender has heard the outcome, and it has no payload.
    pub resume: bool,
    /// What the sender says of it: the transaction of a post.
    pub state: Option<State>,
    /// Its payloads, one for each transfer.
    pub pieces: Pieces,
}

/// A delivery that its sender has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Its link.
    pub link: LinkId,
    /// Its number within the session.
    pub delivery: u64,
    /// Its name, if the sender wanted to settle last: it may come again.
    pub tag: Option<Tag>,
}

/// What became of deliveries that we sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Disposed {
    /// Their session.
    pub session: SessionId,
    /// The state; none: as the link's default outcome says.
    pub state: Option<State>,
    /// Whether the receiver has forgotten them. Otherwise tell it with [`Machine::forget`](super::Machine::forget) when the outcome is applied.
    pub settled: bool,
    /// Which; those that were sent without a cookie are left out.
    pub deliveries: SmallVec<[SentDelivery; 1]>,
}

/// A delivery that we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentDelivery {
    /// The handle of its link.
    pub link: u32,
    /// Its number within the session.
    pub number: u64,
    /// What the caller calls it.
    pub cookie: u64,
}

/// How a delivery is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sending {
    /// What the caller calls it: comes back in [`Disposed`]. Without a cookie it is settled as it is sent, if the link's settle mode lets it.
    pub cookie: Option<u64>,
    /// Its name. Without one it gets one that is good for this attachment only.
    pub tag: Option<Tag>,
    /// It goes on from an earlier attachment, since both ends had it in their unsettled maps.
    pub resume: bool,
    /// The receiver settles first, also on a link where it settles second (Part 2, section 2.7.5).
    pub first: bool,
    /// Names the transaction of a post.
    pub state: Option<State>,
}

/// The tags of the deliveries that one end of a link has not settled, with their states as far as it knows them (Part 2, section 2.6.13).
pub type UnsettledMap = BTreeMap<Tag, Option<State>>;

/// How an attach of the peer is answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accept {
    /// The source that is granted: a dynamic one has its address.
    pub source: Option<Source>,
    /// The target that is granted: a dynamic one has its address.
    pub target: Option<TargetArchetype>,
    /// What our end has not settled.
    pub unsettled: UnsettledMap,
    /// The link goes on from an earlier attachment, though perhaps nothing is unsettled.
    pub resumed: bool,
    /// The receiver settles first, though the peer has asked for second.
    pub first_only: bool,
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detached {
    /// Its name.
    pub name: String,
    /// For good; otherwise it may be attached again.
    pub closed: bool,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// The tags of deliveries that have come and that the sender, who settles second, has not forgotten.
    pub unsettled: Vec<Tag>,
}
