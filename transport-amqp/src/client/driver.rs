//! The task of a client: keeps its connection, and opens it again.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use roadbed_core::{Condition, Error, ErrorKind, SessionEvent};

use super::dial::{Dial, Dialed, may_pass};
use super::shared::{Ended, Shared, State};
use super::state::{Kind, LinkStage, Stage};
use super::turn::{Ending, Running};

/// A connection that held this long was a good one: the pauses begin anew.
const GOOD: Duration = Duration::from_secs(5);

/// Runs one connection at a time, as long as there are sessions.
pub(super) struct Driver {
    shared: Arc<Shared>,
    dial: Dial,
    pauses: ExponentialBackoff,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, dial: Dial) -> Self {
        let pauses = pauses(&shared);
        Self { shared, dial, pauses }
    }

    /// Until there is no session left.
    pub(super) async fn run(mut self) {
        let mut pause = Duration::ZERO;
        while let Some(dialed) = self.connect(pause).await {
            let started = self.shared.config.clock.now();
            self.shared.counters.connected();
            let mut running = Running::new(Arc::clone(&self.shared), dialed);
            self.shared.with(|state| state.begin_all());
            let ending = poll_fn(|cx| running.poll(cx)).await;
            running.keep().await;
            match ending {
                Ending::Idle => {
                    running.close().await;
                    self.shared.with(|state| state.parting -= 1);
                    return self.shared.finished.notify_waiters();
                }
                Ending::Expelled(error) => {
                    running.close().await;
                    self.give_up(&error);
                }
                Ending::Lost(error) => {
                    tracing::debug!(%error, "AMQP connection lost");
                }
            }
            self.shared.with(State::disconnected);
            if self.shared.config.clock.now().since(started) >= GOOD {
                self.pauses = pauses(&self.shared);
            }
            pause = self.pause();
        }
    }

    /// Opens the connection, however long it takes; nothing if no session is left that wants it. Sessions that wait to be opened are told of a failure.
    async fn connect(&mut self, mut pause: Duration) -> Option<Dialed> {
        loop {
            let dialing = async {
                tokio::time::sleep(pause).await;
                self.dial.dial().await
            };
            let dialed = tokio::select! {
                dialed = dialing => dialed,
                () = over(&self.shared) => return None,
            };
            match dialed {
                Ok(dialed) => return Some(dialed),
                Err(error) if may_pass(&error) => {
                    tracing::debug!(%error, "cannot connect yet");
                    self.shared.with(|state| state.fail_openings(&error));
                }
                Err(error) => self.give_up(&error),
            }
            pause = self.pause();
        }
    }

    fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.shared.config.reconnect_delay_max)
    }

    /// No session can go on.
    fn give_up(&self, error: &Error) {
        let revoked = matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Unauthorized);
        self.shared.with(|state| {
            // Whoever is still opening a session is told.
            if state.sessions.values().any(|session| session.opening.is_none()) {
                tracing::warn!(%error, "the client cannot go on");
            }
            let ended = Ended::from(error);
            let all: alloc::vec::Vec<u64> = state.sessions.keys().copied().collect();
            for session in all {
                let event = revoked.then_some(SessionEvent::Revoked(Condition::Unauthorized));
                state.end(session, &ended, event);
            }
        });
    }
}

/// Sees to the sessions that end while there is no connection; resolves when none is left.
async fn over(shared: &Shared) {
    loop {
        let commits = poll_fn(|cx| {
            shared.with(|state| {
                state.wakers.watch_driver(cx);
                let (commits, moved) = state.end_unconnected();
                if state.sessions.values().all(|session| session.finished) {
                    state.driven = false;
                    return Poll::Ready(None);
                }
                if moved || !commits.is_empty() { Poll::Ready(Some(commits)) } else { Poll::Pending }
            })
        })
        .await;
        shared.finished.notify_waiters();
        let Some(commits) = commits else { return };
        for (session, name, changes) in commits {
            let kept = shared.config.store.commit(&name, changes).await;
            shared.with(|state| super::turn::committed(state, session, kept));
        }
    }
}

type Commit = (u64, bytestring::ByteString, alloc::vec::Vec<roadbed_core::client::Change>);

impl State {
    /// There is a connection: all sessions begin on it.
    fn begin_all(&mut self) {
        self.touched = self.sessions.iter().filter(|(_, session)| !session.finished).map(|(&id, _)| id).collect();
    }

    /// The connection is lost.
    fn disconnected(&mut self) {
        let ids: alloc::vec::Vec<u64> = self.sessions.keys().copied().collect();
        for id in ids {
            for txn in self.transactions.session_ended(id) {
                self.rolled_back(txn);
            }
            let Self { sessions, wakers, .. } = &mut *self;
            let Some(session) = sessions.get_mut(&id).filter(|session| !session.finished) else { continue };
            (session.wire, session.stage) = (None, Stage::New);
            let links: alloc::vec::Vec<u64> = session.links.keys().copied().collect();
            for link in links {
                let Some(found) = session.links.get_mut(&link) else { continue };
                found.wire = None;
                if matches!(found.stage, LinkStage::Failed(_)) {
                    continue;
                }
                found.stage = LinkStage::New;
                match &mut found.kind {
                    Kind::Producer(_) => session.producer_lost(link),
                    Kind::Consumer(_) => session.consumer_lost(link, wakers),
                    Kind::Calls(calls) => calls.lost(),
                    Kind::Replies(replies) => {
                        replies.fail(&Ended::new(ErrorKind::Disconnected, "the connection was lost before the answer"));
                    }
                }
            }
            session.tell_confirms(wakers);
        }
    }

    /// Sessions that wait to be opened do not wait for ever.
    fn fail_openings(&mut self, error: &Error) {
        let opening = self.sessions.iter().filter(|(_, session)| session.opening.is_some());
        let opening: alloc::vec::Vec<u64> = opening.map(|(&id, _)| id).collect();
        let ended = Ended::from(error);
        opening.into_iter().for_each(|id| self.end(id, &ended, None));
    }

    /// Ends what is to end, without a connection: what is still to be kept in the store, and whether anything has ended.
    fn end_unconnected(&mut self) -> (alloc::vec::Vec<Commit>, bool) {
        let (mut commits, mut moved) = (alloc::vec::Vec::new(), false);
        let closing = |session: &super::state::Session| {
            session.closing.as_ref().is_some_and(|closing| closing.now || session.is_idle())
        };
        let ids: alloc::vec::Vec<u64> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get(&id).filter(|session| !session.finished) else { continue };
            if session.ended.is_none() && closing(session) {
                self.end(id, &Ended::new(ErrorKind::Closed, "the session is closed"), None);
            }
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_some()) else { continue };
            if session.committing {
                continue;
            }
            moved = true;
            match session.terms.name.clone().filter(|_| !session.changes.is_empty()) {
                Some(name) => {
                    session.committing = true;
                    commits.push((id, name, core::mem::take(&mut session.changes)));
                }
                None => self.finished(id),
            }
        }
        (commits, moved)
    }
}

fn pauses(shared: &Shared) -> ExponentialBackoff {
    let config = &shared.config;
    let builder = ExponentialBuilder::new()
        .with_min_delay(config.reconnect_delay_min)
        .with_max_delay(config.reconnect_delay_max)
        .without_max_times();
    builder.with_jitter().with_jitter_seed(config.seed).build()
}
