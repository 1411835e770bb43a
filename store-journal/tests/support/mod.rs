//! A store under test, beside a plain map that is told the same.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use roadbed_broker::{
    Facts, Holder, ListedCopy, LogEntry, LogRead, MemoryStore, NewCopy, Op, Prepared, PreparedPost, ReadFrom, Recovery,
    Row, RowKey, Store, StoreError, StoredCopy, Unit, UnitId,
};
use roadbed_core::{CopyId, DeliveryId, Durability, Fence, Gid, Key, Message, Outcome, Payload, Qos, QueueId, Time};
use roadbed_store_journal::fs::Fs;
use roadbed_store_journal::{JournalConfig, JournalStore};

/// A small generator, so that a seed says everything.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

pub fn config() -> JournalConfig {
    JournalConfig::default().segment_bytes(16 << 10).garbage_bytes(32 << 10).free_min(0, 0)
}

pub fn open(fs: &impl CloneFs) -> JournalStore {
    JournalStore::open_on(fs.shared(), config()).expect("the journal opens")
}

/// A file system that can be shared.
pub trait CloneFs {
    fn shared(&self) -> Arc<dyn Fs>;
}

impl<F: Fs + Clone + 'static> CloneFs for F {
    fn shared(&self) -> Arc<dyn Fs> {
        Arc::new(self.clone())
    }
}

/// Submits, and waits for the answers.
pub fn commit(store: &mut dyn Store, units: Vec<Unit>) -> Vec<(UnitId, Result<(), StoreError>)> {
    let wanted = units.len();
    let mut units = units;
    store.submit(&mut units);
    wait(store, wanted)
}

