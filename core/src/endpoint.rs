//! The five traits of the pipeline.
//!
//! Attaching and closing are futures; moving messages is polled, in batches owned by the caller, so that a message
//! costs no future, box or lock.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::{
    Attached, Binding, Capabilities, Close, Confirm, ConsumerTerms, Credential, Delivery, Detach, Disposition, Done,
    Error, ErrorKind, Gid, Grant, Granted, Key, Manage, Managed, Open, Opened, Outgoing, ProducerTerms, Result,
    SessionEvent, Time, TxnId, Unbind,
};

/// A future for the cold edges.
pub type Fut<T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'static>>;

/// Anything that messages can be sent to and received from: the broker, a connection to a server, a layer over either.
///
/// *The law*: `connect(serve(E))` behaves as `E`, as far as the [`Capabilities`] go.
pub trait Endpoint: Send + Sync {
    /// What it can do. Does not change.
    fn capabilities(&self) -> &Capabilities;

    /// Opens a session for an authenticated principal.
    ///
    /// *Contract*: opening the name of a session that is connected takes it over: the other one sees
    /// [`SessionEvent::TakenOver`], and nothing it does takes effect any more.
    fn open(&self, open: Open) -> Fut<Box<dyn Session>>;
}

impl<E: Endpoint + ?Sized> Endpoint for alloc::sync::Arc<E> {
    fn capabilities(&self) -> &Capabilities {
        (**self).capabilities()
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        (**self).open(open)
    }
}

/// One authenticated attachment of one peer: an MQTT connection and its session state, an AMQP identity on a connection, an
/// HTTP request.
///
/// *Contract*: dropped without [`close`](Session::close), the connection counts as lost: its will is sent, its links end.
pub trait Session: Send + Sync {
    /// What it was opened as.
    fn opened(&self) -> &Opened;

    /// Attaches a producer.
    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)>;

    /// Attaches a consumer. It has no credit until [`Consumer::grant`].
    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)>;

    /// Declares a transaction, which every session of the same principal may use: see [`TxnId`].
    fn transaction(&self) -> Fut<Box<dyn Transaction>>;

    /// Waits for the end of a transaction that was declared here or elsewhere; resolves to whether it was committed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none that this session may use; [`ErrorKind::NotSupported`].
    fn discharged(&self, _txn: TxnId) -> Fut<bool> {
        Box::pin(async { Err(Error::new(ErrorKind::NotSupported, "wait for a transaction")) })
    }

    /// Settles by [`DeliveryId`](crate::DeliveryId), from any connection of the owner. Answers every disposition in order,
    /// with cookies or not.
    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>>;

    /// Declares, describes, purges and deletes nodes.
    fn manage(&self, request: Manage) -> Fut<Managed>;

    /// Renews the session's right to be here; resolves to the end of the new one.
    fn credential(&self, credential: Credential) -> Fut<Option<Time>>;

    /// Tells what happens to the session from outside. One waker at a time.
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent>;

    /// Ends the session, in good order or with its will. The links must be detached or dropped before.
    fn close(&self, close: Close) -> Fut<()>;
}

/// A link on which messages are received.
///
/// *Contract*: dropped without [`detach`](Consumer::detach), the link counts as lost: what it holds lapses, or stays with
/// the session, as its [`Hold`](crate::Hold) says. Polling is cancel-safe.
pub trait Consumer: Send {
    /// Sets how many more deliveries are permitted.
    fn grant(&mut self, grant: Grant);

    /// Appends at most `max` deliveries, and says how many. Each is this consumer's until settled.
    ///
    /// `Ready(Ok(0))` means that a drain has ended. After an error the link is dead.
    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>>;

    /// Takes all dispositions out of `batch`.
    fn settle(&mut self, batch: &mut Vec<Disposition>);

    /// Appends one answer for each disposition that has a cookie, after its commit.
    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>>;

    /// Makes the node follow filters; one answer each. Receiving goes on meanwhile.
    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>>;

    /// Makes it stop; one answer each: whether there was such a binding.
    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>>;

    /// How many messages are available now; a hint.
    fn backlog(&self) -> u32;

    /// Ends the link.
    fn detach(self: Box<Self>, how: Detach) -> Fut<()>;
}

/// A link on which messages are sent.
///
/// *Contract*: dropped without [`detach`](Producer::detach), the link counts as lost; what was sent stays sent.
pub trait Producer: Send {
    /// Asks for room for `messages` messages of `bytes` bytes together, and says for how many there is room, at least one.
    /// Absolute: asking again adds nothing. After a grant, one batch is never refused for want of credit.
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>>;

    /// Sends `batch` in order; what did not fit stays in it.
    fn send(&mut self, batch: &mut Vec<Outgoing>);

    /// The second half of exactly once: the keys may be used again. Unknown keys are ignored.
    fn forget(&mut self, keys: &mut Vec<Key>);

    /// Ready once the first `calls` calls of [`forget`](Self::forget) on this link outlive a restart: only then may the peer be told, for it may use
    /// the keys again at once. Where nothing outlives a restart, always.
    fn poll_forgotten(&mut self, cx: &mut Context<'_>, calls: u64) -> Poll<Result<()>> {
        let _ = (cx, calls);
        Poll::Ready(Ok(()))
    }

    /// Appends the confirms that have come, after their commit.
    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>>;

    /// Ends the link.
    fn detach(self: Box<Self>, how: Detach) -> Fut<()>;
}

/// Sends and settlements that happen together or not at all. Dropped, it rolls back.
pub trait Transaction: Send {
    /// Its name, for [`Outgoing::txn`](crate::Outgoing) and [`Step::Enlist`](crate::Step).
    fn id(&self) -> TxnId;

    /// When it is rolled back by itself; `None` if the endpoint does not say.
    fn expires_at(&self) -> Option<Time> {
        None
    }

    /// Applies everything, atomically; resolves when it is committed.
    fn commit(self: Box<Self>) -> Fut<()>;

    /// Undoes everything: deliveries are their consumers' again, sends never happened.
    fn rollback(self: Box<Self>) -> Fut<()>;

    /// Promises to be able to commit, also after a restart, under the global name `gid`.
    fn prepare(&mut self, gid: Gid) -> Fut<()>;
}

/// An endpoint that takes part in transactions over several: prepare all, then resolve all.
pub trait Participant: Send + Sync {
    /// Commits or rolls back what was prepared under `gid`. Doing it twice changes nothing.
    fn resolve(&self, gid: Gid, commit: bool) -> Fut<()>;

    /// What is prepared and not resolved.
    fn recover(&self) -> Fut<Vec<Gid>>;
}
