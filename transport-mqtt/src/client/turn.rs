//! A connection that is open: what moves between it and the session's state.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use bytes::Bytes;
use roadbed_core::client::{Carrier, Change, poll_events};
use roadbed_core::{
    Close, Condition, Error, ErrorKind, Fut, Output, Protocol, Reason, Result, SessionEvent, Socket, Time,
};

use super::dial::Dialed;
use super::outbound::{Next, Publish};
use super::requests::Packet;
use super::shared::{Shared, State};
use crate::codec::{Ack, AckKind, Disconnect, PacketId, ReasonCode, Version};
use crate::dialect::seconds;
use crate::{Event, Machine, SendError};
use roadbed_core::Timer;

/// How many rounds a turn has before other tasks get theirs.
const ROUNDS_MAX: usize = 32;
/// About how many bytes a packet has besides its payload.
const HEADER_BYTES: usize = 64;

/// A connection that is open.
pub(super) struct Running {
    shared: Arc<Shared>,
    client_id: bytestring::ByteString,
    /// The session outlives its connection: its state is kept in the store.
    kept: bool,
    socket: Socket<Box<dyn Carrier>>,
    machine: Machine,
    timer: Timer,
    held: Bytes,
    events: Vec<Event>,
    commands: Vec<Command>,
    commit: Option<Fut<()>>,
    ending: Option<Ending>,
}

/// What is to be written once the store has what it depends on.
enum Command {
    Ack(Ack),
    Publish(Publish),
    Request(PacketId, Packet),
}

/// How a connection ends.
pub(super) enum Ending {
    /// It is to be opened again.
    Lost(Error),
    /// In good order.
    Closed(Close),
    /// The session has ended.
    Over,
}

type Turn<T = bool> = Result<T, Ending>;

impl Running {
    pub(super) fn new(shared: Arc<Shared>, client_id: bytestring::ByteString, kept: bool, dialed: Dialed) -> Self {
        let Dialed { socket, machine, held, .. } = dialed;
        let (events, commands, commit, ending, timer) = (Vec::new(), Vec::new(), None, None, Timer::default());
        Self { shared, client_id, kept, socket, machine, timer, held, events, commands, commit, ending }
    }

