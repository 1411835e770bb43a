//! AMQP 1.0 by hand: a connection with one session and any number of links.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::values::Value::{Binary, Bool, Described, Null, Symbol, Ubyte, Uint};
use self::values::{described, symbol, text};
use super::conn::{Conn, Result, Trouble};

// The values and frames of the settlement trials, which are written by hand, too.
#[path = "../../../tests/settlement/amqp/wire.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part is used here")]
mod values;

pub(crate) use values::Value;

/// How many transfers either end may send ahead: more than a life has.
const WINDOW: u32 = 1 << 30;

/// How a link is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attach<'a> {
    pub(crate) name: &'a str,
    /// `None`: the coordinator.
    pub(crate) address: Option<&'a str>,
    pub(crate) receives: bool,
    /// The receiver settles second.
    pub(crate) second: bool,
}

/// A message that came.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) number: u32,
    pub(crate) payload: Vec<u8>,
    /// The delivery count in its header.
    pub(crate) count: u32,
}

/// What the hub says of deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// In words, such as `accepted`.
    pub(crate) state: String,
    /// The transaction, if it is `declared`.
    pub(crate) txn: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Amqp {
    conn: Conn,
    /// Our handle of a link, by the hub's.
    links: BTreeMap<u32, u32>,
    attached: BTreeMap<String, Option<u32>>,
    next_handle: u32,
    next_delivery: u32,
    came: u32,
    /// Until which count a sender may send, and how far it has.
    credit: BTreeMap<u32, (u32, u32)>,
    /// How far a receiver has come.
    received: BTreeMap<u32, u32>,
    /// Receivers whose credit was used up or drained.
    drained: BTreeMap<u32, bool>,
    pub(crate) transfers: VecDeque<Transfer>,
    /// What became of what we sent.
    pub(crate) outcomes: VecDeque<Settled>,
    /// What the hub has settled of what we received.
    pub(crate) settled: VecDeque<Settled>,
}

impl Amqp {
    pub(crate) fn open(port: u16, container: &str) -> Result<Self> {
        let mut amqp = Self {
            conn: Conn::open(port)?,
            links: BTreeMap::new(),
            attached: BTreeMap::new(),
            next_handle: 0,
            next_delivery: 0,
            came: 0,
            credit: BTreeMap::new(),
            received: BTreeMap::new(),
            drained: BTreeMap::new(),
            transfers: VecDeque::new(),
            outcomes: VecDeque::new(),
            settled: VecDeque::new(),
        };
        amqp.conn.out.extend(b"AMQP\x03\x01\x00\x00");
        let init = vec![symbol("ANONYMOUS"), Binary(b"torture".to_vec())];
        amqp.conn.out.extend(values::sasl(&described(values::SASL_INIT, init)));
        amqp.flush()?;
        amqp.header(b"AMQP\x03\x01\x00\x00")?;
        amqp.wait_for("SASL outcome", |frame| frame.code == values::SASL_OUTCOME)?;
        amqp.conn.out.extend(b"AMQP\x00\x01\x00\x00");
        amqp.say(&described(values::OPEN, vec![text(container), Null, Uint(1 << 20)]));
        amqp.say(&described(values::BEGIN, vec![Null, Uint(0), Uint(WINDOW), Uint(WINDOW), Uint(1000)]));
        amqp.flush()?;
        amqp.header(b"AMQP\x00\x01\x00\x00")?;
        amqp.wait_for("begin", |frame| frame.code == values::BEGIN)?;
        Ok(amqp)
    }

    /// Attaches a link, and answers our handle.
    pub(crate) fn attach(&mut self, asked: &Attach<'_>) -> Result<u32> {
        let handle = self.next_handle;
        self.next_handle += 1;
        let terminus = |code| asked.address.map_or(Null, |address| described(code, vec![text(address)]));
        let target = match asked.address {
            Some(_) => terminus(0x29),
            None => described(0x30, vec![Value::Array(Vec::new())]),
        };
        let source = if asked.address.is_some() { terminus(0x28) } else { described(0x28, Vec::new()) };
        let (send, receive) = (Ubyte(0), Ubyte(u8::from(asked.second)));
        let mut fields = vec![text(asked.name), Uint(handle), Bool(asked.receives), send, receive, source, target];
        if !asked.receives {
            fields.extend([Null, Null, Uint(0)]);
        }
        self.say(&described(values::ATTACH, fields));
        self.flush()?;
        loop {
            match self.attached.remove(asked.name) {
                Some(Some(theirs)) => {
                    self.links.insert(theirs, handle);
                    return Ok(handle);
                }
                Some(None) => return Trouble::wrong(format!("{} was not attached", asked.name)),
                None => self.must("attach")?,
            }
        }
    }

