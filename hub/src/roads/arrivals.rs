//! Connections that are arriving: not yet known to speak a protocol. There is a bound to them, and the oldest makes room for the newest: who arrives in earnest has
//! arrived long before a flood of others has pushed it out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All that are arriving, over all listeners.
#[derive(Debug)]
pub(crate) struct Arrivals {
    max: usize,
    waiting: Mutex<Waiting>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By the order in which they came.
    by_turn: BTreeMap<u64, oneshot::Sender<()>>,
}

/// What has become of those that arrived, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) pushed_out: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// One that is arriving, until it is dropped.
#[derive(Debug)]
pub(crate) struct Arriving {
    arrivals: Arc<Arrivals>,
    turn: u64,
    cut: oneshot::Receiver<()>,
}

impl Arrivals {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), waiting: Mutex::default(), counts: Counts::default() })
    }

    /// One more; the oldest is told to go if there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Arriving {
        let (sender, cut) = oneshot::channel();
        let mut waiting = self.lock();
        let turn = waiting.next;
        waiting.next += 1;
        waiting.by_turn.insert(turn, sender);
        if waiting.by_turn.len() > self.max {
            // Dropping the sender tells it.
            waiting.by_turn.pop_first();
            one(&self.counts.pushed_out);
        }
        Arriving { arrivals: Arc::clone(self), turn, cut }
    }

    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many there are now.
    pub(crate) fn len(&self) -> u64 {
        self.lock().by_turn.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arriving {
    /// Waits until it has to go.
    pub(crate) async fn cut(&mut self) {
        let _ = (&mut self.cut).await;
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.arrivals.lock().by_turn.remove(&self.turn);
    }
}

impl Counts {
    /// All, with their names.
    pub(crate) fn read(&self) -> [(&'static str, u64); 6] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("tls_handshakes", read(&self.handshakes)),
            ("tls_handshakes_failed", read(&self.handshakes_failed)),
            ("arrivals_late", read(&self.late)),
            ("arrivals_pushed_out", read(&self.pushed_out)),
            ("arrivals_unknown", read(&self.unknown)),
            ("arrivals_refused", read(&self.refused)),
        ]
    }
}

/// Counts one.
pub(crate) fn one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_for_the_newest() {
        let arrivals = Arrivals::new(2);
        let mut first = arrivals.enter();
        let second = arrivals.enter();
        drop(second);
        let mut third = arrivals.enter();
        assert_eq!(arrivals.len(), 2, "the second has arrived");
        let _fourth = arrivals.enter();
        first.cut().await;
        assert_eq!((arrivals.len(), arrivals.counts().read()[3].1), (2, 1));
        tokio::select! {
            biased;
            () = third.cut() => panic!("it was not its turn"),
            () = std::future::ready(()) => {}
        }
    }
}
