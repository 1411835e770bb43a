//! What the handles of a session share with its driver: one small mutex, taken once per batch by each side.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, PoisonError};

use roadbed_core::client::Change;
use roadbed_core::{Close, Error, ErrorKind, Result, SessionEvent};

use super::ClientConfig;
use super::counters::Counters;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::requests::Requests;

/// How many session events wait to be seen; the oldest go first.
const EVENTS_MAX: usize = 16;

/// A session's state with its mutex.
pub(super) struct Shared {
    pub(super) config: Arc<ClientConfig>,
    pub(super) counters: Arc<Counters>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    pub(super) requests: Requests,
    /// What is to be kept in the store.
    pub(super) changes: Vec<Change>,
    /// In good order: when everything is sent and answered.
    pub(super) closing: Option<Close>,
    /// At once, whatever is unanswered.
    pub(super) close_now: bool,
    pub(super) ended: Option<Ended>,
    /// The driver has gone.
    pub(super) stopped: bool,
    pub(super) wakers: Wakers,
    events: VecDeque<SessionEvent>,
    event_waker: Option<Waker>,
    stop_wakers: Vec<Waker>,
}

/// Who is to be woken: the driver, and those that the current turn has found.
#[derive(Default)]
pub(super) struct Wakers {
    driver: Option<Waker>,
    due: Vec<Waker>,
}

/// Why a session has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) kind: ErrorKind,
    pub(super) words: String,
}

impl Shared {
    pub(super) fn new(
        config: Arc<ClientConfig>,
        counters: Arc<Counters>,
        outbound: Outbound,
        inbound: Inbound,
    ) -> Self {
        let state = State {
            outbound,
            inbound,
            requests: Requests::default(),
            changes: Vec::new(),
            closing: None,
            close_now: false,
            ended: None,
            stopped: false,
            wakers: Wakers::default(),
            events: VecDeque::new(),
            event_waker: None,
            stop_wakers: Vec::new(),
        };
        Self { config, counters, state: Mutex::new(state) }
    }

    /// Works on the state, then wakes whom that concerns.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let (result, mut due) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (work(&mut state), core::mem::take(&mut state.wakers.due))
        };
        due.drain(..).for_each(Waker::wake);
        result
    }

    /// Resolves when the driver has gone, and touches neither connection nor store any more.
    pub(super) async fn stopped(&self) {
        poll_fn(|cx| {
            self.with(|state| {
                if state.stopped {
                    return Poll::Ready(());
                }
                if !state.stop_wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.stop_wakers.push(cx.waker().clone());
                }
                Poll::Pending
            })
        })
        .await;
    }
}

impl State {
    /// Ends the session for all its handles; the first reason stands.
    pub(super) fn end(&mut self, kind: ErrorKind, words: impl Into<String>) {
        if self.ended.is_none() {
            self.ended = Some(Ended { kind, words: words.into() });
        }
        self.wake_all();
    }

    /// The driver has gone.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.requests.clear();
        self.wake_all();
        self.wakers.due.append(&mut self.stop_wakers);
    }

    /// An error if the session has ended.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        match &self.ended {
            Some(ended) => Err(ended.error(operation)),
            None => Ok(()),
        }
    }

    pub(super) fn tell(&mut self, event: SessionEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.wakers.due.extend(self.event_waker.take());
    }

    pub(super) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<SessionEvent> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.event_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn wake_all(&mut self) {
        self.outbound.wake_all(&mut self.wakers);
        self.inbound.wake_all(&mut self.wakers);
        self.wakers.wake_driver();
    }
}

impl Wakers {
    /// The driver is to be polled again.
    pub(super) fn wake_driver(&mut self) {
        self.due.extend(self.driver.take());
    }

    /// Somebody is to be polled again.
    pub(super) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.due.extend(waker.take());
    }

    pub(super) fn watch_driver(&mut self, cx: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }
}

impl Ended {
    pub(super) fn error(&self, operation: &'static str) -> Error {
        Error::new(self.kind, operation).detail(&self.words)
    }
}

/// What every handle of a session holds: when the last one is dropped, the connection counts as lost.
pub(super) struct Alive(pub(super) Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.with(|state| state.end(ErrorKind::Disconnected, "all handles of the session were dropped"));
    }
}