    /// How many links were attached.
    pub(crate) fn links(&self) -> u32 {
        self.next_handle
    }

    /// How many messages a sender may send now.
    pub(crate) fn credit(&self, link: u32) -> u32 {
        let theirs = self.links.iter().find(|(_, ours)| **ours == link).map_or(u32::MAX, |(theirs, _)| *theirs);
        self.credit.get(&theirs).map_or(0, |(until, sent)| until.wrapping_sub(*sent)).min(1 << 20)
    }

    /// Waits until a sender may send.
    pub(crate) fn wait_credit(&mut self, link: u32) -> Result {
        while self.credit(link) == 0 {
            self.must("credit")?;
        }
        Ok(())
    }

    /// Sends a message, and answers its number.
    pub(crate) fn send(&mut self, link: u32, state: Value, message: &[u8]) -> u32 {
        let number = self.next_delivery;
        self.next_delivery += 1;
        if let Some((theirs, _)) = self.links.iter().find(|(_, ours)| **ours == link) {
            self.credit.entry(*theirs).or_default().1 += 1;
        }
        let tag = Binary(number.to_be_bytes().to_vec());
        let fields = vec![Uint(link), Uint(number), tag, Uint(0), Bool(false), Bool(false), Null, state];
        self.conn.out.extend(values::frame(0, &described(values::TRANSFER, fields), message));
        number
    }

    /// Lets a receiver have this many messages; with `drain`, those that are there.
    pub(crate) fn grant(&mut self, link: u32, credit: u32, drain: bool) -> Result {
        self.drained.insert(link, false);
        let received = self.received.get(&link).copied().unwrap_or(0);
        let mut fields = vec![Uint(self.came), Uint(WINDOW), Uint(self.next_delivery), Uint(WINDOW)];
        fields.extend([Uint(link), Uint(received), Uint(credit), Null, Bool(drain), Bool(false)]);
        self.say(&described(values::FLOW, fields));
        self.flush()
    }

    /// Whether the hub has said that there is nothing more for now.
    pub(crate) fn is_drained(&self, link: u32) -> bool {
        self.drained.get(&link).copied().unwrap_or(false)
    }

    /// Says what becomes of what was received.
    pub(crate) fn dispose(&mut self, first: u32, last: u32, settled: bool, state: Value) {
        self.say(&described(values::DISPOSITION, vec![Bool(true), Uint(first), Uint(last), Bool(settled), state]));
    }

    pub(crate) fn flush(&mut self) -> Result {
        self.conn.flush()
    }

