//! HTTP clients: posts under idempotency keys, batches, a worker with locks, and what empties a queue.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadbed_conformance::simulation::Random;
use serde_json::{Value, json};

use super::stream::{Fates, Found, Name, Stream, name_of, payload};
use super::tally::{Kind, Tally};
use crate::wire::{Answer, Http, Request, Result, Trouble};

const LIFE_MAX: u64 = 2500;

/// Posts to one address, each message or batch under a key of its own: what was not answered is sent again, and is there once.
#[derive(Debug)]
pub(crate) struct Poster {
    address: String,
    pub(crate) stream: Stream,
    /// Messages in a request.
    batch: u64,
    /// Requests that are under way at once.
    depth: usize,
    /// Requests that are not answered: their first message, and how many.
    flight: VecDeque<(u64, u64)>,
    conn: Option<Http>,
}

impl Poster {
    pub(crate) fn new(id: u32, address: &str, batch: u64) -> Self {
        let depth = if batch > 1 { 2 } else { 8 };
        Self { address: address.into(), stream: Stream::new(id), batch, depth, flight: VecDeque::new(), conn: None }
    }

    pub(crate) fn resume(&mut self, port: u16, tally: &Tally) -> Result {
        let mut conn = Http::open(port)?;
        self.flight.iter().for_each(|(first, count)| self.put(&mut conn, *first, *count));
        conn.flush()?;
        self.conn = Some(conn);
        self.quiesce(tally)
    }

    pub(crate) fn barrier(&mut self, tally: &Tally) -> Result<Name> {
        self.send(1)?;
        self.quiesce(tally)?;
        Ok((self.stream.id, self.stream.end() - 1))
    }

    pub(crate) fn run(&mut self, tally: &Tally, _random: Random) -> Result {
        let end = self.stream.end() + LIFE_MAX;
        loop {
            while self.flight.len() < self.depth && self.stream.end() < end {
                self.send(self.batch)?;
            }
            self.read(tally)?;
        }
    }

    fn quiesce(&mut self, tally: &Tally) -> Result {
        while !self.flight.is_empty() {
            self.read(tally)?;
        }
        Ok(())
    }

    fn send(&mut self, count: u64) -> Result {
        let first = self.stream.end();
        (0..count).for_each(|_| {
            self.stream.next();
        });
        self.flight.push_back((first, count));
        let mut conn = self.conn.take().expect("it is connected first");
        self.put(&mut conn, first, count);
        let flushed = conn.flush();
        self.conn = Some(conn);
        flushed
    }

    fn put(&self, conn: &mut Http, first: u64, count: u64) {
        let path = format!("/v1/messages/{}", self.address);
        let key = ("idempotency-key", format!("{}-{first}", self.stream.id));
        let kind = |kind: &str| ("content-type", kind.to_owned());
        if self.batch == 1 {
            let (body, qos) = (payload((self.stream.id, first)), ("roadbed-qos", "2".to_owned()));
            let headers = vec![key, qos, kind("text/plain")];
            return conn.put(&Request { method: "POST", path: &path, headers, body: &body });
        }
        let events: Vec<_> = (first..first + count).map(|seq| event((self.stream.id, seq))).collect();
        let body = Value::from(events).to_string();
        let headers = vec![key, kind("application/cloudevents-batch+json")];
        conn.put(&Request { method: "POST", path: &path, headers, body: body.as_bytes() });
    }

    fn read(&mut self, tally: &Tally) -> Result {
        let Some((first, count)) = self.flight.front().copied() else {
            // Nothing more to send in this life: the hub's end is waited for.
            std::thread::sleep(Duration::from_millis(2));
            return Ok(());
        };
        let answer = self.conn.as_mut().expect("it is connected first").answer()?;
        if answer.status != 202 {
            return refused(&self.address, &answer);
        }
        self.flight.pop_front();
        (first..first + count).for_each(|seq| self.stream.acknowledge(seq));
        tally.add(Kind::Http, count);
        Ok(())
    }
}

fn event(name: Name) -> Value {
    let id = format!("{}-{}", name.0, name.1);
    let data = STANDARD.encode(payload(name));
    json!({ "specversion": "1.0", "id": id, "source": "/torture", "type": "torture", "data_base64": data })
}

