//! A connection that is open: what moves between it and the sessions.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use bytes::Bytes;
use roadbed_core::client::{Carrier, Change, poll_events};
use roadbed_core::{Error, ErrorKind, Fut, Losses, Origin, Output, Protocol, Result, Socket, Time, Timer};

use super::dial::Dialed;
use super::shared::{Shared, State};
use super::words;
use crate::{Event, LinkId, Machine, SessionId};

mod events;
mod serve;

/// How many rounds a turn has before other tasks get theirs.
const ROUNDS_MAX: usize = 32;

/// A connection that is open.
pub(super) struct Running {
    shared: Arc<Shared>,
    socket: Socket<Box<dyn Carrier>>,
    machine: Machine,
    timer: Timer,
    held: Bytes,
    events: Vec<Event>,
    losses: Losses,
    origin: Arc<Origin>,
    places: Places,
    /// Links that could not go on for want of a window, or of room to write.
    stalled: Vec<(u64, u64)>,
    /// Links with requests that are to be written.
    calling: Vec<(u64, u64)>,
    commits: Vec<(u64, Fut<()>)>,
    ending: Option<Ending>,
}

/// What the wire's names are here.
#[derive(Default)]
struct Places {
    sessions: BTreeMap<SessionId, u64>,
    links: BTreeMap<LinkId, (u64, u64)>,
}

/// How a connection ends.
pub(super) enum Ending {
    /// It is to be opened again.
    Lost(Error),
    /// The server does not want this client any more.
    Expelled(Error),
    /// There is no session left.
    Idle,
}

type Turn<T = bool> = Result<T, Ending>;

impl Running {
    pub(super) fn new(shared: Arc<Shared>, dialed: Dialed) -> Self {
        let Dialed { socket, machine, held } = dialed;
        Self {
            shared,
            socket,
            machine,
            timer: Timer::default(),
            held,
            events: Vec::new(),
            losses: Losses::default(),
            origin: Arc::new(Origin { principal: Default::default(), protocol: "amqp" }),
            places: Places::default(),
            stalled: Vec::new(),
            calling: Vec::new(),
            commits: Vec::new(),
            ending: None,
        }
    }

    /// One turn: everything that can be done without waiting.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let turned = self.turn(cx);
        self.shared.ledger.absorb(&mut self.losses);
        match turned {
            Ok(()) => Poll::Pending,
            Err(ending) => Poll::Ready(ending),
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        let mut out = self.socket.output();
        // The server may have said so first.
        let _ = self.machine.close(None, &mut out);
        self.socket.farewell(out, self.shared.config.close_timeout).await;
    }

    /// What the store has not finished.
    pub(super) async fn keep(&mut self) {
        for (session, commit) in core::mem::take(&mut self.commits) {
            let kept = commit.await;
            self.shared.with(|state| committed(state, session, kept));
        }
    }

    /// Goes round as long as bytes or messages move, and no longer.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn<()> {
        let now = self.shared.config.clock.now();
        let mut out = self.socket.output();
        let mut round = || -> Turn<()> {
            for _ in 0..ROUNDS_MAX {
                let mut moved = self.read(cx, now, &mut out);
                let before = out.len();
                moved |= self.exchange(cx, now, &mut out)?;
                moved |= out.len() > before;
                moved |= self.poll_commits(cx);
                self.machine.flush(&mut out);
                let flushed = self.socket.poll_flush(cx, core::mem::take(&mut out)).map_err(lost)?;
                moved |= flushed.written > 0;
                out = self.socket.output();
                if let Some(ending) = self.ending.take() {
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
        if out.len() >= self.shared.config.write_bytes_max || self.ending.is_some() {
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

    /// Hands over what came, and writes what is to be written.
    fn exchange(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn {
        let shared = Arc::clone(&self.shared);
        shared.with(|state| {
            state.wakers.watch_driver(cx);
            let moved = !self.events.is_empty() || !state.touched.is_empty();
            for event in core::mem::take(&mut self.events) {
                self.event(state, event, now, out);
            }
            self.serve(state, now, out);
            if state.sessions.values().all(|session| session.finished) && self.commits.is_empty() {
                state.driven = false;
                state.parting += 1;
                return Err(Ending::Idle);
            }
            Ok(moved)
        })
    }

    /// Whether the store has finished something.
    fn poll_commits(&mut self, cx: &mut Context<'_>) -> bool {
        let (mut done, shared) = (false, &self.shared);
        self.commits.retain_mut(|(session, commit)| match commit.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(kept) => {
                done = true;
                shared.with(|state| committed(state, *session, kept));
                false
            }
        });
        done
    }

    fn commit(&mut self, session: u64, name: &bytestring::ByteString, changes: Vec<Change>) {
        self.commits.push((session, self.shared.config.store.commit(name, changes)));
    }

    fn timers(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> Turn<()> {
        if self.timer.poll(cx, now, self.machine.poll_timeout()).is_pending() {
            return Ok(());
        }
        cx.waker().wake_by_ref();
        self.machine.handle_timeout(now, out).map_err(|error| Ending::Lost(error.into()))
    }
}

/// The store has finished.
pub(super) fn committed(state: &mut State, session: u64, kept: Result<()>) {
    if let Some(found) = state.sessions.get_mut(&session) {
        found.committing = false;
    }
    if let Err(error) = kept {
        let words = alloc::format!("the session's state cannot be kept: {error}");
        state.end(session, &super::shared::Ended::new(ErrorKind::Failed, words), None);
    }
    state.touch(session);
}

/// The error that a server's goodbye is.
fn goodbye(fault: Option<&crate::codec::Fault>) -> Ending {
    let Some(fault) = fault else {
        let error = Error::new(ErrorKind::Disconnected, "receive");
        return Ending::Lost(error.detail("the server has closed the connection"));
    };
    match &*fault.condition {
        "amqp:unauthorized-access" | "amqp:not-allowed" | "amqp:invalid-field" => {
            Ending::Expelled(words::error(fault, "receive"))
        }
        _ => {
            let words = alloc::format!("the server has closed the connection: {}", words::text(fault));
            Ending::Lost(Error::new(ErrorKind::Disconnected, "receive").detail(words))
        }
    }
}

fn lost(error: std::io::Error) -> Ending {
    Ending::Lost(Error::new(ErrorKind::Disconnected, "receive").because(error))
}
