//! AMQP clients: a feeder with many links, a worker that settles second, and what empties a queue.

use std::collections::BTreeMap;
use std::time::Duration;

use roadbed_conformance::simulation::Random;

use super::stream::{Fates, Found, Name, Stream, name_of, payload};
use super::tally::{Kind, Tally};
use crate::wire::{Amqp, Attach, Result, Settled, Transfer, Trouble, Value, accepted, encoded, modified, rejected};

const LIFE_MAX: u64 = 2500;
const TICK: Duration = Duration::from_millis(4);
/// How much is taken out of a queue at once.
const PAGE: u32 = 500;

/// Sends unsettled over one connection, over a link to each place.
#[derive(Debug)]
pub(crate) struct Feeder {
    pub(crate) feeds: Vec<Feed>,
    conn: Option<Amqp>,
}

/// One of its links.
#[derive(Debug)]
pub(crate) struct Feed {
    address: String,
    pub(crate) stream: Stream,
    /// What was not answered is sent again, and may be there twice.
    resends: bool,
    /// Its messages have priorities: their number modulo 10.
    priorities: bool,
    window: usize,
    link: u32,
    flight: BTreeMap<u32, u64>,
}

impl Feed {
    pub(crate) fn new(id: u32, address: &str) -> Self {
        let (address, stream, flight) = (address.into(), Stream::new(id), BTreeMap::new());
        Self { address, stream, resends: false, priorities: false, window: 32, link: 0, flight }
    }

    pub(crate) fn resends(mut self) -> Self {
        self.resends = true;
        self
    }

    pub(crate) fn priorities(mut self) -> Self {
        self.priorities = true;
        self
    }

    pub(crate) fn window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    fn put(&mut self, conn: &mut Amqp, seq: u64) {
        let priority = self.priorities.then_some((seq % 10) as u8);
        let message = encoded(&payload((self.stream.id, seq)), priority);
        self.flight.insert(conn.send(self.link, Value::Null, &message), seq);
    }
}

impl Feeder {
    pub(crate) fn new(feeds: Vec<Feed>) -> Self {
        Self { feeds, conn: None }
    }

    /// Connects, and sends again what was not answered, where that is done.
    pub(crate) fn resume(&mut self, port: u16, tally: &Tally) -> Result {
        let mut conn = Amqp::open(port, "feeder")?;
        for feed in &mut self.feeds {
            let name = format!("to-{}", feed.address);
            let attach = Attach { name: &name, address: Some(&feed.address), receives: false, second: false };
            feed.link = conn.attach(&attach)?;
            feed.flight.clear();
            let again = if feed.resends { feed.stream.unanswered() } else { Vec::new() };
            for seq in again {
                conn.wait_credit(feed.link)?;
                feed.stream.again(seq);
                feed.put(&mut conn, seq);
                conn.flush()?;
            }
        }
        self.conn = Some(conn);
        self.quiesce(tally)
    }

    /// Sends one more to the feed at `at`, and answers its name.
    pub(crate) fn barrier(&mut self, at: usize, tally: &Tally) -> Result<Name> {
        let conn = self.conn.as_mut().expect("it is connected first");
        let feed = &mut self.feeds[at];
        conn.wait_credit(feed.link)?;
        let seq = feed.stream.next();
        feed.put(conn, seq);
        let name = (feed.stream.id, seq);
        self.quiesce(tally)?;
        Ok(name)
    }

    /// Sends until the hub is gone.
    pub(crate) fn run(&mut self, tally: &Tally, mut random: Random) -> Result {
        let ends: Vec<_> = self.feeds.iter().map(|feed| feed.stream.end() + LIFE_MAX).collect();
        loop {
            let conn = self.conn.as_mut().expect("it is connected first");
            for (feed, end) in self.feeds.iter_mut().zip(&ends) {
                while feed.flight.len() < feed.window && feed.stream.end() < *end && conn.credit(feed.link) > 0 {
                    let seq = feed.stream.next();
                    feed.put(conn, seq);
                }
            }
            if random.chance(80) {
                conn.flush()?;
            }
            conn.wait(TICK)?;
            self.read(tally)?;
        }
    }

    fn quiesce(&mut self, tally: &Tally) -> Result {
        self.conn.as_mut().expect("it is connected first").flush()?;
        loop {
            self.read(tally)?;
            if self.feeds.iter().all(|feed| feed.flight.is_empty()) {
                return Ok(());
            }
            self.conn.as_mut().expect("it is connected first").must("disposition")?;
        }
    }

