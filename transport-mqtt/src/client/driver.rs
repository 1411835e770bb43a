//! The task of a session: keeps a connection, and opens it again.

use alloc::sync::{Arc, Weak};
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytestring::ByteString;
use roadbed_core::client::Change;
use roadbed_core::{Close, Condition, Error, ErrorKind, SessionEvent};

use super::Registry;
use super::dial::{Dial, Dialed, may_pass};
use super::shared::Shared;
use super::turn::{Ending, Running};

/// A connection that held this long was a good one: the pauses begin anew.
const GOOD: Duration = Duration::from_secs(5);

/// Runs one session. Dropped, it has stopped: nobody works on the session any more.
pub(super) struct Driver {
    shared: Arc<Shared>,
    dial: Dial,
    pauses: ExponentialBackoff,
    _place: Place,
}

/// The place of a session among those of its client, as long as it has a driver.
pub(super) struct Place {
    shared: Arc<Shared>,
    registry: Weak<Registry>,
    client_id: ByteString,
}

impl Place {
    pub(super) fn new(shared: Arc<Shared>, registry: Weak<Registry>, client_id: ByteString) -> Self {
        Self { shared, registry, client_id }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.end(ErrorKind::Closed, "the session is closed");
            state.stop();
        });
        if let Some(registry) = self.registry.upgrade() {
            registry.leave(&self.client_id, &self.shared);
        }
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, dial: Dial, place: Place) -> Self {
        let pauses = pauses(&shared);
        Self { shared, dial, pauses, _place: place }
    }

    /// Until the session ends.
    pub(super) async fn run(mut self, mut dialed: Dialed) {
        let mut first = true;
        loop {
            let started = self.shared.config.clock.now();
            let mut running = self.begin(dialed, first);
            first = false;
            let ending = poll_fn(|cx| running.poll(cx)).await;
            match ending {
                Ending::Over => break,
                Ending::Closed(close) => {
                    running.close(close).await;
                    return self.closed(close).await;
                }
                Ending::Lost(error) => {
                    tracing::debug!(client_id = &*self.dial.client_id, %error, "MQTT connection lost");
                }
            }
            drop(running);
            if self.shared.config.clock.now().since(started) >= GOOD {
                self.pauses = pauses(&self.shared);
            }
            match self.again().await {
                Some(again) => dialed = again,
                None => break,
            }
        }
        self.keep().await;
    }

    /// Tells the session that it has a connection.
    fn begin(&self, dialed: Dialed, first: bool) -> Running {
        let resumed = dialed.connack.session_present;
        let counters = &self.shared.counters;
        counters.connected();
        if !first && !resumed {
            counters.sessions_lost();
        }
        self.shared.with(|state| {
            state.inbound.connected(resumed, &mut state.changes, &mut state.wakers);
            state.requests.connected(resumed, &state.inbound);
            match resumed {
                true => state.outbound.resumed(),
                false => state.outbound.restarted(&mut state.changes, &mut state.wakers),
            }
        });
        Running::new(Arc::clone(&self.shared), self.dial.client_id.clone(), self.dial.is_kept(), dialed)
    }

    /// Opens the connection again, however long it takes; nothing if the session ends meanwhile.
    async fn again(&mut self) -> Option<Dialed> {
        loop {
            let pause = self.pauses.next().unwrap_or(self.shared.config.reconnect_delay_max);
            let dialing = async {
                tokio::time::sleep(pause).await;
                self.dial.dial(self.dial.is_kept()).await
            };
            let dialed = tokio::select! {
                dialed = dialing => dialed,
                () = over(&self.shared) => return None,
            };
            match dialed {
                Ok(dialed) => return Some(dialed),
                Err(error) if may_pass(&error) => {
                    tracing::debug!(client_id = &*self.dial.client_id, %error, "cannot connect again yet");
                }
                Err(error) => {
                    self.give_up(&error);
                    return None;
                }
            }
        }
    }

    fn give_up(&self, error: &Error) {
        tracing::warn!(client_id = &*self.dial.client_id, %error, "the session cannot go on");
        self.shared.with(|state| {
            if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Unauthorized) {
                state.tell(SessionEvent::Revoked(Condition::Unauthorized));
            }
            state.end(error.kind(), alloc::string::ToString::to_string(error.words().unwrap_or_default()));
        });
    }

    /// The session was closed in good order: if it is not kept any longer, nothing of it is.
    async fn closed(&self, close: Close) {
        let gone = close.expiry.is_some_and(|expiry| expiry.is_zero());
        if gone && self.dial.is_kept() {
            self.shared.with(|state| state.changes = alloc::vec![Change::Cleared]);
            if !self.shared.config.version.is_v5()
                && let Err(error) = self.dial.purge().await
            {
                tracing::warn!(client_id = &*self.dial.client_id, %error, "the server may keep the session");
            }
        }
        self.keep().await;
    }

    /// What is still to be kept in the store.
    async fn keep(&self) {
        let changes = self.shared.with(|state| core::mem::take(&mut state.changes));
        if !self.dial.is_kept() || changes.is_empty() {
            return;
        }
        if let Err(error) = self.shared.config.store.commit(&self.dial.client_id, changes).await {
            tracing::warn!(client_id = &*self.dial.client_id, %error, "the session's state cannot be kept");
        }
    }
}

/// Resolves when the session ends.
async fn over(shared: &Shared) {
    poll_fn(|cx| {
        shared.with(|state| {
            state.wakers.watch_driver(cx);
            if state.ended.is_some() || state.closing.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
    })
    .await;
}

fn pauses(shared: &Shared) -> ExponentialBackoff {
    let config = &shared.config;
    let builder = ExponentialBuilder::new()
        .with_min_delay(config.reconnect_delay_min)
        .with_max_delay(config.reconnect_delay_max)
        .without_max_times();
    builder.with_jitter().with_jitter_seed(config.seed).build()
}