pub(super) fn refused<T>(what: &str, answer: &Answer) -> Result<T> {
    Trouble::wrong(format!("{what}: HTTP {} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

/// Declares a queue.
pub(crate) fn declare(port: u16, name: &str, settings: &Value) -> Result {
    let mut conn = Http::open(port)?;
    let path = format!("/v1/queues/{name}");
    let body = json!({ "queue": settings }).to_string();
    let answer = conn.ask(&Request { method: "PUT", path: &path, headers: Vec::new(), body: body.as_bytes() })?;
    if answer.status < 300 { Ok(()) } else { refused(name, &answer) }
}

/// A message under a lock.
#[derive(Clone, Debug)]
pub(crate) struct Locked {
    pub(crate) token: String,
    pub(crate) found: Found,
}

/// A page of a queue, under locks of so many seconds; empty if there is no such queue.
fn page(conn: &mut Http, address: &str, max: u32, lock: u32) -> Result<Vec<Locked>> {
    let path = format!("/v1/messages/{address}?max={max}&lock={lock}");
    let answer = conn.ask(&Request { method: "GET", path: &path, ..Request::default() })?;
    match answer.status {
        200 => {}
        204 | 404 => return Ok(Vec::new()),
        _ => return refused(&path, &answer),
    }
    let broken = || Trouble::Wrong(format!("{path}: a page that cannot be read"));
    let page: Value = serde_json::from_slice(&answer.body).map_err(|_| broken())?;
    page["messages"].as_array().ok_or_else(broken)?.iter().map(|one| locked(one).ok_or_else(broken)).collect()
}

fn locked(one: &Value) -> Option<Locked> {
    let name = name_of(one["data"].as_str()?.as_bytes())?;
    let headers = one["headers"].as_array()?;
    let count = headers.iter().find(|header| header[0] == "roadbed-delivery-count")?[1].as_str()?.parse().ok()?;
    Some(Locked { token: one["token"].as_str()?.into(), found: Found { name, count } })
}

/// Takes all that is in a queue, and settles it.
pub(crate) fn drain(conn: &mut Http, address: &str) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    loop {
        let page = page(conn, address, 100, 60)?;
        if page.is_empty() {
            return Ok(found);
        }
        for one in &page {
            conn.put(&Request { method: "DELETE", path: &format!("/v1/locks/{}", one.token), ..Request::default() });
        }
        conn.flush()?;
        for one in page {
            match conn.answer()? {
                Answer { status: 204, .. } => found.push(one.found),
                other => return refused(address, &other),
            }
        }
    }
}

/// Takes all that is in a queue of texts, and settles it.
pub(crate) fn texts(conn: &mut Http, address: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    loop {
        let path = format!("/v1/messages/{address}?max=100&lock=60");
        let answer = conn.ask(&Request { method: "GET", path: &path, ..Request::default() })?;
        if answer.status == 204 {
            return Ok(texts);
        }
        let broken = || Trouble::Wrong(format!("{path}: a page that cannot be read"));
        let page: Value = serde_json::from_slice(&answer.body).map_err(|_| broken())?;
        for one in page["messages"].as_array().ok_or_else(broken)? {
            texts.push(one["data"].as_str().ok_or_else(broken)?.to_owned());
            let lock = format!("/v1/locks/{}", one["token"].as_str().ok_or_else(broken)?);
            match conn.ask(&Request { method: "DELETE", path: &lock, ..Request::default() })? {
                Answer { status: 204, .. } => {}
                other => return refused(address, &other),
            }
        }
    }
}

/// Takes from a queue under short locks, and settles, fails, rejects or keeps what it has.
#[derive(Debug)]
pub(crate) struct Worker {
    address: String,
    deliveries_max: u32,
    pub(crate) fates: Fates,
    /// Locks that it had when the hub was killed.
    pub(crate) kept: Vec<Locked>,
    /// It asked for messages, and does not know which it got.
    pub(crate) blind: bool,
    /// It has had locks in the last life.
    pub(crate) locked: bool,
}

impl Worker {
    /// How long its locks last, in seconds.
    pub(crate) const LOCK: u32 = 1;

    pub(crate) fn new(address: &str, deliveries_max: u32) -> Self {
        Self {
            address: address.into(),
            deliveries_max,
            fates: Fates::new(),
            kept: Vec::new(),
            blind: false,
            locked: false,
        }
    }

    pub(crate) fn run(&mut self, port: u16, tally: &Tally, mut random: Random) -> Result {
        let mut conn = Http::open(port)?;
        self.locked = true;
        loop {
            self.blind = true;
            let page = page(&mut conn, &self.address, 12, Self::LOCK)?;
            self.blind = false;
            if page.is_empty() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let mut asked = VecDeque::new();
            for one in page {
                let name = one.found.name;
                let fate = self.fates.entry(name).or_default();
                // Whatever is done to it, its lock may end in time.
                fate.failed.1 += 1;
                fate.may_be_dead |= fate.failed.1 >= self.deliveries_max;
                let lock = format!("/v1/locks/{}", one.token);
                let (method, path) = match random.below(8) {
                    0 => {
                        self.kept.push(one);
                        continue;
                    }
                    1 => {
                        fate.may_be_dead = true;
                        ("POST", lock + "/reject")
                    }
                    2 | 3 => ("POST", lock + "/abandon"),
                    _ => {
                        fate.may_be_gone = true;
                        ("DELETE", lock)
                    }
                };
                conn.put(&Request { method, path: &path, ..Request::default() });
                asked.push_back((name, path));
            }
            conn.flush()?;
            for (name, path) in asked {
                let answer = conn.answer()?;
                match answer.status {
                    204 => self.confirm(name, &path),
                    // Its lock has ended.
                    412 => {}
                    _ => return refused(&path, &answer),
                }
                tally.add(Kind::Settled, 1);
            }
        }
    }

    fn confirm(&mut self, name: Name, path: &str) {
        let fate = self.fates.entry(name).or_default();
        match path.rsplit('/').next() {
            Some("reject") => fate.dead = true,
            Some("abandon") => {
                fate.failed.0 += 1;
                fate.dead |= fate.failed.0 >= self.deliveries_max;
            }
            _ => fate.gone = true,
        }
    }

    /// Settles the locks that it still has: who keeps a lock keeps it over a restart, unless its time is over.
    pub(crate) fn settle_kept(&mut self, conn: &mut Http) -> Result {
        for one in self.kept.drain(..) {
            let fate = self.fates.entry(one.found.name).or_default();
            let path = format!("/v1/locks/{}", one.token);
            match conn.ask(&Request { method: "DELETE", path: &path, ..Request::default() })? {
                Answer { status: 204, .. } => (fate.may_be_gone, fate.gone) = (true, true),
                Answer { status: 412, .. } => {}
                other => return refused(&path, &other),
            }
        }
        Ok(())
    }
}
