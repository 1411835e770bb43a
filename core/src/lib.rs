//! The vocabulary of Roadbed: what a message is, what is promised about it, and where it is.
//!
//! The core knows no protocol, no runtime, no socket and no clock. Everything that messages can be sent to and received from
//! is an [`Endpoint`]: the broker, a connection to a server, a layer over either. Protocol crates implement the four mapping
//! traits ([`WireMessage`], [`WireQos`], [`WireDurability`], [`WireDelivery`]) for their own wire types and put endpoints on the
//! wire or take them off it.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod address;
mod auth;
mod capability;
#[cfg(feature = "tokio")]
pub mod client;
pub mod cloudevents;
pub mod conversion;
mod endpoint;
mod error;
mod escape;
#[cfg(feature = "tokio")]
mod farewell;
mod filter;
mod forward;
mod ids;
#[cfg(feature = "std")]
mod layer;
#[cfg(feature = "std")]
mod link;
mod message;
mod outcome;
mod output;
mod payload;
mod peer;
mod property;
mod protocol;
mod qos;
#[cfg(feature = "std")]
mod ready;
#[cfg(feature = "tokio")]
pub mod serve;
pub mod settlement;
mod sidecar;
#[cfg(feature = "tokio")]
mod socket;
mod state;
mod terms;
mod time;
#[cfg(feature = "tokio")]
mod timer;
mod wire;

pub use address::{Address, AddressError};
pub use auth::{Action, AuthExchange, AuthStep, Authenticator, Authorizer, DenyAll, Identity, Permissive, Rights};
#[cfg(feature = "std")]
pub use capability::Ledger;
pub use capability::{Capabilities, CreditKind, Limit, Loss, Losses, Outcomes, Transactions};
pub use endpoint::{Consumer, Endpoint, Fut, Participant, Producer, Session, Transaction};
pub use error::{Error, ErrorKind, Recovery, Result};
pub use escape::unescape;
pub use filter::{Filter, FilterError, is_reserved};
#[doc(hidden)]
pub use forward::forwarded;
pub use ids::{CopyId, DeliveryId, DeliveryRef, Fence, Gid, Handle, Key, QueueId, Scope, TxnId};
#[cfg(feature = "std")]
pub use layer::{
    Authorized, AuthorizedLayer, Limited, LimitedLayer, Limits, Meter, MeterSnapshot, Metered, MeteredLayer, Refusals,
    RefusalsSnapshot, Transacted, TransactedLayer,
};
#[cfg(feature = "tokio")]
pub use layer::{RationMeter, Rationed, RationedLayer, Rations};
#[cfg(feature = "std")]
pub use link::{Received, Receiver, Sender, SenderSink};
pub use message::{Bare, Details, Message, MessageBuilder, Origin};
pub use outcome::{Condition, Outcome, Reason};
pub use output::Output;
pub use payload::Payload;
pub use peer::Peer;
pub use property::{Properties, Value};
pub use protocol::Protocol;
pub use qos::{Durability, Qos};
#[cfg(feature = "std")]
pub use ready::ReadySet;
pub use sidecar::Sidecar;
#[cfg(feature = "tokio")]
pub use socket::{Flushed, Socket};
pub use state::{DeliveryState, Event, InvalidTransition, Note, Work};
pub use terms::{
    Attached, Binding, Checkpoint, Close, Confirm, ConsumerTerms, Credential, Delivery, DeliveryInfo, Detach,
    Disposition, Done, Grant, Granted, History, Hold, LogDescription, LogPlace, LogSettings, LogStart, LogTerms,
    Manage, Managed, Mode, Node, NodeDescription, Open, Opened, Outgoing, Overflow, PartitionDescription,
    ProducerTerms, QueueSettings, RetainHandling, SessionEvent, Settle, Settled, Step, Unbind, Unsettled, Will,
};
pub use time::{Clock, Time};
#[cfg(feature = "std")]
pub use time::{ManualClock, SystemClock};
#[cfg(feature = "tokio")]
pub use timer::Timer;
pub use wire::{Dialect, ReadContext, Role, Wire, WireDelivery, WireDurability, WireMessage, WireQos};
