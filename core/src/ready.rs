//! Which of many links are ready, without polling all of them.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, PoisonError};

/// A waker per link that puts its index in a list: polling 10,000 idle links costs nothing.
///
/// ```
/// use roadbed_core::ReadySet;
/// use std::task::{Context, Poll, Waker};
/// let mut set = ReadySet::new();
/// let link = set.insert();
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(set.poll_ready(&mut cx), Poll::Ready(link)); // a new link wants its first poll
/// assert_eq!(set.poll_ready(&mut cx), Poll::Pending);
/// set.waker(link).wake_by_ref();
/// assert_eq!(set.poll_ready(&mut cx), Poll::Ready(link));
/// ```
#[derive(Debug, Default)]
pub struct ReadySet {
    shared: Arc<Shared>,
    links: Vec<Option<Arc<Link>>>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    ready: VecDeque<usize>,
    task: Option<Waker>,
}

#[derive(Debug)]
struct Link {
    index: usize,
    listed: AtomicBool,
    set: Weak<Shared>,
}

impl ReadySet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a link, ready for its first poll, and returns its index. Indices of removed links are used again.
    pub fn insert(&mut self) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        let link = Arc::new(Link { index, listed: AtomicBool::new(false), set: Arc::downgrade(&self.shared) });
        Waker::from(Arc::clone(&link)).wake();
        self.links[index] = Some(link);
        index
    }

    /// Removes a link; its waker does nothing from now on.
    pub fn remove(&mut self, index: usize) {
        if let Some(link) = self.links.get_mut(index).and_then(Option::take) {
            link.listed.store(true, Ordering::Relaxed);
            self.free.push(index);
        }
    }

    /// The waker to poll this link with. A link that is not in the set gets one that does nothing.
    pub fn waker(&self, index: usize) -> Waker {
        match self.links.get(index) {
            Some(Some(link)) => Waker::from(Arc::clone(link)),
            _ => Waker::noop().clone(),
        }
    }

    /// The next link that has been woken. Poll it with its [`waker`](Self::waker).
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut list = self.shared.lock();
        while let Some(index) = list.ready.pop_front() {
            if let Some(Some(link)) = self.links.get(index) {
                link.listed.store(false, Ordering::Release);
                return Poll::Ready(index);
            }
        }
        if !list.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            list.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(set) = self.set.upgrade() else { return };
        let task = {
            let mut list = set.lock();
            list.ready.push_back(self.index);
            list.task.take()
        };
        task.into_iter().for_each(Waker::wake);
    }
}