pub fn wait(store: &mut dyn Store, wanted: usize) -> Vec<(UnitId, Result<(), StoreError>)> {
    let mut answers = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while answers.len() < wanted {
        assert!(Instant::now() < until, "no answer within a minute");
        if store.poll_commits(&mut Context::from_waker(Waker::noop()), &mut answers).is_pending() {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    answers
}

/// Units as a broker would make them, at random.
#[derive(Clone, Debug)]
pub struct Load {
    pub random: Random,
    next_unit: UnitId,
    seqs: [u64; 4],
    live: Vec<CopyId>,
    appended: u64,
    bytes_max: u64,
}

/// The partitions of logs.
pub const LOGS: [QueueId; 3] = [QueueId(20), QueueId(21), QueueId(22)];

impl Load {
    pub fn new(seed: u64, bytes_max: u64) -> Self {
        Self { random: Random::new(seed), next_unit: 1, seqs: [0; 4], live: Vec::new(), appended: 0, bytes_max }
    }

    pub fn unit(&mut self) -> Unit {
        let count = 1 + self.random.below(3);
        let ops = (0..count).map(|_| self.op()).collect();
        let id = self.next_unit;
        self.next_unit += 1;
        Unit { ops, ..Unit::new(id) }
    }

    fn op(&mut self) -> Op {
        match self.random.below(100) {
            0..25 => self.enqueue(),
            25..40 => self.append(),
            40..70 => match self.take() {
                Some(copy) => Op::Retire { copy },
                None => self.enqueue(),
            },
            70..74 => self.any().map_or_else(
                || self.row(),
                |copy| {
                    let of = |text: &str| text.into();
                    let link = || Holder::Link { principal: of("alice"), session: of("s"), link: of("l") };
                    let (lease, epoch) = (Duration::from_millis(copy.seq), 3);
                    let lease = || Holder::Lease {
                        principal: of("bob"),
                        link: (copy.seq % 4 == 1).then(|| of("l")),
                        epoch,
                        lease,
                    };
                    let holder = match copy.seq % 3 {
                        0 => None,
                        1 => Some(link()),
                        _ => Some(lease()),
                    };
                    Op::Hold { copy, attempt: 1, slot: 7, holder }
                },
            ),
            74..78 => {
                let outcome = Outcome::rejected(roadbed_core::Condition::Refused);
                self.any().map_or_else(|| self.row(), |copy| Op::Own { copy, slot: 3, outcome })
            }
            78..82 => {
                let excluded = vec!["link".into()];
                self.any().map_or_else(|| self.row(), |copy| Op::Return { copy, count: 2, attempt: 5, excluded })
            }
            82 => {
                let queue = QueueId(self.random.below(3) as u32);
                let (first, last) = (self.random.below(self.seqs[queue.0 as usize] + 1), self.seqs[queue.0 as usize]);
                let last = first + self.random.below(last - first + 1).min(40);
                self.live.retain(|copy| copy.queue != queue || !(first..=last).contains(&copy.seq));
                Op::RetireRun { queue, first, last }
            }
            83 => {
                let queue = QueueId(self.random.below(4) as u32);
                self.live.retain(|copy| copy.queue != queue);
                Op::RetireQueue { queue }
            }
            84 => self.log(),
            85 => Op::Prepare(self.gid(), self.prepared()),
            86 => Op::Resolve(self.gid()),
            87..90 => Op::Delete(self.key()),
            _ => self.row(),
        }
    }

    fn append(&mut self) -> Op {
        let count = 1 + self.random.below(2);
        let partitions: Vec<_> = (0..count).map(|n| LOGS[(n + self.random.below(2)) as usize]).collect();
        self.appended += 1;
        // Times grow, and now and then stay.
        Op::Append { message: self.message(), at: Time::from_millis(self.appended / 3), partitions }
    }

    fn log(&mut self) -> Op {
        let partition = LOGS[self.random.below(3) as usize];
        match self.random.below(20) {
            0 => Op::DropLog { partition },
            _ => Op::TrimLog { partition, before: self.random.below(self.appended + 1) },
        }
    }

    fn enqueue(&mut self) -> Op {
        let copies = 1 + self.random.below(3) as usize;
        let copies: Vec<_> = (0..copies)
            .map(|queue| {
                self.seqs[queue] += 1;
                let copy = CopyId { queue: QueueId(queue as u32), seq: self.seqs[queue] };
                self.live.push(copy);
                let bindings = if self.random.below(4) == 0 { vec![1, 700] } else { Vec::new() };
                NewCopy { copy, qos: Qos::AtLeastOnce, retained: self.random.below(5) == 0, bindings }
            })
            .collect();
        Op::Enqueue { message: self.message(), at: Time::from_millis(self.random.below(1 << 40)), copies }
    }

    pub fn message(&mut self) -> Message {
        let len = self.random.below(self.bytes_max) as usize;
        let payload: Vec<u8> = (0..len).map(|at| (at as u64 ^ self.random.0) as u8).collect();
        let mut message = Message::builder("plant/7/temp".parse().expect("an address"), Payload::from(payload))
            .durability(Durability::Stored)
            .priority(self.random.below(10) as u8);
        if self.random.below(3) == 0 {
            message = message.property("unit", "celsius").property("unit", 7_u64).expires_at(Time::from_millis(9));
        }
        message.build()
    }

    fn row(&mut self) -> Op {
        let row = match self.random.below(5) {
            4 => Row::Tombstone { outcome: Outcome::Released, until: Time::from_millis(self.random.below(1 << 40)) },
            2 => Row::Coordinator { epoch: 7 },
            3 => Row::Decision { participants: vec!["one".into(), "two".into()], commit: self.random.below(2) == 0 },
            0 => Row::Retained(self.message(), Qos::ExactlyOnce),
            _ => Row::Key { outcome: Outcome::Accepted, order: self.random.below(99), until: Some(Time::MAX) },
        };
        Op::Put(self.key(), row)
    }

    fn key(&mut self) -> RowKey {
        let n = self.random.below(14);
        match n {
            12.. => {
                let copy = CopyId { queue: QueueId(1), seq: n };
                RowKey::Tombstone(DeliveryId { copy, fence: Fence { epoch: 1, attempt: 2 } })
            }
            0..4 => RowKey::Retained(format!("last/{n}").parse().expect("an address")),
            4..8 => RowKey::SessionKey("alice".into(), "s".into(), Key::Number(n as u32)),
            _ => RowKey::Name("bob".into(), n.to_string().into()),
        }
    }

    fn gid(&mut self) -> Gid {
        Gid(format!("g{}", self.random.below(4)).into())
    }

    fn prepared(&mut self) -> Prepared {
        let mut prepared = Prepared::default();
        let key = Some(self.key()).filter(|_| self.random.below(2) == 0);
        prepared.posts.push(PreparedPost { message: self.message(), qos: Qos::AtLeastOnce, key });
        prepared.retires.extend(self.any().map(|copy| (copy, Outcome::Accepted)));
        prepared
    }

    fn any(&mut self) -> Option<CopyId> {
        let at = self.random.below(self.live.len().max(1) as u64) as usize;
        self.live.get(at).copied()
    }

    fn take(&mut self) -> Option<CopyId> {
        // Nearly always the oldest: queues are queues.
        let at = if self.random.below(4) == 0 { self.random.below(self.live.len().max(1) as u64) as usize } else { 0 };
        (at < self.live.len()).then(|| self.live.remove(at))
    }
}

/// Everything that a store has kept, in words that can be compared: as a broker learns it that starts, and that reads all there is.
pub fn told(store: &mut dyn Store) -> Result<Vec<String>, StoreError> {
    let recovery = store.recover()?;
    let mut copies = Vec::new();
    for queue in &recovery.queues {
        copies.extend(paged(store, *queue)?);
    }
    let mut told = in_words(&recovery, &copies);
    for partition in LOGS {
        let state = store.log_state(partition);
        told.push(format!("{partition:?} from {} to {}, {:?}", state.first, state.next, state.last_at));
        let entries = log(store, partition, 7)?;
        let entry = |entry: &LogEntry| format!("{} {:?} {}", entry.position, entry.at, message_told(&entry.message));
        told.extend(entries.iter().map(entry));
        if let Some(middle) = entries.get(entries.len() / 2) {
            let read = page(store, partition, ReadFrom::Time(middle.at), 1)?;
            let first = entries.iter().find(|entry| entry.at >= middle.at).map(|entry| entry.position);
            assert_eq!(read.first().map(|entry| entry.position), first, "by time");
        }
    }
    Ok(told)
}

/// All messages of a partition, some at a time.
pub fn log(store: &mut dyn Store, partition: QueueId, messages_max: usize) -> Result<Vec<LogEntry>, StoreError> {
    let (mut from, mut entries) = (0, Vec::new());
    loop {
        let read = page(store, partition, ReadFrom::Position(from), messages_max)?;
        let Some(last) = read.last() else { return Ok(entries) };
        from = last.position + 1;
        entries.extend(read);
    }
}

/// Asks for messages of a partition, and waits for the answer.
pub fn page(
    store: &mut dyn Store,
    partition: QueueId,
    from: ReadFrom,
    messages_max: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let (until, mut pages) = (Instant::now() + Duration::from_secs(60), Vec::new());
    store.read_log(LogRead { id: 7, partition, from, messages_max, bytes_max: 64 << 10 });
    while pages.is_empty() {
        store.poll_pages(&mut pages);
        assert!(Instant::now() < until, "no answer within a minute");
        std::thread::sleep(Duration::from_micros(if pages.is_empty() { 20 } else { 0 }));
    }
    pages.remove(0).entries
}

/// The copies of a queue, listed and read a few at a time.
fn paged(store: &mut dyn Store, queue: QueueId) -> Result<Vec<StoredCopy>, StoreError> {
    let (mut after, mut copies) = (0, Vec::new());
    loop {
        let listed = store.list(queue, after, 7)?;
        let Some(last) = listed.last() else { return Ok(copies) };
        after = last.copy.copy.seq;
        let read = read(store, listed.iter().map(|listed| listed.copy.copy).collect())?;
        let facts = |copy: &StoredCopy| ListedCopy {
            copy: copy.copy.clone(),
            facts: Facts::of(&copy.message),
            at: copy.at,
            count: copy.count,
            attempt: copy.attempt,
            excluded: copy.excluded.clone(),
            held: copy.held.clone(),
        };
        assert_eq!(listed, read.iter().map(facts).collect::<Vec<_>>(), "what is listed is what is read");
        copies.extend(read);
    }
}

/// Asks for copies, and waits for the answer.
pub fn read(store: &mut dyn Store, copies: Vec<CopyId>) -> Result<Vec<StoredCopy>, StoreError> {
    let (until, mut answers) = (Instant::now() + Duration::from_secs(60), Vec::new());
    store.read(7, copies);
    while store.poll_reads(&mut Context::from_waker(Waker::noop()), &mut answers).is_pending() {
        assert!(Instant::now() < until, "no answer within a minute");
        std::thread::sleep(Duration::from_micros(50));
    }
    answers.remove(0).1
}

fn in_words(recovery: &Recovery, copies: &[StoredCopy]) -> Vec<String> {
    let mut told: Vec<_> = recovery.rows.iter().map(|(key, row)| format!("{key:?} = {}", row_told(row))).collect();
    told.extend(copies.iter().map(copy_told));
    told.extend(recovery.prepared.iter().map(|(gid, prepared)| {
        let posts: Vec<_> =
            prepared.posts.iter().map(|post| (message_told(&post.message), post.qos, &post.key)).collect();
        format!("{gid:?} = {posts:?} {:?}", prepared.retires)
    }));
    told
}

fn row_told(row: &Row) -> String {
    match row {
        Row::Retained(message, qos) => format!("{} {qos:?}", message_told(message)),
        other => format!("{other:?}"),
    }
}

fn copy_told(stored: &StoredCopy) -> String {
    let StoredCopy { copy, message, at, count, attempt, excluded, held } = stored;
    format!("{copy:?} {} {at:?} {count} {attempt} {excluded:?} {held:?}", message_told(message))
}

pub fn message_told(message: &Message) -> String {
    let payload = message.payload().to_bytes();
    let sum = crc32c::crc32c(&payload);
    format!(
        "{} {sum:x} {:?} {} {:?} {} {} {:?}",
        message.address().as_str(),
        message.durability(),
        message.priority(),
        message.expires_at(),
        message.retain(),
        message.live(),
        message.details(),
    )
}

/// The states after `from` units, after one more, and so on to the end.
pub fn states(units: &[Unit], from: usize) -> Vec<Vec<String>> {
    let mut model = MemoryStore::new();
    assert!(commit(&mut model, units[..from].to_vec()).iter().all(|(_, answer)| answer.is_ok()));
    let mut states = vec![told(&mut model).expect("a model")];
    for unit in &units[from..] {
        assert!(commit(&mut model, vec![unit.clone()]).iter().all(|(_, answer)| answer.is_ok()));
        states.push(told(&mut model).expect("a model"));
    }
    states
}
