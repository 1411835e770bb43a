//! The decisions of a coordinator, in a store of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use bytestring::ByteString;
use roadbed_core::{Error, ErrorKind, Gid, Result};

use crate::store::{Op, Row, RowKey, Store, StoreError, Unit, UnitId};
use crate::{lock, wakers};

pub(super) struct Log {
    inner: Mutex<Inner>,
    wakers: Arc<Wakers>,
}

struct Inner {
    store: Box<dyn Store>,
    next: UnitId,
    answers: BTreeMap<UnitId, Result<(), StoreError>>,
}

/// What an earlier coordinator of this store has left.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) epoch: u32,
    pub(super) decided: BTreeMap<Gid, BTreeSet<ByteString>>,
    pub(super) asked: BTreeMap<Gid, BTreeSet<ByteString>>,
}

impl Log {
    pub(super) fn open(mut store: impl Store + 'static) -> Result<(Self, Kept)> {
        let failed = |error| Error::new(ErrorKind::Failed, "open the store of decisions").because(error);
        let mut kept = Kept::default();
        for (key, row) in store.recover().map_err(failed)?.rows {
            match (key, row) {
                (RowKey::Coordinator, Row::Coordinator { epoch }) => kept.epoch = epoch,
                (RowKey::Decision(gid), Row::Decision { participants, commit }) => {
                    let into = if commit { &mut kept.decided } else { &mut kept.asked };
                    into.insert(gid, participants.into_iter().collect());
                }
                _ => {}
            }
        }
        let inner = Inner { store: Box::new(store), next: 1, answers: BTreeMap::new() };
        Ok((Self { inner: Mutex::new(inner), wakers: Arc::default() }, kept))
    }

    /// Global names of this start are not those of an earlier one.
    pub(super) async fn begin(&self, epoch: u32) -> Result<(), StoreError> {
        self.write(Op::Put(RowKey::Coordinator, Row::Coordinator { epoch })).await
    }

    /// The transaction is committed, whatever happens.
    pub(super) async fn decide(&self, gid: &Gid, participants: &BTreeSet<ByteString>) -> Result<(), StoreError> {
        self.put(gid, participants, true).await
    }

    /// Whoever cannot be prepared is about to be asked.
    pub(super) async fn ask(&self, gid: &Gid, participants: &BTreeSet<ByteString>) -> Result<(), StoreError> {
        self.put(gid, participants, false).await
    }

    pub(super) async fn forget(&self, gid: &Gid) -> Result<(), StoreError> {
        self.write(Op::Delete(RowKey::Decision(gid.clone()))).await
    }

    async fn put(&self, gid: &Gid, participants: &BTreeSet<ByteString>, commit: bool) -> Result<(), StoreError> {
        let participants = participants.iter().cloned().collect();
        self.write(Op::Put(RowKey::Decision(gid.clone()), Row::Decision { participants, commit })).await
    }

    async fn write(&self, op: Op) -> Result<(), StoreError> {
        let id = self.lock().submit(op);
        poll_fn(|cx| {
            self.wakers.add(cx.waker());
            let (waker, mut inner) = (Waker::from(Arc::clone(&self.wakers)), self.lock());
            let came = inner.look(&mut Context::from_waker(&waker));
            let answer = inner.answers.remove(&id);
            drop(inner);
            if came {
                // Those of others may be among them.
                waker.wake();
            }
            answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn submit(&mut self, op: Op) -> UnitId {
        let id = self.next;
        self.next += 1;
        self.store.submit(&mut vec![Unit { ops: vec![op], ..Unit::new(id) }]);
        id
    }

    /// Takes the answers that have come. Whether some have.
    fn look(&mut self, cx: &mut Context<'_>) -> bool {
        let mut answers = Vec::new();
        while let Poll::Ready(1..) = self.store.poll_commits(cx, &mut answers) {}
        let came = !answers.is_empty();
        self.answers.extend(answers);
        came
    }
}

/// Everybody who waits for an answer.
#[derive(Default)]
struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    fn add(&self, waker: &Waker) {
        wakers::join(&mut lock(&self.0), waker);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *lock(&self.0));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}
