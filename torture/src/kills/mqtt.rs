//! MQTT clients whose sessions are kept: publishers at QoS 1 and 2, and followers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use roadbed_conformance::simulation::Random;

use super::Mutation;
use super::stream::{Name, Stream, name_of, payload};
use super::tally::{Kind, Tally};
use crate::wire::{Connect, Mqtt, PATIENCE, Packet, Result, Trouble};

/// How many messages are sent in one life at most.
const LIFE_MAX: u64 = 2500;
const TICK: Duration = Duration::from_millis(4);

/// Sends to one topic.
#[derive(Debug)]
pub(crate) struct Publisher {
    name: String,
    v5: bool,
    qos: u8,
    topic: String,
    /// Its messages are the last values of so many topics below its own.
    values: u64,
    window: usize,
    pub(crate) stream: Stream,
    flight: VecDeque<Flight>,
    met: bool,
    conn: Option<Mqtt>,
}

/// A message that is not done with.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u16,
    seq: u64,
    /// PUBREC has come.
    received: bool,
}

impl Publisher {
    pub(crate) fn new(id: u32, v5: bool, qos: u8, topic: &str) -> Self {
        let (name, topic) = (format!("publisher{id}"), topic.into());
        let stream = Stream::new(id);
        let (flight, window) = (VecDeque::new(), if qos == 2 { 24 } else { 32 });
        Self { name, v5, qos, topic, values: 0, window, stream, flight, met: false, conn: None }
    }

    /// Its messages are last values.
    pub(crate) fn retained(mut self, values: u64) -> Self {
        (self.values, self.window) = (values, 4);
        self
    }

    /// The topic of a message.
    pub(crate) fn topic(&self, seq: u64) -> String {
        if self.values == 0 { self.topic.clone() } else { format!("{}/{}", self.topic, seq % self.values) }
    }

    /// Connects, and ends what was under way: by QoS 1, again; by QoS 2, where it was.
    pub(crate) fn resume(&mut self, port: u16, tally: &Tally, mutation: Option<Mutation>) -> Result {
        let connect = Connect { name: &self.name, v5: self.v5, kept: true };
        let (mut conn, present) = Mqtt::open(port, &connect)?;
        if present != self.met {
            return Trouble::wrong(format!("{}: session present: {present}, and it should be {}", self.name, self.met));
        }
        self.met = true;
        for flight in &self.flight {
            if flight.received {
                conn.answer(&Packet::PubRel { id: flight.id });
                continue;
            }
            let topic = self.topic(flight.seq);
            conn.publish(&topic, &payload((self.stream.id, flight.seq)), self.qos, flight.id, true, self.values > 0);
            if self.qos == 1 {
                self.stream.again(flight.seq);
            }
        }
        self.conn = Some(conn);
        if mutation == Some(Mutation::Double) && self.qos == 2 && self.stream.end() > 0 {
            let (seq, id) = (self.stream.end() - 1, self.id());
            self.put(seq, id);
        }
        self.quiesce(tally)
    }

    /// Sends one more, behind all others, and answers its name.
    pub(crate) fn barrier(&mut self, tally: &Tally) -> Result<Name> {
        let seq = self.send();
        self.quiesce(tally)?;
        Ok((self.stream.id, seq))
    }

    /// Sends until the hub is gone.
    pub(crate) fn run(&mut self, tally: &Tally, mut random: Random) -> Result {
        let end = self.stream.end() + LIFE_MAX;
        loop {
            while self.flight.len() < self.window && self.stream.end() < end && random.chance(97) {
                self.send();
            }
            // What is not sent at once is cut off at another place.
            if random.chance(80) {
                self.conn().flush()?;
            }
            self.conn().wait(TICK)?;
            self.read(tally)?;
        }
    }

    /// Waits until nothing is under way.
    fn quiesce(&mut self, tally: &Tally) -> Result {
        loop {
            self.read(tally)?;
            self.conn().flush()?;
            if self.flight.is_empty() {
                return Ok(());
            }
            self.conn().must("acknowledgement")?;
        }
    }

    fn conn(&mut self) -> &mut Mqtt {
        self.conn.as_mut().expect("it is connected first")
    }

    /// The lowest that is free: what was used last is used again as soon as it may be.
    fn id(&self) -> u16 {
        (1..=u16::MAX).find(|id| self.flight.iter().all(|flight| flight.id != *id)).expect("few are under way")
    }

    fn send(&mut self) -> u64 {
        let (seq, id) = (self.stream.next(), self.id());
        self.put(seq, id);
        seq
    }

    fn put(&mut self, seq: u64, id: u16) {
        self.flight.push_back(Flight { id, seq, received: false });
        let (topic, payload, qos, retain) =
            (self.topic(seq), payload((self.stream.id, seq)), self.qos, self.values > 0);
        self.conn().publish(&topic, &payload, qos, id, false, retain);
    }

