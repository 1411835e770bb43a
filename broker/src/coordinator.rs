//! One transaction over several endpoints: prepare all, write the decision down, resolve all.

mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
#[cfg(feature = "tokio")]
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{Error, ErrorKind, Gid, Participant, Result, Transaction};

use self::log::Log;
use crate::lock;
use crate::session::committed;
use crate::store::{Store, StoreError};

/// Commits transactions over several endpoints, all or none, also over a crash: two-phase commit with presumed abort.
///
/// Each branch is prepared under one global name; then the decision to commit is written into the coordinator's own store; then
/// every branch is committed, and the decision is forgotten. What is prepared and has no decision is rolled back.
/// An endpoint without a prepared state ([`Transactions::Local`](roadbed_core::Transactions::Local), such as a server of AMQP 1.0 or HTTP) can only be
/// [`last`](Branches::last).
///
/// *Recovery*: [`recover`](Self::recover) after a start, and whenever a participant comes back; [`run`](Self::run) does so by itself.
#[derive(Debug)]
pub struct Coordinator {
    name: ByteString,
    epoch: u32,
    participants: BTreeMap<ByteString, Arc<dyn Resolving>>,
    log: Log,
    state: Mutex<State>,
}

/// What takes part under a name, for the coordinator's own eyes.
trait Resolving: Participant + fmt::Debug {}
impl<P: Participant + fmt::Debug> Resolving for P {}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Transactions that are being prepared in this process.
    active: BTreeSet<Gid>,
    /// Decisions to commit, and who has not carried them out.
    decided: BTreeMap<Gid, BTreeSet<ByteString>>,
    /// Transactions whose last branch was asked, and has not answered.
    unknown: BTreeMap<Gid, BTreeSet<ByteString>>,
}

/// A coordinator in the making.
#[derive(Debug)]
#[must_use]
pub struct CoordinatorBuilder {
    name: ByteString,
    participants: BTreeMap<ByteString, Arc<dyn Resolving>>,
}

/// The branches of one transaction.
#[derive(Default)]
#[must_use]
pub struct Branches {
    prepared: Vec<(ByteString, Box<dyn Transaction>)>,
    last: Option<Box<dyn Transaction>>,
}

/// A transaction that is not at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Its name over all participants.
    pub gid: Gid,
    /// Who has yet to carry the decision out.
    pub participants: Vec<ByteString>,
    /// Whether it is decided: to be committed. Otherwise its last branch was asked to commit, and its answer is lost:
    /// see [`Coordinator::decide`].
    pub decided: bool,
}

impl Branches {
    /// No branch yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the branch at `participant`, the name that the coordinator knows it by.
    pub fn branch(mut self, participant: impl Into<ByteString>, transaction: Box<dyn Transaction>) -> Self {
        self.prepared.push((participant.into(), transaction));
        self
    }

    /// Adds the one branch that cannot be prepared. It is committed when all others are prepared, and its answer is the
    /// decision. If that answer is lost, with its connection or in a crash, nobody knows: the transaction is in doubt until
    /// somebody [decides](Coordinator::decide).
    pub fn last(mut self, transaction: Box<dyn Transaction>) -> Self {
        self.last = Some(transaction);
        self
    }
}

impl fmt::Debug for Branches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.prepared.iter().map(|(name, _)| name);
        f.debug_struct("Branches")
            .field("prepared", &names.collect::<Vec<_>>())
            .field("last", &self.last.is_some())
            .finish()
    }
}

impl CoordinatorBuilder {
    /// Adds an endpoint that can promise to commit, under a name that stays the same.
    pub fn participant(
        mut self,
        name: impl Into<ByteString>,
        participant: Arc<impl Participant + fmt::Debug + 'static>,
    ) -> Self {
        self.participants.insert(name.into(), participant);
        self
    }

    /// Opens the store of decisions, which is the coordinator's own.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] if the store cannot be read or written; [`ErrorKind::Invalid`] if the name is too long.
    pub async fn open(self, store: impl Store + 'static) -> Result<Coordinator> {
        let Self { name, participants } = self;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "open").detail("a coordinator's name has 1 to 32 bytes"));
        }
        let (log, kept) = Log::open(store)?;
        let epoch = kept.epoch + 1;
        committed(log.begin(epoch).await)?;
        let (decided, unknown) = (kept.decided, kept.asked);
        let state = Mutex::new(State { decided, unknown, ..State::default() });
        Ok(Coordinator { name, epoch, participants, log, state })
    }
}