    /// Reads what comes; false if nothing does.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<bool> {
        let came = self.conn.wait(patience)?;
        while let Some(frame) = self.frame()? {
            self.handle(&frame)?;
        }
        Ok(came)
    }

    /// Reads what must come.
    pub(crate) fn must(&mut self, what: &str) -> Result {
        self.conn.must(what)?;
        while let Some(frame) = self.frame()? {
            self.handle(&frame)?;
        }
        Ok(())
    }

    fn header(&mut self, expected: &[u8; 8]) -> Result {
        while self.conn.buffered().len() < 8 {
            self.conn.must("protocol header")?;
        }
        match self.conn.take(8) {
            found if found == expected => Ok(()),
            found => Trouble::wrong(format!("the protocol header {found:02x?}")),
        }
    }

    fn wait_for(&mut self, what: &str, is: impl Fn(&values::Frame) -> bool) -> Result {
        loop {
            while let Some(frame) = self.frame()? {
                if is(&frame) {
                    return Ok(());
                }
                self.handle(&frame)?;
            }
            self.conn.must(what)?;
        }
    }

    fn say(&mut self, body: &Value) {
        self.conn.out.extend(values::frame(0, body, &[]));
    }

    fn frame(&mut self) -> Result<Option<values::Frame>> {
        loop {
            let buffered = self.conn.buffered();
            let Some(size) = buffered.get(..4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]))
            else {
                return Ok(None);
            };
            if buffered.len() < size as usize {
                return Ok(None);
            }
            let mut bytes = self.conn.take(size as usize).to_vec();
            if size <= 8 {
                continue;
            }
            match values::Frame::take(&mut bytes) {
                Some(frame) => return Ok(Some(frame)),
                None => return Trouble::wrong("a frame that cannot be read"),
            }
        }
    }

    fn handle(&mut self, frame: &values::Frame) -> Result {
        let number = |at: usize| frame.field(at).uint().unwrap_or(0);
        match frame.code {
            values::OPEN | values::BEGIN | values::SASL_MECHANISMS => {}
            values::ATTACH => self.attached(frame),
            values::FLOW => self.flow(frame),
            values::TRANSFER => self.transferred(frame)?,
            values::DISPOSITION => {
                let state = frame.field(4);
                let txn = match (state.said().as_str(), state.field(0)) {
                    ("declared", Binary(txn)) => txn.clone(),
                    _ => Vec::new(),
                };
                let last = frame.field(2).uint().unwrap_or(number(1));
                let state = frame.told();
                let into = if frame.field(0).is_true() { &mut self.outcomes } else { &mut self.settled };
                into.push_back(Settled { first: number(1), last, state, txn });
            }
            // A hub that is killed says nothing, so this is a refusal.
            _ => return Trouble::wrong(format!("over AMQP the hub says: {}", frame.told())),
        }
        Ok(())
    }

    fn attached(&mut self, frame: &values::Frame) {
        let Value::Text(name) = frame.field(0) else { return };
        let terminus = frame.field(if frame.field(2).is_true() { 6 } else { 5 });
        let handle = frame.field(1).uint().filter(|_| *terminus != Null);
        self.attached.insert(name.clone(), handle);
    }

    fn flow(&mut self, frame: &values::Frame) {
        let (Some(theirs), Some(credit)) = (frame.field(4).uint(), frame.field(6).uint()) else { return };
        let count = frame.field(5).uint().unwrap_or(0);
        let sent = self.credit.get(&theirs).map_or(0, |(_, sent)| *sent);
        self.credit.insert(theirs, (count.wrapping_add(credit), sent));
        if let Some(ours) = self.links.get(&theirs)
            && credit == 0
        {
            self.received.insert(*ours, count);
            self.drained.insert(*ours, true);
        }
    }

    fn transferred(&mut self, frame: &values::Frame) -> Result {
        let theirs = frame.field(0).uint().unwrap_or(0);
        let Some(link) = self.links.get(&theirs).copied() else { return Trouble::wrong("a transfer on no link") };
        let Some(number) = frame.field(1).uint() else { return Trouble::wrong("a transfer in several frames") };
        self.came += 1;
        *self.received.entry(link).or_default() += 1;
        let sections = values::sections(&frame.payload);
        let find = |code| sections.iter().find(|(found, _)| *found == code).map(|(_, value)| value);
        let payload = match find(0x75) {
            Some(Binary(payload)) => payload.clone(),
            _ => return Trouble::wrong("a message without data"),
        };
        let count = find(0x70).and_then(|header| header.field(4).uint()).unwrap_or(0);
        self.transfers.push_back(Transfer { number, payload, count });
        Ok(())
    }
}

/// A message, encoded.
pub(crate) fn encoded(payload: &[u8], priority: Option<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(priority) = priority {
        described(0x70, vec![Bool(true), Ubyte(priority)]).encode(&mut out);
    }
    Described(0x75, Box::new(Binary(payload.to_vec()))).encode(&mut out);
    out
}

/// The state of a delivery within a transaction.
pub(crate) fn within(txn: &[u8], outcome: Value) -> Value {
    described(0x34, vec![Binary(txn.to_vec()), outcome])
}

pub(crate) fn accepted() -> Value {
    described(0x24, Vec::new())
}

pub(crate) fn rejected() -> Value {
    described(0x25, vec![described(0x1d, vec![Symbol("torture:no-good".into())])])
}

/// Tried and failed.
pub(crate) fn modified() -> Value {
    described(0x27, vec![Bool(true)])
}

pub(crate) fn declare() -> Vec<u8> {
    Described(0x77, Box::new(described(0x31, vec![Null]))).to_bytes()
}

pub(crate) fn discharge(txn: &[u8], fail: bool) -> Vec<u8> {
    Described(0x77, Box::new(described(0x32, vec![Binary(txn.to_vec()), Bool(fail)]))).to_bytes()
}