    fn read(&mut self, tally: &Tally) -> Result {
        while let Some(packet) = self.conn().next()? {
            match packet {
                Packet::PubAck { id, code: 0 } if self.qos == 1 => {
                    let seq = self.done(id)?;
                    self.acknowledged(seq, tally);
                }
                Packet::PubRec { id, code: 0 } if self.qos == 2 => {
                    let Some(flight) = self.flight.iter_mut().find(|flight| flight.id == id) else {
                        return Trouble::wrong(format!("{}: a PUBREC of {id}, which is not under way", self.name));
                    };
                    flight.received = true;
                    let seq = flight.seq;
                    self.acknowledged(seq, tally);
                    self.conn().answer(&Packet::PubRel { id });
                }
                // In MQTT 5 it may say that it knows no such id: then its PUBREL had come before the kill.
                Packet::PubComp { id } if self.qos == 2 => {
                    self.done(id)?;
                }
                other => return Trouble::wrong(format!("{}: the hub says {other:?}", self.name)),
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, seq: u64, tally: &Tally) {
        self.stream.acknowledge(seq);
        tally.add(Kind::Mqtt, 1);
    }

    fn done(&mut self, id: u16) -> Result<u64> {
        match self.flight.iter().position(|flight| flight.id == id) {
            Some(at) => Ok(self.flight.remove(at).expect("it was found there").seq),
            None => Trouble::wrong(format!("{}: an answer to {id}, which is not under way", self.name)),
        }
    }
}

/// Follows topics by a kept session, which it subscribes once in its life.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) name: String,
    v5: bool,
    pub(crate) qos: u8,
    filter: String,
    /// QoS 2: what was received and not released.
    held: BTreeMap<u16, Name>,
    /// What was received, in order, since all was accounted for.
    pub(crate) received: Vec<Name>,
    met: bool,
    conn: Option<Mqtt>,
}

impl Follower {
    pub(crate) fn new(name: &str, v5: bool, qos: u8, filter: &str) -> Self {
        let (held, received, conn) = (BTreeMap::new(), Vec::new(), None);
        Self { name: name.into(), v5, qos, filter: filter.into(), held, received, met: false, conn }
    }

    pub(crate) fn connect(&mut self, port: u16) -> Result {
        let (mut conn, present) = Mqtt::open(port, &Connect { name: &self.name, v5: self.v5, kept: true })?;
        if present != self.met {
            return Trouble::wrong(format!("{}: session present: {present}, and it should be {}", self.name, self.met));
        }
        let before = if self.met { Vec::new() } else { conn.subscribe(&self.filter, self.qos)? };
        (self.met, self.conn) = (true, Some(conn));
        before.into_iter().try_for_each(|packet| self.handle(packet, None))
    }

    /// Receives until these have come, and nothing is half done.
    pub(crate) fn catch_up(&mut self, until: &[Name]) -> Result {
        let mut missing: BTreeSet<_> = until.iter().copied().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.read(None)?;
            let conn = self.conn.as_mut().expect("it is connected first");
            conn.flush()?;
            missing.retain(|name| !self.received.contains(name));
            if missing.is_empty() && self.held.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                // What is missing is told by the check.
                return Ok(());
            }
            self.conn.as_mut().expect("it is connected first").wait(Duration::from_millis(100))?;
        }
    }

    /// Receives until the hub is gone.
    pub(crate) fn run(&mut self, tally: &Tally, mut random: Random) -> Result {
        loop {
            let conn = self.conn.as_mut().expect("it is connected first");
            if random.chance(80) {
                conn.flush()?;
            }
            conn.wait(TICK)?;
            self.read(Some(tally))?;
        }
    }

    fn read(&mut self, tally: Option<&Tally>) -> Result {
        while let Some(packet) = self.conn.as_mut().expect("it is connected first").next()? {
            self.handle(packet, tally)?;
        }
        Ok(())
    }

    fn handle(&mut self, packet: Packet, tally: Option<&Tally>) -> Result {
        let answer = match packet {
            Packet::Publish { payload, qos: 1, id, .. } => {
                let name = self.name_of(&payload)?;
                self.received.push(name);
                Packet::PubAck { id, code: 0 }
            }
            Packet::Publish { payload, qos: 2, id, again, .. } => {
                let name = self.name_of(&payload)?;
                match self.held.insert(id, name) {
                    None => self.received.push(name),
                    Some(before) if before == name && again => {}
                    Some(before) => {
                        let told =
                            format!("{}: id {id} is {name:?} (DUP {again}) before {before:?} is released", self.name);
                        return Trouble::wrong(told);
                    }
                }
                Packet::PubRec { id, code: 0 }
            }
            Packet::PubRel { id } => {
                if self.held.remove(&id).is_some()
                    && let Some(tally) = tally
                {
                    tally.add(Kind::Settled, 1);
                }
                Packet::PubComp { id }
            }
            other => return Trouble::wrong(format!("{}: the hub says {other:?}", self.name)),
        };
        if let Some(conn) = &mut self.conn {
            conn.answer(&answer);
        }
        Ok(())
    }

    fn name_of(&self, payload: &[u8]) -> Result<Name> {
        name_of(payload).ok_or_else(|| {
            Trouble::Wrong(format!("{}: a payload that nobody sent: {}", self.name, String::from_utf8_lossy(payload)))
        })
    }
}

/// The last values below `topic`, for somebody new.
pub(crate) fn last_values(port: u16, topic: &str, count: usize) -> Result<BTreeMap<String, Name>> {
    let (mut conn, _) = Mqtt::open(port, &Connect { name: "curious", v5: true, kept: false })?;
    let mut packets = conn.subscribe(&format!("{topic}/+"), 1)?;
    let (mut values, deadline) = (BTreeMap::new(), Instant::now() + PATIENCE);
    loop {
        for packet in packets.drain(..) {
            if let Packet::Publish { topic, payload, .. } = packet {
                let name =
                    name_of(&payload).ok_or_else(|| Trouble::Wrong(format!("{topic} has a broken last value")))?;
                values.insert(topic, name);
            }
        }
        if values.len() >= count || Instant::now() > deadline {
            return Ok(values);
        }
        conn.wait(Duration::from_millis(50))?;
        while let Some(packet) = conn.next()? {
            packets.push(packet);
        }
    }
}