impl Coordinator {
    /// Starts a coordinator. No other may have its name at the same participants.
    pub fn builder(name: impl Into<ByteString>) -> CoordinatorBuilder {
        CoordinatorBuilder { name: name.into(), participants: BTreeMap::new() }
    }

    /// Commits all branches, or none. Resolves when the decision is stored and every participant that is there has carried it
    /// out; one that is gone does so later: see [`in_doubt`](Self::in_doubt).
    ///
    /// *Cancel safety*: dropped before the decision, all is rolled back at the next [`recover`](Self::recover); dropped after it,
    /// all is committed then.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`] if it was rolled back; [`ErrorKind::Invalid`] for a participant that is not known or named twice;
    /// [`ErrorKind::Disconnected`] if the answer of the last branch is lost.
    pub async fn commit(&self, branches: Branches) -> Result<()> {
        let Branches { mut prepared, last } = branches;
        let names = self.check(&prepared)?;
        let gid = self.begin();
        let _active = Active { coordinator: self, gid: gid.clone() };
        for (_, transaction) in &mut prepared {
            if let Err(error) = transaction.prepare(gid.clone()).await {
                self.give_up(&gid, &names).await;
                let words = "a participant could not promise to commit";
                return Err(Error::new(ErrorKind::RolledBack, "commit").detail(words).because(error));
            }
        }
        if let Some(last) = last {
            self.ask(&gid, &names, last).await?;
        }
        if let Err(error) = self.log.decide(&gid, &names).await {
            return self.undecided(&gid, names, error).await;
        }
        {
            let mut state = lock(&self.state);
            state.unknown.remove(&gid);
            state.decided.insert(gid.clone(), names);
        }
        self.carry_out(&gid).await;
        Ok(())
    }

    /// Brings everything to its end that a crash, or a participant that was gone, has left: prepared branches without a decision are
    /// rolled back, decided ones are committed. Resolves to how many transactions are still in doubt.
    pub async fn recover(&self) -> usize {
        let decided: Vec<Gid> = lock(&self.state).decided.keys().cloned().collect();
        for gid in decided {
            self.carry_out(&gid).await;
        }
        for participant in self.participants.values() {
            let Ok(prepared) = participant.recover().await else { continue };
            for gid in prepared.into_iter().filter(|gid| self.is_abandoned(gid)) {
                // A participant that is gone is asked again.
                let _ = participant.resolve(gid, false).await;
            }
        }
        self.in_doubt().len()
    }

