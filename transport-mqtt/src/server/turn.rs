use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::task::{Context, Poll};
use core::time::Duration;

use bytes::Bytes;
use roadbed_core::serve::{Batch, Drive};
use roadbed_core::{
    Close, Consumer, DeliveryState, Disposition, Error, ErrorKind, Fut, Handle, Key, Origin, Outcome, Output, Peer,
    Producer, Protocol, Qos, Result, Session, SessionEvent, Socket, Step, Time, Unsettled, WireDelivery,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::open::{Links, lost};
use super::reauth::{Reauth, Reauthenticated};
use super::subscriptions::Subscriptions;
use crate::codec::{Ack, AckKind, Auth, Disconnect, PacketId, ReasonCode};
use crate::{Event, Machine, Said, SendError, dialect};
use roadbed_core::Timer;

/// How many rounds a turn has before other tasks get theirs.
const ROUNDS_MAX: usize = 32;
/// How many deliveries are taken at once.
const DELIVERIES_MAX: usize = 256;
/// How many messages are handed to the endpoint at once.
const OUTGOING_MAX: usize = 512;
/// How many PUBREL may be unanswered.
const RELEASED_MAX: usize = 4096;
/// For how many there is always room.
const RELEASED_KEPT: usize = 64;

/// A connection that is open.
pub(super) struct Running<S> {
    shared: Arc<Shared>,
    socket: Socket<S>,
    machine: Machine,
    timer: Timer,
    /// What has been read and cannot be taken yet.
    held: Bytes,
    session: Box<dyn Session>,
    producer: Box<dyn Producer>,
    consumer: Box<dyn Consumer>,
    /// What an earlier connection has left unsettled, to be sent again first.
    resumed: VecDeque<Unsettled>,
    subscriptions: Subscriptions,
    /// PUBREL that are not answered: which call of forget each waits for.
    released: VecDeque<(u64, PacketId)>,
    /// How often keys were forgotten.
    forgets: u64,
    origin: Arc<Origin>,
    peer: Arc<Peer>,
    reauth: Option<Box<Reauth>>,
    /// When the client's right to be here ends, or its patience with a withheld answer.
    ends_at: Option<(Time, ReasonCode)>,
    /// An answer is withheld.
    paused: bool,
    /// The session's byte budget is used up.
    over_budget: bool,
}

/// How a connection ends.
pub(super) struct Ending {
    /// `None`: the connection is lost, and the session with it goes on as it was agreed.
    close: Option<Close>,
    result: Result<()>,
}

type Turn<T = bool> = Result<T, Ending>;

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Drive for Running<S> {
    type Ending = Ending;

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let mut batch = Batch::take();
        let turned = self.turn(cx, &mut batch);
        batch.give_back();
        self.shared.ledger.absorb(self.machine.losses());
        match turned {
            Ok(()) => Poll::Pending,
            Err(ending) => Poll::Ready(ending),
        }
    }

    fn close(self: Box<Self>, ending: Ending) -> Fut<()> {
        Box::pin(async move {
            let Self { shared, mut socket, session, producer, consumer, .. } = *self;
            drop((producer, consumer));
            let closed = match ending.close {
                Some(close) => session.close(close).await,
                None => {
                    drop(session);
                    Ok(())
                }
            };
            let out = socket.output();
            socket.last_words(out, shared.config.close_timeout).await;
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
        links: Links,
    ) -> Self {
        let Links { origin, session, producer, consumer, resumed, valid_until } = links;
        let ends_at = valid_until.map(|at| (at, ReasonCode::MaximumConnectTime));
        let subscriptions = Subscriptions::default();
        Self {
            shared,
            socket,
            machine,
            timer,
            held,
            peer,
            session,
            producer,
            consumer,
            resumed,
            subscriptions,
            released: VecDeque::new(),
            forgets: 0,
            origin,
            reauth: None,
            ends_at,
            paused: false,
            over_budget: false,
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
                moved |= self.answer(cx, now, batch, &mut out)?;
                moved |= self.deliver(cx, now, batch, &mut out)?;
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
                SessionEvent::TakenOver => return Err(self.part(ReasonCode::SessionTakenOver, ErrorKind::Closed, out)),
                SessionEvent::Revoked(_) => {
                    return Err(self.part(ReasonCode::NotAuthorized, ErrorKind::Unauthorized, out));
                }
                SessionEvent::Draining => {
                    return Err(self.part(ReasonCode::ServerShuttingDown, ErrorKind::Closed, out));
                }
                SessionEvent::Budget { paused } => self.over_budget = paused,
                _ => {}
            }
        }
        match self.ends_at {
            Some((at, reason)) if at.has_passed(now) => Err(self.part(reason, ErrorKind::TimedOut, out)),
            _ => Ok(()),
        }
    }

    /// Reads a chunk, and hands its messages and acknowledgements over as one batch.
    fn read(&mut self, cx: &mut Context<'_>, now: Time, batch: &mut Batch, out: &mut Output) -> Turn {
        let config = &self.shared.config;
        let unanswered = self.subscriptions.len() >= config.subscribes_max || self.released.len() >= RELEASED_MAX;
        if self.paused || self.over_budget || out.len() >= config.answer_bytes_max || unanswered {
            return Ok(false);
        }
        match self.producer.poll_reserve(cx, 1, 0) {
            Poll::Pending => return Ok(false),
            Poll::Ready(reserved) => reserved?,
        };
        let chunk = match self.socket.poll_held(cx, &mut self.held) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(Some(chunk))) => chunk,
            Poll::Ready(Ok(None)) => return Err(Error::new(ErrorKind::Disconnected, "serve").into()),
            Poll::Ready(Err(error)) => return Err(lost(error).into()),
        };
        let taken = self.take(cx, now, &chunk, batch, out);
        self.hand_over(batch);
        taken.map(|()| true)
    }

    fn take(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        chunk: &Bytes,
        batch: &mut Batch,
        out: &mut Output,
    ) -> Turn<()> {
        let mut at = 0;
        loop {
            match self.machine.next(now, chunk, &mut at, out) {
                Ok(Some(event)) => self.event(cx, event, batch, out)?,
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            }
            if self.subscriptions.len() >= self.shared.config.subscribes_max {
                self.held = chunk.slice(at..);
                return Ok(());
            }
        }
        let rest = &chunk[at..];
        self.socket.unread(rest, self.machine.wanted_bytes(rest));
        Ok(())
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event, batch: &mut Batch, out: &mut Output) -> Turn<()> {
        match event {
            Event::Publish(incoming) => {
                batch.outgoing.push(incoming.into());
                if batch.outgoing.len() >= OUTGOING_MAX {
                    self.hand_over(batch);
                }
            }
            Event::Ack(ack) => self.ack(&ack, batch)?,
            Event::Subscribe(packet) => {
                self.hand_over(batch);
                self.subscriptions.subscribe(&mut *self.consumer, packet);
                self.subscriptions.poll(cx, &mut self.machine, out)?;
            }
            Event::Unsubscribe(packet) => {
                self.hand_over(batch);
                self.subscriptions.unsubscribe(&mut *self.consumer, &packet);
                self.subscriptions.poll(cx, &mut self.machine, out)?;
            }
            Event::Disconnect(packet) => {
                return Err(Ending { close: Some(dialect::close(&packet)), result: Ok(()) });
            }
            Event::Auth(auth) => self.reauthenticate(auth, out)?,
            _ => return Err(self.part(ReasonCode::ProtocolError, ErrorKind::Protocol, out)),
        }
        Ok(())
    }

    /// Section 4.12.1. A client without a method never gets here: its AUTH is a protocol error already.
    fn reauthenticate(&mut self, auth: Auth, out: &mut Output) -> Turn<()> {
        if auth.reason == ReasonCode::ReAuthenticate && self.reauth.is_none() {
            let name = self.session.opened().name.clone().unwrap_or_default();
            let method = auth.method.as_deref().unwrap_or_default();
            let exchange = self.shared.config.authenticator.exchange(&self.peer, &name, method);
            self.reauth = exchange.map(|exchange| Box::new(Reauth::new(exchange)));
        }
        let heard = self.reauth.as_mut().map(|reauth| reauth.hear(auth));
        match heard {
            Some(Ok(())) => Ok(()),
            _ => Err(self.part(ReasonCode::ProtocolError, ErrorKind::Protocol, out)),
        }
    }

    fn answer_reauth(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Turn {
        let Some(reauth) = &mut self.reauth else { return Ok(false) };
        match reauth.poll(cx, &self.origin.principal, &mut self.machine, out) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(Reauthenticated::Challenged)) => Ok(true),
            Poll::Ready(Ok(Reauthenticated::Until(valid_until))) => {
                self.reauth = None;
                self.ends_at = valid_until.map(|at| (at, ReasonCode::MaximumConnectTime));
                Ok(true)
            }
            Poll::Ready(Err(_)) => Err(self.part(ReasonCode::NotAuthorized, ErrorKind::Unauthenticated, out)),
        }
    }

    fn ack(&mut self, ack: &Ack, batch: &mut Batch) -> Turn<()> {
        let id = ack.packet_id;
        if ack.kind == AckKind::PubRel {
            batch.keys.push(Key::Number(id.get().into()));
            self.released.push_back((self.forgets + 1, id));
            return Ok(());
        }
        let (Some(handle), Some(step)) = (Handle::new(id.get(), 0), step(ack)) else { return Ok(()) };
        let owned = matches!(step, Step::Outcome { settled: false, .. });
        let cookie = owned.then_some(u64::from(id.get()));
        batch.dispositions.push(Disposition { delivery: handle.into(), cookie, step });
        Ok(())
    }

    /// In this order: a packet identifier that was released may be used again by the next message.
    fn hand_over(&mut self, batch: &mut Batch) {
        if !batch.keys.is_empty() {
            self.producer.forget(&mut batch.keys);
            self.forgets += 1;
        }
        if !batch.outgoing.is_empty() {
            self.producer.send(&mut batch.outgoing);
        }
        if !batch.dispositions.is_empty() {
            self.consumer.settle(&mut batch.dispositions);
        }
    }

    /// Answers what the endpoint has decided.
    fn answer(&mut self, cx: &mut Context<'_>, now: Time, batch: &mut Batch, out: &mut Output) -> Turn {
        let mut moved = self.answer_reauth(cx, out)? | self.subscriptions.poll(cx, &mut self.machine, out)?;
        moved |= self.complete(cx, out)?;
        while let Poll::Ready(polled) = self.producer.poll_confirms(cx, &mut batch.confirms) {
            moved |= polled? > 0;
            for confirm in batch.confirms.drain(..) {
                match self.machine.confirm(&confirm, out) {
                    Ok(Said::Yes) => {}
                    Ok(Said::Withheld) => self.withhold(now, &confirm.outcome)?,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        while let Poll::Ready(polled) = self.consumer.poll_settled(cx, &mut batch.done) {
            moved |= polled? > 0;
            for done in batch.done.drain(..) {
                done.result?;
                let Some(id) = PacketId::new(done.cookie as u16) else { continue };
                let said = self.machine.release(id, ReasonCode::Success, out);
                said?;
            }
        }
        Ok(moved)
    }

    /// Answers PUBREL once its packet identifier is forgotten for good: the client may use it again for another message, which must not be taken for
    /// the old one after a restart.
    fn complete(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Turn {
        let before = self.released.len();
        while let Some((call, id)) = self.released.front().copied() {
            match self.producer.poll_forgotten(cx, call) {
                Poll::Pending => break,
                Poll::Ready(forgotten) => forgotten?,
            }
            self.released.pop_front();
            self.machine.complete(id, ReasonCode::Success, out)?;
        }
        if self.released.is_empty() && self.released.capacity() > RELEASED_KEPT {
            self.released = VecDeque::new();
        }
        Ok(self.released.len() < before)
    }

    /// MQTT 3 has no negative answer, so the message stays unanswered: the client is given half its keep-alive for things to change, then the
    /// connection is closed, and it sends again. A refusal for good closes at once.
    fn withhold(&mut self, now: Time, outcome: &Outcome) -> Turn<()> {
        if !may_pass(outcome) {
            let error = Error::new(ErrorKind::Unauthorized, "serve").detail(outcome);
            return Err(Ending { close: Some(Close { will: true, expiry: None }), result: Err(error) });
        }
        let keep_alive = u64::from(self.machine.peer().keep_alive_secs);
        let patience = Duration::from_millis(if keep_alive == 0 { 10_000 } else { keep_alive * 500 });
        self.paused = true;
        self.ends_at.get_or_insert((now + patience, ReasonCode::QuotaExceeded));
        Ok(())
    }

    /// Takes deliveries as long as there is room to write them.
    fn deliver(&mut self, cx: &mut Context<'_>, now: Time, batch: &mut Batch, out: &mut Output) -> Turn {
        let mut moved = self.resume(now, batch, out)?;
        while self.resumed.is_empty() && out.len() < self.shared.config.write_bytes_max {
            match self.consumer.poll_receive(cx, &mut batch.deliveries, DELIVERIES_MAX) {
                Poll::Pending => break,
                Poll::Ready(received) => moved |= received? > 0,
            }
            if batch.deliveries.is_empty() {
                break;
            }
            for delivery in batch.deliveries.drain(..) {
                let sent = self.machine.deliver(&delivery, false, now, out);
                unsendable(sent, delivery.handle, &mut batch.dispositions)?;
            }
        }
        self.hand_over(batch);
        Ok(moved)
    }

    /// Sends again what an earlier connection has left unsettled, in the order in which it was sent \[MQTT-4.4.0-1\].
    fn resume(&mut self, now: Time, batch: &mut Batch, out: &mut Output) -> Turn {
        let mut moved = false;
        while out.len() < self.shared.config.write_bytes_max {
            let Some(unsettled) = self.resumed.front() else { break };
            match (&unsettled.state, &unsettled.delivery) {
                (DeliveryState::Decided(_), _) | (_, None) => {
                    if let Some(id) = PacketId::new(unsettled.handle.slot()) {
                        self.machine.release(id, ReasonCode::Success, out)?;
                    }
                }
                _ if self.machine.quota() == 0 => break,
                (_, Some(delivery)) => {
                    let sent = self.machine.deliver(delivery, true, now, out);
                    unsendable(sent, Some(unsettled.handle), &mut batch.dispositions)?;
                }
            }
            self.resumed.pop_front();
            moved = true;
        }
        if self.resumed.is_empty() {
            self.resumed = VecDeque::new();
        }
        Ok(moved)
    }

    fn timers(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn<()> {
        let deadlines = [self.machine.poll_timeout(), self.ends_at.map(|(at, _)| at)];
        if self.timer.poll(cx, now, deadlines.into_iter().flatten().min()).is_pending() {
            return Ok(());
        }
        cx.waker().wake_by_ref();
        Ok(self.machine.handle_timeout(now, out)?)
    }

    /// Says goodbye for `reason`; the session goes on as agreed.
    fn part(&mut self, reason: ReasonCode, kind: ErrorKind, out: &mut Output) -> Ending {
        // A client that is going already needs no goodbye.
        let _ = self.machine.disconnect(Disconnect::new(reason), out);
        Ending { close: None, result: Err(Error::new(kind, "serve").detail(reason)) }
    }
}

impl<E: Into<Error>> From<E> for Ending {
    /// The connection is lost, or breaks the protocol.
    fn from(error: E) -> Self {
        Self { close: None, result: Err(error.into()) }
    }
}

/// What an acknowledgement of a delivery does to it.
fn step(ack: &Ack) -> Option<Step> {
    let (qos, first) =
        (if ack.kind == AckKind::PubAck { Qos::AtLeastOnce } else { Qos::ExactlyOnce }, ack.packet_id.get().into());
    let wire = roadbed_core::Wire { role: roadbed_core::Role::Receiver, qos, first, last: first };
    match ack.event(&wire)? {
        roadbed_core::Event::Dispose { outcome, settled } => Some(Step::Outcome { outcome, settled }),
        roadbed_core::Event::Settle => Some(Step::Settle),
        _ => None,
    }
}

/// Whether sending the same again later may help.
fn may_pass(outcome: &Outcome) -> bool {
    use roadbed_core::Condition as C;
    match outcome {
        Outcome::Rejected(reason) => matches!(reason.condition, C::Full | C::StoreFull | C::Busy | C::Unavailable),
        outcome => !outcome.is_final(),
    }
}

/// A packet that is too large for its client counts as delivered \[MQTT-3.1.2-25\].
fn unsendable(
    sent: Result<(), SendError>,
    handle: Option<Handle>,
    dispositions: &mut alloc::vec::Vec<Disposition>,
) -> Turn<()> {
    match (sent, handle) {
        (Ok(()), _) => Ok(()),
        (Err(SendError::PacketTooLarge { .. } | SendError::Encode(_)), handle) => {
            let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
            dispositions.extend(handle.map(|handle| Disposition { delivery: handle.into(), cookie: None, step }));
            Ok(())
        }
        (Err(error), _) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size_of::<super::Running<tokio::net::TcpStream>>();
        assert!(bytes <= 900, "{bytes} bytes");
    }
}