    /// One turn: everything that can be done without waiting.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(ending) => Poll::Ready(ending),
        }
    }

    /// Says goodbye. MQTT 3 has no word for going with the will: there the connection is dropped.
    pub(super) async fn close(mut self, close: Close) {
        if close.will && !self.machine.peer().version.is_v5() {
            return;
        }
        let reason = if close.will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
        let session_expiry_secs = close.expiry.map(seconds).filter(|_| self.machine.peer().version.is_v5());
        let mut out = self.socket.output();
        let _ = self.machine.disconnect(Disconnect { session_expiry_secs, ..Disconnect::new(reason) }, &mut out);
        self.socket.farewell(out, self.shared.config.close_timeout).await;
    }

    /// Goes round as long as bytes or messages move, and no longer.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn<()> {
        let now = self.shared.config.clock.now();
        let mut out = self.socket.output();
        let mut round = || -> Turn<()> {
            for _ in 0..ROUNDS_MAX {
                let mut moved = self.read(cx, now, &mut out);
                moved |= self.exchange(cx, now, &mut out)?;
                let flushed = self.socket.poll_flush(cx, core::mem::take(&mut out)).map_err(lost)?;
                moved |= flushed.written > 0;
                out = self.socket.output();
                if self.commit.is_none()
                    && let Some(ending) = self.ending.take()
                {
                    return Err(ending);
                }
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
        turned.and(flushed.map(drop).map_err(lost))
    }

    /// Reads a chunk. A connection that ends does so once what came before has been looked at.
    fn read(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> bool {
        let full = out.len() >= self.shared.config.write_bytes_max || self.shared.with(|state| state.inbound.is_full());
        if full || self.commit.is_some() || self.ending.is_some() {
            return false;
        }
        let Self { socket, machine, held, events, .. } = self;
        match poll_events(cx, socket, machine, held, now, out, events) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.ending = Some(Ending::Lost(error)),
        }
        true
    }

    /// Hands over what came, takes what is to be written, and writes it once it is safe in the store.
    fn exchange(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn {
        if self.commit.is_none() {
            let changes = self.gather(cx, now, out)?;
            if self.kept && !changes.is_empty() {
                self.commit = Some(self.shared.config.store.commit(&self.client_id, changes));
            }
        }
        if let Some(commit) = &mut self.commit {
            match commit.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) => self.commit = None,
                Poll::Ready(Err(error)) => {
                    let words = alloc::format!("the session's state cannot be kept: {error}");
                    self.shared.with(|state| state.end(ErrorKind::Failed, words));
                    return Err(Ending::Over);
                }
            }
        }
        let moved = !self.commands.is_empty();
        self.write(now, out)?;
        Ok(moved)
    }

    /// The part that needs the state.
    fn gather(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn<Vec<Change>> {
        let Self { shared, machine, socket, events, commands, ending, .. } = self;
        let version = machine.peer().version;
        let mut room = shared.config.write_bytes_max.saturating_sub(out.len());
        shared.with(|state| {
            state.wakers.watch_driver(cx);
            if state.ended.is_some() {
                return Err(Ending::Over);
            }
            for event in events.drain(..) {
                if let Some(end) = take(state, event, commands) {
                    ending.get_or_insert(end);
                }
            }
            if state.inbound.wants_reconnect() {
                // It was the application's wish, so that the will stays unsaid.
                let _ = machine.disconnect(Disconnect::default(), out);
                return Err(Ending::Lost(Error::new(ErrorKind::Disconnected, "release")));
            }
            let mut acks = Vec::new();
            state.inbound.acknowledge(&mut acks, &mut state.changes);
            commands.extend(acks.into_iter().map(Command::Ack));
            requests(state, version, commands);
            let mut quota = machine.quota();
            while room > 0
                && let Some(next) = next(state, &mut quota, now)
            {
                if let Command::Publish(publish) = &next {
                    room = room.saturating_sub(publish.message.payload().len() + HEADER_BYTES);
                }
                commands.push(next);
            }
            let quiet = commands.is_empty() && out.is_empty() && socket.unsent() == 0;
            if let Some(close) = state.closing
                && (state.close_now || (quiet && is_done(state)))
            {
                return Err(Ending::Closed(close));
            }
            Ok(core::mem::take(&mut state.changes))
        })
    }

    fn write(&mut self, now: Time, out: &mut Output) -> Turn<()> {
        let mut refused = Vec::new();
        for command in self.commands.drain(..) {
            let (machine, mut id) = (&mut self.machine, None);
            let written = match &command {
                Command::Ack(ack) => machine.acknowledge(ack.clone(), out).map(|_said| ()),
                Command::Publish(Publish { message, qos, packet_id, dup, .. }) => {
                    machine.publish_message(message, *qos, *packet_id, *dup, now, out)
                }
                Command::Request(packet_id, Packet::Subscribe(packet)) => {
                    id = Some(*packet_id);
                    machine.subscribe(packet.clone(), out)
                }
                Command::Request(packet_id, Packet::Unsubscribe(packet)) => {
                    id = Some(*packet_id);
                    machine.unsubscribe(packet.clone(), out)
                }
            };
            match (written, command) {
                (Ok(()), _) => {}
                // The rest comes again on the next connection.
                (Err(SendError::NotConnected), _) => break,
                (Err(error), Command::Publish(publish)) => refused.push((Err(publish), error)),
                (Err(error), _) => refused.extend(id.map(|id| (Ok(id), error))),
            }
        }
        self.commands.clear();
        if !refused.is_empty() {
            self.shared.with(|state| {
                for (what, error) in refused {
                    match what {
                        Ok(id) => state.requests.unwritten(id, error),
                        Err(publish) => {
                            state.outbound.refuse(&publish, reason(error), &mut state.changes, &mut state.wakers);
                        }
                    }
                }
                state.wakers.wake_driver();
            });
        }
        Ok(())
    }

    fn timers(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn<()> {
        if self.timer.poll(cx, now, self.machine.poll_timeout()).is_pending() {
            return Ok(());
        }
        cx.waker().wake_by_ref();
        self.machine.handle_timeout(now, out).map_err(|error| Ending::Lost(error.into()))
    }
}

/// What the server did. Says how the connection ends, if it does.
fn take(state: &mut State, event: Event, commands: &mut Vec<Command>) -> Option<Ending> {
    let State { inbound, outbound, requests, changes, wakers, .. } = state;
    match event {
        Event::Publish(incoming) => inbound.publish(incoming, wakers),
        Event::Ack(ack) if ack.kind == AckKind::PubRel => {
            if let Some(reason) = inbound.complete(ack.packet_id, changes, wakers) {
                commands.push(Command::Ack(Ack::with_reason(AckKind::PubComp, ack.packet_id, reason)));
            }
        }
        Event::Ack(ack) => {
            if let Some((id, reason)) = outbound.acknowledged(&ack, changes, wakers) {
                commands.push(Command::Ack(Ack::with_reason(AckKind::PubRel, id, reason)));
            }
        }
        Event::SubAck(packet) => requests.subscribed(packet.packet_id, &packet.codes, inbound),
        Event::UnsubAck(packet) => requests.unsubscribed(packet.packet_id, &packet.codes, inbound),
        Event::Disconnect(packet) => return Some(left(state, &packet)),
        _ => return Some(Ending::Lost(Error::new(ErrorKind::Protocol, "receive").detail("an unexpected packet"))),
    }
    None
}

/// The server says goodbye.
fn left(state: &mut State, packet: &Disconnect) -> Ending {
    let text = packet.notes.reason_string.as_deref().or(packet.server_reference.as_deref());
    let text = text.map(|text| alloc::format!(": {text}")).unwrap_or_default();
    let words = alloc::format!("the server ends the connection: {}{text}", packet.reason);
    match packet.reason {
        ReasonCode::SessionTakenOver => {
            state.tell(SessionEvent::TakenOver);
            state.end(ErrorKind::Closed, words);
            return Ending::Over;
        }
        ReasonCode::NotAuthorized => {
            state.tell(SessionEvent::Revoked(Condition::Unauthorized));
            state.end(ErrorKind::Unauthorized, words);
            return Ending::Over;
        }
        ReasonCode::UseAnotherServer | ReasonCode::ServerMoved => {
            state.tell(SessionEvent::Draining);
            state.end(ErrorKind::Unavailable, words);
            return Ending::Over;
        }
        ReasonCode::ServerShuttingDown => state.tell(SessionEvent::Draining),
        _ => {}
    }
    Ending::Lost(Error::new(ErrorKind::Disconnected, "receive").detail(words))
}

fn requests(state: &mut State, version: Version, commands: &mut Vec<Command>) {
    let State { requests, outbound, .. } = state;
    while let Some(request) = requests.pop() {
        let Some(id) = outbound.free_id(|id| requests.knows(id)) else {
            return requests.push(request);
        };
        commands.push(Command::Request(id, request.packet(id, version)));
        requests.asked(id, request);
    }
}

fn next(state: &mut State, quota: &mut u16, now: Time) -> Option<Command> {
    let State { requests, outbound, changes, wakers, .. } = state;
    Some(match outbound.next(quota, now, |id| requests.knows(id), changes, wakers)? {
        Next::Publish(publish) => Command::Publish(publish),
        Next::Release(id) => Command::Ack(Ack::new(AckKind::PubRel, id)),
    })
}

/// Whether everything is sent and answered.
fn is_done(state: &State) -> bool {
    state.outbound.is_idle() && state.requests.len() == 0 && state.inbound.is_said() && state.changes.is_empty()
}

/// What a message lacks that cannot be written.
fn reason(error: SendError) -> Reason {
    let condition = match error {
        SendError::PacketTooLarge { .. } => Condition::TooLarge,
        _ => Condition::NotSupported,
    };
    Reason::new(condition, alloc::format!("{error}"))
}

fn lost(error: std::io::Error) -> Ending {
    Ending::Lost(Error::new(ErrorKind::Disconnected, "receive").because(error))
}
