mod disposed;
mod links;
mod requests;
mod serve;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use bytes::Bytes;
use roadbed_core::serve::{Batch, Drive};
use roadbed_core::{
    Close, Disposition, Error, ErrorKind, Fut, Grant, Losses, Outgoing, Output, Peer, Protocol, Qos, ReadContext,
    Result, Session, SessionEvent, Socket, Step, Time, TxnId, WireMessage,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::again;
use super::attach::{Client, Granted};
use super::coordinator::{Transactions, unknown};
use super::identities::Identities;
use super::links::{Kind, Links, Resumable, Suspended};
use super::open::{Admitted, lost};
use super::requests::{Mail, Requests};
use crate::codec::{Fault, State};
use crate::dialect::{self, Encoded};
use crate::{Credit, Event, Forgotten, Incoming, LinkId, Machine, SessionId};
use roadbed_core::Timer;

/// How many rounds a turn has before other tasks get theirs.
const ROUNDS_MAX: usize = 32;
/// How many deliveries are taken from a link before the next has its turn.
const DELIVERIES_MAX: u32 = 256;
/// How many messages are handed to the endpoint at once.
const OUTGOING_MAX: usize = 512;

/// How many declares and discharges a controller may send ahead.
const CONTROL_CREDIT: u32 = 16;

/// A connection that is open.
pub(super) struct Running<S> {
    shared: Arc<Shared>,
    socket: Socket<S>,
    machine: Machine,
    timer: Timer,
    /// What has been read and cannot be taken yet.
    held: Bytes,
    session: Box<dyn Session>,
    client: Client,
    peer: Arc<Peer>,
    links: Links,
    /// Attaches that the endpoint has not answered: they do not wait for each other.
    attaching: Vec<(LinkId, Fut<Granted>)>,
    /// Links that are being given back, by what they were, if somebody may ask for the same again.
    detaching: Vec<(Option<Name>, Fut<()>)>,
    /// Links that can be attached again as long as their session is there.
    suspended: BTreeMap<Name, (SessionId, Suspended)>,
    /// Sessions of links that are detached, whose time has not begun.
    kept: Vec<(Name, SessionId, Resumable)>,
    /// Begins the keys of all links of this connection that are not resumed; then the number of the link.
    nonce: u64,
    attached_links: u64,
    transactions: Transactions,
    /// Requests to the server's own nodes, and answers on their way to an address.
    requests: Requests,
    mail: Mail,
    /// When the next answer has waited too long for credit.
    reply_deadline: Option<Time>,
    /// Outcomes that receivers wait to see settled, once applied.
    unsaid: BTreeMap<(LinkId, u64), State>,
    losses: Losses,
    /// The place of the link whose messages are in the batch.
    filling: usize,
    valid_until: Option<Time>,
    /// The connection is nobody's yet: a token comes first.
    guest: bool,
    /// Who else is on it.
    identities: Identities,
    /// The session's byte budget is used up.
    paused: bool,
}

impl Shared {
    /// Whether the peer may use the transaction.
    fn admits(&self, transactions: &mut Transactions, session: &dyn Session, txn: TxnId) -> bool {
        transactions.admits(txn, session, self.config.transactions_max)
    }
}

/// What a link is called: whether the peer sends, and its name.
type Name = (bool, String);

/// How a connection ends.
pub(super) struct Ending {
    /// In good order, or lost.
    orderly: bool,
    result: Result<()>,
}

type Turn<T = bool> = Result<T, Ending>;

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Drive for Running<S> {
    type Ending = Ending;

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let mut batch = Batch::take();
        let turned = self.turn(cx, &mut batch);
        batch.give_back();
        self.shared.ledger.absorb(&mut self.losses);
        match turned {
            Ok(()) => Poll::Pending,
            Err(ending) => Poll::Ready(ending),
        }
    }

    fn close(self: Box<Self>, ending: Ending) -> Fut<()> {
        Box::pin(async move {
            let Self {
                shared,
                mut socket,
                session,
                links,
                attaching,
                detaching,
                suspended,
                kept,
                transactions,
                requests,
                mail,
                ..
            } = *self;
            drop((attaching, transactions, requests, mail, suspended, kept));
            // Nobody waits for longer than the last words may take.
            let giving_back = links::end_links(links, detaching, &*session);
            let _ = tokio::time::timeout(shared.config.close_timeout, giving_back).await;
            let closed = match ending.orderly {
                true => session.close(Close::default()).await,
                false => {
                    drop(session);
                    Ok(())
                }
            };
            let out = socket.output();
            socket.farewell(out, shared.config.close_timeout).await;
            ending.result.and(closed)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Running<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        socket: Socket<S>,
        machine: Machine,
        timer: Timer,
        held: Bytes,
        peer: Arc<Peer>,
        admitted: Admitted,
    ) -> Self {
        let Admitted { client, session, valid_until, guest } = admitted;
        let nonce = random();
        Self {
            shared,
            socket,
            machine,
            timer,
            held,
            session,
            client,
            peer,
            links: Links::default(),
            attaching: Vec::new(),
            detaching: Vec::new(),
            suspended: BTreeMap::new(),
            kept: Vec::new(),
            nonce,
            attached_links: 0,
            transactions: Transactions::default(),
            requests: Requests::default(),
            mail: Mail::default(),
            reply_deadline: None,
            unsaid: BTreeMap::new(),
            losses: Losses::default(),
            filling: 0,
            valid_until,
            guest,
            identities: Identities::default(),
            paused: false,
        }
    }

    /// Goes round as long as bytes or messages move, and no longer: a loop that spins while a write is blocked would starve the reactor.
    fn turn(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Turn<()> {
        let now = self.shared.config.clock.now();
        let mut out = self.socket.output();
        let mut round = || -> Turn<()> {
            self.events(cx, now, &mut out)?;
            for _ in 0..ROUNDS_MAX {
                let mut moved = self.read(cx, now, batch, &mut out)?;
                moved |= self.answer(cx, batch, &mut out);
                moved |= self.answer_requests(cx, now, &mut out);
                moved |= self.serve_links(cx, now, batch, &mut out);
                self.machine.flush(&mut out);
                let flushed = self.socket.poll_flush(cx, core::mem::take(&mut out));
                moved |= flushed.map_err(lost)?.written > 0;
                out = self.socket.output();
                if !moved {
                    return self.timers(cx, now, &mut out);
                }
            }
            cx.waker().wake_by_ref();
            Ok(())
        };
        let turned = round();
        // Whatever is in the output is the last word, or what the socket refused before.
        let flushed = self.socket.poll_flush(cx, out);
        turned.and(flushed.map(drop).map_err(|error| lost(error).into()))
    }

    /// What happens to the session from outside.
    fn events(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn<()> {
        while let Poll::Ready(event) = self.session.poll_event(cx) {
            match event {
                SessionEvent::TakenOver | SessionEvent::Draining => {
                    return Err(self.part("amqp:connection:forced", ErrorKind::Closed, out));
                }
                SessionEvent::Revoked(_) => {
                    return Err(self.part("amqp:unauthorized-access", ErrorKind::Unauthorized, out));
                }
                SessionEvent::Budget { paused } => self.paused = paused,
                _ => {}
            }
        }
        self.leave(cx, now, out);
        match self.valid_until {
            Some(at) if at.has_passed(now) => Err(self.part("amqp:unauthorized-access", ErrorKind::Unauthorized, out)),
            _ => Ok(()),
        }
    }

    /// Reads a chunk, and hands over what is in it.
    fn read(&mut self, cx: &mut Context<'_>, now: Time, batch: &mut Batch, out: &mut Output) -> Turn {
        let config = &self.shared.config;
        if self.paused || out.len() >= config.answer_bytes_max || self.is_busy() {
            return Ok(false);
        }
        let chunk = match self.socket.poll_held(cx, &mut self.held) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(Some(chunk))) => chunk,
            Poll::Ready(Ok(None)) => return Err(Error::new(ErrorKind::Disconnected, "serve").into()),
            Poll::Ready(Err(error)) => return Err(lost(error).into()),
        };
        let mut at = 0;
        loop {
            match self.machine.next(now, &chunk, &mut at, out) {
                Ok(Some(event)) => self.event(event, now, batch, out)?,
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            }
            if self.is_busy() {
                self.held = chunk.slice(at..);
                self.hand_over(batch);
                return Ok(true);
            }
        }
        let rest = &chunk[at..];
        self.socket.unread(rest, self.machine.wanted_bytes(rest));
        self.hand_over(batch);
        Ok(true)
    }

    fn is_busy(&self) -> bool {
        self.attaching.len() + self.transactions.waiting() + self.requests.waiting() >= self.shared.config.requests_max
    }

    fn event(&mut self, event: Event, now: Time, batch: &mut Batch, out: &mut Output) -> Turn<()> {
        match event {
            Event::Transfer(incoming) => self.transfer(incoming, now, batch, out),
            Event::Disposed(disposed) => self.disposed(&disposed, batch, out),
            Event::Credit(id, credit) => self.credit(id, credit, out),
            Event::Forgotten(forgotten) => self.forgotten(&forgotten, batch),
            Event::Attach(id, asked) => self.attach(id, *asked),
            Event::Detach(id, detached) => {
                self.hand_over(batch);
                self.detached(id, detached);
            }
            Event::End(session, _) => {
                self.hand_over(batch);
                self.ended(session);
            }
            Event::Close(fault) => {
                self.hand_over(batch);
                let result = fault
                    .map_or(Ok(()), |fault| Err(Error::new(ErrorKind::Disconnected, "serve").detail(fault.condition)));
                return Err(Ending { orderly: true, result });
            }
            _ => {}
        }
        Ok(())
    }

    /// A message of a producer or of a controller.
    fn transfer(&mut self, incoming: Incoming, now: Time, batch: &mut Batch, out: &mut Output) {
        let Some(place) = self.links.place(incoming.link) else { return };
        if place != self.filling || batch.outgoing.len() >= OUTGOING_MAX {
            self.hand_over(batch);
            self.filling = place;
        }
        let Some(link) = self.links.at(place) else { return };
        if let &Kind::Requests(node) = &link.kind {
            self.links.touch(place);
            self.hand_over(batch);
            return self.request(node, incoming, out);
        }
        let Kind::Producer { producer, to, prefix, origin } = &mut link.kind else {
            // What was posted before counts to the transaction that may now be discharged.
            self.hand_over(batch);
            self.links.touch(place);
            let max = self.shared.config.transactions_max;
            let heard = self.transactions.hear(&*self.session, max, now, &self.machine, &incoming);
            return heard.unwrap_or_else(|fault| self.break_link(incoming.link, fault, out));
        };
        let Incoming { link: id, delivery, tag, settled, second, resume, state, pieces } = incoming;
        if resume && settled {
            // Its sender has heard the outcome.
            batch.keys.push(again::key(prefix, &tag));
            return producer.forget(&mut batch.keys);
        }
        let txn = match &state {
            Some(State::Transactional { txn, .. }) => {
                match dialect::txn_id(txn)
                    .filter(|&txn| self.shared.admits(&mut self.transactions, &*self.session, txn))
                {
                    Some(txn) => Some(txn),
                    None => {
                        self.hand_over(batch);
                        return self.break_link(id, unknown(), out);
                    }
                }
            }
            _ => None,
        };
        let key = second.then(|| again::key(prefix, &tag));
        let (limits, sidecar_bytes_max) = (self.shared.machine.guard, self.shared.machine.sidecar_bytes_max);
        let encoded = Encoded { address: to.clone(), pieces, limits, sidecar_bytes_max };
        let context = ReadContext { origin, now };
        match encoded.read(&context) {
            Ok(message) => {
                let qos = match (settled, second) {
                    (true, _) => Qos::AtMostOnce,
                    (false, false) => Qos::AtLeastOnce,
                    (false, true) => Qos::ExactlyOnce,
                };
                batch.outgoing.push(Outgoing { cookie: delivery, message, qos, key, txn });
            }
            Err(error) => {
                let fault = dialect::error_fault(&error);
                self.machine.answer(id.session, delivery, State::Rejected(Some(fault)), out);
            }
        }
        self.links.touch(place);
    }

    fn credit(&mut self, id: LinkId, credit: Credit, out: &mut Output) {
        let txn = match credit.txn {
            None => None,
            Some(txn) => match txn.filter(|&txn| self.shared.admits(&mut self.transactions, &*self.session, txn)) {
                Some(txn) => Some(txn),
                None => return self.break_link(id, unknown(), out),
            },
        };
        let Some(place) = self.links.place(id) else { return };
        if let Some(Kind::Consumer { consumer, .. }) = self.links.at(place).map(|link| &mut link.kind) {
            consumer.grant(Grant { credit: credit.credit, drain: credit.drain, txn });
            self.machine.available(id, consumer.backlog());
        }
        self.links.touch(place);
    }

    fn forgotten(&mut self, forgotten: &[Forgotten], batch: &mut Batch) {
        for Forgotten { link, tag, .. } in forgotten {
            let Some(tag) = tag else { continue };
            if let Some(Kind::Producer { producer, prefix, .. }) = self.links.get(*link).map(|link| &mut link.kind) {
                batch.keys.push(again::key(prefix, tag));
                producer.forget(&mut batch.keys);
            }
        }
    }

    fn hand_over(&mut self, batch: &mut Batch) {
        if batch.outgoing.is_empty() {
            return;
        }
        if let Some(Kind::Producer { producer, .. }) = self.links.at(self.filling).map(|link| &mut link.kind) {
            producer.send(&mut batch.outgoing);
        }
        batch.outgoing.clear();
        self.links.touch(self.filling);
    }

    /// Answers what the endpoint has decided about links and transactions.
    fn answer(&mut self, cx: &mut Context<'_>, batch: &mut Batch, out: &mut Output) -> bool {
        self.detaching.retain_mut(|(_, detaching)| detaching.as_mut().poll(cx).is_pending());
        let mut moved = false;
        let mut at = 0;
        while at < self.attaching.len() {
            match self.attaching[at].1.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(granted) => {
                    let (id, _) = self.attaching.swap_remove(at);
                    self.attached(id, granted, out);
                    moved = true;
                }
            }
        }
        let mut retired = Vec::new();
        moved |= self.transactions.poll(cx, &mut self.machine, &mut retired, out);
        for retired in retired {
            self.machine.forget(retired.link.session, retired.delivery, Some(retired.state), out);
            if let Some(Kind::Consumer { consumer, .. }) = self.links.get(retired.link).map(|link| &mut link.kind) {
                let (delivery, step) = (retired.handle.into(), Step::Settle);
                batch.dispositions.push(Disposition { delivery, cookie: None, step });
                consumer.settle(&mut batch.dispositions);
            }
        }
        moved
    }

    fn timers(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn<()> {
        let deadlines =
            [self.machine.poll_timeout(), self.valid_until, self.reply_deadline, self.identities.deadline()];
        if self.timer.poll(cx, now, deadlines.into_iter().flatten().min()).is_pending() {
            return Ok(());
        }
        cx.waker().wake_by_ref();
        self.expire_replies(now);
        Ok(self.machine.handle_timeout(now, out)?)
    }

    /// Says goodbye with `condition`.
    fn part(&mut self, condition: &str, kind: ErrorKind, out: &mut Output) -> Ending {
        let error = Error::new(kind, "serve");
        // A client that is going already needs no goodbye.
        let _ = self.machine.close(Some(Fault::new(condition, error.to_string())), out);
        Ending { orderly: false, result: Err(error) }
    }
}

impl<E: Into<Error>> From<E> for Ending {
    /// The connection is lost, or breaks the protocol.
    fn from(error: E) -> Self {
        Self { orderly: false, result: Err(error.into()) }
    }
}

fn random() -> u64 {
    use core::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