    /// Recovers, and goes on doing so as long as something is in doubt, with growing pauses of up to a minute; without an end.
    #[cfg(feature = "tokio")]
    pub async fn run(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            pause = if self.recover().await == 0 { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Transactions that are decided and not carried out everywhere, and those whose last branch has not answered.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        let state = lock(&self.state);
        let listed = |decided| {
            move |(gid, left): (&Gid, &BTreeSet<ByteString>)| InDoubt {
                gid: gid.clone(),
                participants: left.iter().cloned().collect(),
                decided,
            }
        };
        state.decided.iter().map(listed(true)).chain(state.unknown.iter().map(listed(false))).collect()
    }

    /// Says what the last branch, whose answer is lost, has done: somebody has looked there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction waits for it; [`ErrorKind::Failed`] if the store fails.
    pub async fn decide(&self, gid: &Gid, commit: bool) -> Result<()> {
        let names = lock(&self.state).unknown.get(gid).cloned();
        let names = names.ok_or_else(|| Error::new(ErrorKind::NotFound, "decide"))?;
        match commit {
            true => committed(self.log.decide(gid, &names).await)?,
            false => committed(self.log.forget(gid).await)?,
        }
        {
            let mut state = lock(&self.state);
            state.unknown.remove(gid);
            if commit {
                state.decided.insert(gid.clone(), names.clone());
            }
        }
        match commit {
            true => self.carry_out(gid).await,
            false => self.give_up(gid, &names).await,
        }
        Ok(())
    }

    fn check(&self, branches: &[(ByteString, Box<dyn Transaction>)]) -> Result<BTreeSet<ByteString>> {
        let mut names = BTreeSet::new();
        for (name, _) in branches {
            let invalid = |words: String| Err(Error::new(ErrorKind::Invalid, "commit").detail(words));
            if !self.participants.contains_key(name) {
                return invalid(format!("{name} is no participant: one that cannot be prepared can only be the last"));
            }
            if !names.insert(name.clone()) {
                return invalid(format!("{name} has two branches: put both into one transaction of it"));
            }
        }
        Ok(names)
    }

    fn begin(&self) -> Gid {
        let mut state = lock(&self.state);
        state.next += 1;
        let gid = Gid(Bytes::from(format!("{}/{:x}/{:x}", self.name, self.epoch, state.next)));
        state.active.insert(gid.clone());
        gid
    }

    /// The decision could not be written. What a broken store has of it is known when it is opened again: until then nothing is done.
    async fn undecided(&self, gid: &Gid, names: BTreeSet<ByteString>, error: StoreError) -> Result<()> {
        let asked = lock(&self.state).unknown.contains_key(gid);
        if asked || matches!(error, StoreError::Failed(_)) {
            lock(&self.state).unknown.insert(gid.clone(), names);
            return committed(Err(error));
        }
        self.give_up(gid, &names).await;
        let words = "the decision could not be written";
        Err(Error::new(ErrorKind::RolledBack, "commit").detail(words).because(error))
    }

    /// Has the last branch decide.
    async fn ask(&self, gid: &Gid, names: &BTreeSet<ByteString>, last: Box<dyn Transaction>) -> Result<()> {
        if let Err(error) = self.log.ask(gid, names).await {
            self.give_up(gid, names).await;
            return committed(Err(error));
        }
        lock(&self.state).unknown.insert(gid.clone(), names.clone());
        let Err(error) = last.commit().await else { return Ok(()) };
        if !matches!(error.kind(), ErrorKind::RolledBack | ErrorKind::NotFound | ErrorKind::Conflict) {
            return Err(error);
        }
        lock(&self.state).unknown.remove(gid);
        // If that is lost, somebody is asked to decide what is rolled back already.
        let _ = self.log.forget(gid).await;
        self.give_up(gid, names).await;
        Err(Error::new(ErrorKind::RolledBack, "commit").detail("the last participant has rolled back").because(error))
    }

    /// Rolls back what was prepared; whoever is gone is asked again by [`recover`](Self::recover).
    async fn give_up(&self, gid: &Gid, names: &BTreeSet<ByteString>) {
        for participant in names.iter().filter_map(|name| self.participants.get(name)) {
            let _ = participant.resolve(gid.clone(), false).await;
        }
    }

    /// Commits a decided transaction wherever it is not yet, and forgets it when it is everywhere.
    async fn carry_out(&self, gid: &Gid) {
        let names = lock(&self.state).decided.get(gid).cloned().unwrap_or_default();
        for name in names {
            let Some(participant) = self.participants.get(&name) else { continue };
            if participant.resolve(gid.clone(), true).await.is_ok()
                && let Some(left) = lock(&self.state).decided.get_mut(gid)
            {
                left.remove(&name);
            }
        }
        let done = lock(&self.state).decided.get(gid).is_some_and(BTreeSet::is_empty);
        if done && self.log.forget(gid).await.is_ok() {
            lock(&self.state).decided.remove(gid);
        }
    }

    /// Whether a prepared branch is this coordinator's, and nothing here will ever commit it.
    fn is_abandoned(&self, gid: &Gid) -> bool {
        let own = gid.0[..].strip_prefix(&self.name.as_bytes()[..]).is_some_and(|rest| rest.starts_with(b"/"));
        let state = lock(&self.state);
        own && !state.active.contains(gid) && !state.decided.contains_key(gid) && !state.unknown.contains_key(gid)
    }
}

/// A transaction that is being prepared, until it is not.
struct Active<'a> {
    coordinator: &'a Coordinator,
    gid: Gid,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        lock(&self.coordinator.state).active.remove(&self.gid);
    }
}

/// So that a global name stays below 64 bytes.
const NAME_BYTES_MAX: usize = 32;
#[cfg(feature = "tokio")]
const PAUSE_MIN: Duration = Duration::from_secs(1);
#[cfg(feature = "tokio")]
const PAUSE_MAX: Duration = Duration::from_secs(60);