    fn read(&mut self, tally: &Tally) -> Result {
        let conn = self.conn.as_mut().expect("it is connected first");
        while let Some(Settled { first, last, state, .. }) = conn.outcomes.pop_front() {
            if state != "accepted" {
                return Trouble::wrong(format!("a message sent over AMQP was {state}"));
            }
            for number in first..=last {
                for feed in &mut self.feeds {
                    if let Some(seq) = feed.flight.remove(&number) {
                        feed.stream.acknowledge(seq);
                        tally.add(Kind::Amqp, 1);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Takes from a queue, and settles so that the hub confirms it.
#[derive(Debug)]
pub(crate) struct Worker {
    address: String,
    pub(crate) fates: Fates,
}

/// What a worker does to a message.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Accept,
    Fail,
    Reject,
}

impl Worker {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.into(), fates: Fates::new() }
    }

    /// Works until the hub is gone.
    pub(crate) fn run(&mut self, port: u16, tally: &Tally, mut random: Random) -> Result {
        let mut conn = Amqp::open(port, "worker")?;
        let attach = Attach { name: "work", address: Some(&self.address), receives: true, second: true };
        let link = conn.attach(&attach)?;
        conn.grant(link, 20, false)?;
        let (mut asked, mut got) = (BTreeMap::new(), 0);
        loop {
            conn.wait(TICK)?;
            while let Some(transfer) = conn.transfers.pop_front() {
                got += 1;
                let name = whole(&self.address, &transfer)?;
                let deed = match random.below(10) {
                    0 => Deed::Fail,
                    1 => Deed::Reject,
                    _ => Deed::Accept,
                };
                self.ask(name, deed);
                asked.insert(transfer.number, (name, deed));
                conn.dispose(transfer.number, transfer.number, false, deed.state());
            }
            while let Some(settled) = conn.settled.pop_front() {
                for number in settled.first..=settled.last {
                    if let Some((name, deed)) = asked.remove(&number) {
                        self.confirm(name, deed);
                        tally.add(Kind::Settled, 1);
                    }
                }
            }
            if got >= 10 {
                got = 0;
                conn.grant(link, 20, false)?;
            }
            if random.chance(80) {
                conn.flush()?;
            }
        }
    }

    fn ask(&mut self, name: Name, deed: Deed) {
        let fate = self.fates.entry(name).or_default();
        match deed {
            Deed::Accept => fate.may_be_gone = true,
            Deed::Reject => fate.may_be_dead = true,
            Deed::Fail => fate.failed.1 += 1,
        }
    }

    fn confirm(&mut self, name: Name, deed: Deed) {
        let fate = self.fates.entry(name).or_default();
        match deed {
            Deed::Accept => fate.gone = true,
            Deed::Reject => fate.dead = true,
            Deed::Fail => fate.failed.0 += 1,
        }
    }
}

impl Deed {
    fn state(self) -> Value {
        match self {
            Self::Accept => accepted(),
            Self::Fail => modified(),
            Self::Reject => rejected(),
        }
    }
}

/// The message that a transfer brings.
pub(crate) fn whole(place: &str, transfer: &Transfer) -> Result<Name> {
    let told = || format!("{place}: a payload that nobody sent: {}", String::from_utf8_lossy(&transfer.payload));
    name_of(&transfer.payload).ok_or_else(|| Trouble::Wrong(told()))
}

/// Takes all that is in a queue, and settles it.
pub(crate) fn drain(conn: &mut Amqp, address: &str) -> Result<Vec<Found>> {
    let name = format!("empty-{address}-{}", conn.links());
    let link = conn.attach(&Attach { name: &name, address: Some(address), receives: true, second: true })?;
    let mut found = Vec::new();
    loop {
        let before = found.len();
        let mut range: Option<(u32, u32)> = None;
        conn.grant(link, PAGE, true)?;
        loop {
            while let Some(transfer) = conn.transfers.pop_front() {
                found.push(Found { name: whole(address, &transfer)?, count: transfer.count });
                range = Some((range.map_or(transfer.number, |(first, _)| first), transfer.number));
            }
            if conn.is_drained(link) {
                break;
            }
            conn.must("end of a drain")?;
        }
        let Some((first, last)) = range else { return Ok(found) };
        conn.dispose(first, last, false, accepted());
        conn.flush()?;
        let mut left = found.len() - before;
        while left > 0 {
            while let Some(settled) = conn.settled.pop_front() {
                left = left.saturating_sub((settled.last - settled.first + 1) as usize);
            }
            if left > 0 {
                conn.must("confirmed settlement")?;
            }
        }
    }
}
