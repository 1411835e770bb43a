use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::table::Key;

/// How many attempts of each key are under way: what the guard learns from the first ones has to be known before the next ones are looked at.
pub(super) struct Lanes {
    abreast: usize,
    waiting_max: usize,
    lanes: Mutex<HashMap<Key, Lane>>,
}

struct Lane {
    semaphore: Arc<Semaphore>,
    here: usize,
}

/// A turn in a lane, over when dropped.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// Somebody who waits for a turn or has it.
struct Place {
    lanes: Arc<Lanes>,
    key: Key,
}

impl Lanes {
    pub(super) fn new(abreast: u32, waiting_max: usize) -> Arc<Self> {
        // More than there are connections is no bound.
        let abreast = (abreast.max(1) as usize).min(Semaphore::MAX_PERMITS);
        Arc::new(Self { abreast, waiting_max, lanes: Mutex::default() })
    }

    /// Waits for a turn; `None` if too many do.
    pub(super) async fn turn(self: &Arc<Self>, key: &Key) -> Option<Turn> {
        let (place, semaphore) = self.enter(key)?;
        let permit = semaphore.acquire_owned().await.ok()?;
        Some(Turn { _permit: permit, _place: place })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn enter(self: &Arc<Self>, key: &Key) -> Option<(Place, Arc<Semaphore>)> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Lane { semaphore: Arc::new(Semaphore::new(self.abreast)), here: 0 };
        let lane = lanes.entry(key.clone()).or_insert_with(new);
        if lane.here >= self.abreast.saturating_add(self.waiting_max) {
            return None;
        }
        lane.here += 1;
        Some((Place { lanes: Arc::clone(self), key: key.clone() }, Arc::clone(&lane.semaphore)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lane) = lanes.get_mut(&self.key) else { return };
        lane.here -= 1;
        if lane.here == 0 {
            lanes.remove(&self.key);
        }
    }
}
