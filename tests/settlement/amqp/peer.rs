//! A client and its server, on a real socket; AMQP by hand.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::Served;
use super::wire::Value::{Binary, Bool, Null, Ubyte, Uint, Ulong};
use super::wire::{self, Frame, Value, described, symbol, text};
use crate::Result;
use crate::tell::{Context as _, same};

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
/// How long it is looked whether nothing more comes.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Frame(Frame),
    Closed,
    Nothing,
}

/// How a link is attached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attach<'a> {
    pub(crate) name: &'a str,
    pub(crate) receives: bool,
    pub(crate) coordinator: bool,
    pub(crate) address: Option<&'a str>,
    /// Everything is sent settled.
    pub(crate) settled: bool,
    /// The receiver settles second.
    pub(crate) second: bool,
    pub(crate) default_outcome: Option<Value>,
    /// A look: distribution-mode copy.
    pub(crate) copies: bool,
    pub(crate) message_bytes_max: Option<u64>,
    /// Of the far terminus and ours: durable, expiry-policy, timeout in seconds.
    pub(crate) kept: Option<(u32, &'a str, u32)>,
    pub(crate) unsettled: Option<Value>,
    pub(crate) filter: Option<Value>,
}

/// An attached link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) ours: u32,
    theirs: u32,
}

/// What came of an attach.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) link: Link,
    /// The server's attach.
    pub(crate) frame: Frame,
}

/// A message as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) number: u32,
    pub(crate) tag: Vec<u8>,
    pub(crate) settled: bool,
    pub(crate) state: Value,
    /// The transfer's own rcv-settle-mode.
    pub(crate) mode: Option<u32>,
    pub(crate) sections: Vec<(u64, Value)>,
    /// As it was encoded.
    pub(crate) bytes: Vec<u8>,
}

impl Received {
    pub(crate) fn payload(&self) -> &[u8] {
        match self.section(0x75) {
            Binary(payload) => payload,
            _ => &[],
        }
    }

    pub(crate) fn section(&self, code: u64) -> &Value {
        self.sections.iter().find(|(known, _)| *known == code).map_or(&Null, |(_, value)| value)
    }

    /// The delivery count in its header.
    pub(crate) fn count(&self) -> u32 {
        self.section(0x70).field(4).uint().unwrap_or(0)
    }
}

pub(crate) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
    /// What came while something else was waited for.
    stash: VecDeque<Frame>,
    /// What the server gave last, by its handle.
    credit: BTreeMap<u32, u32>,
    /// By the server's handle, whether it sends.
    sends: BTreeMap<u32, bool>,
    next_handle: u32,
    next_delivery: u32,
    transfers_in: u32,
    window: u32,
    begun: bool,
    /// Whether the last disposition that was told was settled.
    pub(crate) told_settled: Option<bool>,
}

impl Peer {
    /// A connection with a session on channel 0.
    pub(crate) async fn connect(served: &Served) -> Result<Self> {
        Self::connect_as(served, "peer").await
    }

    pub(crate) async fn connect_as(served: &Served, container: &str) -> Result<Self> {
        Self::with_window(served, container, 1000).await
    }

    /// A session that takes this many transfers.
    pub(crate) async fn with_window(served: &Served, container: &str, window: u32) -> Result<Self> {
        let mut peer = Self::dial(served).await?;
        peer.window = window;
        peer.write(b"AMQP\0\x01\0\0").await?;
        let open = described(wire::OPEN, vec![text(container), Null, Uint(1 << 20)]);
        peer.say(&open).await?;
        peer.begin(0).await?;
        peer.header(b"AMQP\0\x01\0\0").await?;
        peer.frame(wire::OPEN).await?;
        peer.frame(wire::BEGIN).await?;
        peer.begun = true;
        Ok(peer)
    }

    /// A connection on which nothing has been said.
    pub(crate) async fn dial(served: &Served) -> Result<Self> {
        let stream = TcpStream::connect(served.address).await.during("connect")?;
        stream.set_nodelay(true).during("connect")?;
        Ok(Self {
            stream,
            read: Vec::new(),
            stash: VecDeque::new(),
            credit: BTreeMap::new(),
            sends: BTreeMap::new(),
            next_handle: 0,
            next_delivery: 0,
            transfers_in: 0,
            window: 1000,
            begun: false,
            told_settled: None,
        })
    }

    pub(crate) async fn begin(&mut self, channel: u16) -> Result {
        let begin = described(wire::BEGIN, vec![Null, Uint(0), Uint(self.window), Uint(1000)]);
        self.write(&wire::frame(channel, &begin, &[])).await
    }

    /// Waits for these eight bytes.
    pub(crate) async fn header(&mut self, expected: &[u8; 8]) -> Result {
        let mut header = [0; 8];
        let read = tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut header));
        read.await.during("the header")?.during("the header")?;
        same("the protocol header", &header, expected)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result {
        self.stream.write_all(bytes).await.during("write")
    }

    pub(crate) async fn say(&mut self, body: &Value) -> Result {
        self.write(&wire::frame(0, body, &[])).await
    }

    /// The next frame, whatever it is; credit is noted on the way.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Seen> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            if let Some(frame) = Frame::take(&mut self.read) {
                self.note(&frame);
                return Ok(Seen::Frame(frame));
            }
            match tokio::time::timeout_at(until, self.stream.read_buf(&mut self.read)).await {
                Err(_) => return Ok(Seen::Nothing),
                Ok(Ok(0)) => return Ok(Seen::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => return Ok(Seen::Closed),
                Ok(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    fn note(&mut self, frame: &Frame) {
        if frame.code == wire::FLOW
            && let (Some(handle), Some(credit)) = (frame.field(4).uint(), frame.field(6).uint())
        {
            self.credit.insert(handle, credit);
        }
        if frame.code == wire::TRANSFER {
            self.transfers_in += 1;
        }
    }

    /// The next frame of this kind; others are kept for later.
    pub(crate) async fn frame(&mut self, code: u64) -> Result<Frame> {
        self.frame_that(|frame| frame.code == code).await.during(&format!("a frame 0x{code:02x}"))
    }

    async fn frame_that(&mut self, is: impl Fn(&Frame) -> bool) -> Result<Frame> {
        if let Some(at) = self.stash.iter().position(&is) {
            return Ok(self.stash.remove(at).expect("it was found there"));
        }
        loop {
            match self.next(PATIENCE).await? {
                Seen::Frame(frame) if is(&frame) => return Ok(frame),
                Seen::Frame(frame) => self.stash.push_back(frame),
                other => return Err(format!("{other:?}, after {:?}", self.stash)),
            }
        }
    }

    /// Attaches a link; the server's attach is read, whatever it says.
    pub(crate) async fn attach(&mut self, asked: &Attach<'_>) -> Result<Attached> {
        let ours = self.next_handle;
        self.next_handle += 1;
        self.say(&asked.to_value(ours)).await?;
        let frame = self.frame_that(|frame| frame.code == wire::ATTACH && *frame.field(0) == text(asked.name)).await;
        let frame = frame.during("attach")?;
        let theirs = frame.field(1).uint().ok_or("an attach without a handle")?;
        self.sends.insert(theirs, asked.receives);
        self.credit.remove(&theirs);
        Ok(Attached { link: Link { ours, theirs }, frame })
    }

    /// Attaches a link that has to be granted.
    pub(crate) async fn link(&mut self, asked: &Attach<'_>) -> Result<Link> {
        let Attached { link, frame } = self.attach(asked).await?;
        let terminus = frame.field(if asked.receives { 5 } else { 6 });
        same("refused", *terminus == Null, false)?;
        Ok(link)
    }

    /// The credit that a sender has within a short time.
    pub(crate) async fn credit(&mut self, link: Link, at_least: u32) -> Result<u32> {
        let until = tokio::time::Instant::now() + if at_least > 0 { PATIENCE } else { QUIET };
        loop {
            let credit = self.credit.get(&link.theirs).copied().unwrap_or(0);
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if (at_least > 0 && credit >= at_least) || left.is_zero() {
                return Ok(credit);
            }
            match self.next(left).await? {
                Seen::Frame(frame) => self.stash.push_back(frame),
                Seen::Nothing => {}
                Seen::Closed => return Err("the connection was closed".into()),
            }
        }
    }

    /// Gives credit: absolute, since the server counts from what it has sent.
    pub(crate) async fn grant(&mut self, link: Link, sent: u32, credit: u32) -> Result {
        self.flow(link, sent, credit, false, None).await
    }

    pub(crate) async fn flow(&mut self, link: Link, sent: u32, credit: u32, drain: bool, txn: Option<&[u8]>) -> Result {
        let properties = txn.map_or(Null, |txn| Value::Map(vec![(symbol("txn-id"), Binary(txn.to_vec()))]));
        let mut fields = self.session_flow();
        fields.extend([Uint(link.ours), Uint(sent), Uint(credit), Null, Bool(drain), Bool(false), properties]);
        self.say(&described(wire::FLOW, fields)).await
    }

    fn session_flow(&self) -> Vec<Value> {
        vec![Uint(self.transfers_in), Uint(self.window), Uint(self.next_delivery), Uint(1000)]
    }

    /// Sends a message, and tells its number.
    pub(crate) async fn send(&mut self, link: Link, settled: bool, message: &[u8]) -> Result<u32> {
        self.transfer(link, settled, Null, message).await
    }

    pub(crate) async fn transfer(&mut self, link: Link, settled: bool, state: Value, message: &[u8]) -> Result<u32> {
        let tag = self.next_delivery.to_be_bytes().to_vec();
        self.transfer_as(link, &tag, settled, state, false, message).await
    }

    pub(crate) async fn transfer_as(
        &mut self,
        link: Link,
        tag: &[u8],
        settled: bool,
        state: Value,
        resume: bool,
        message: &[u8],
    ) -> Result<u32> {
        let number = self.next_delivery;
        self.next_delivery += 1;
        let fields = vec![
            Uint(link.ours),
            Uint(number),
            Binary(tag.to_vec()),
            Uint(0),
            Bool(settled),
            Bool(false),
            Null,
            state,
            Bool(resume),
        ];
        self.write(&wire::frame(0, &described(wire::TRANSFER, fields), message)).await?;
        Ok(number)
    }

    /// Opens the session's window to this many more transfers.
    pub(crate) async fn open_window(&mut self, window: u32) -> Result {
        self.window = window;
        let flow = self.session_flow();
        self.say(&described(wire::FLOW, flow)).await
    }

    /// The first frame of a message, and its number.
    pub(crate) async fn transfer_part(&mut self, link: Link, state: Value, more: bool, part: &[u8]) -> Result<u32> {
        let number = self.next_delivery;
        self.next_delivery += 1;
        let tag = Binary(number.to_be_bytes().to_vec());
        let fields = vec![Uint(link.ours), Uint(number), tag, Uint(0), Bool(false), Bool(more), Null, state];
        self.write(&wire::frame(0, &described(wire::TRANSFER, fields), part)).await?;
        Ok(number)
    }

    /// The last frame of a message.
    pub(crate) async fn transfer_rest(&mut self, link: Link, state: Value, part: &[u8]) -> Result {
        let fields = vec![Uint(link.ours), Null, Null, Null, Bool(false), Bool(false), Null, state];
        self.write(&wire::frame(0, &described(wire::TRANSFER, fields), part)).await
    }

    /// The next message.
    pub(crate) async fn receive(&mut self) -> Result<Received> {
        let frame = self.frame(wire::TRANSFER).await?;
        let tag = match frame.field(2) {
            Binary(tag) => tag.clone(),
            other => return Err(format!("{other:?} is no tag")),
        };
        Ok(Received {
            number: frame.field(1).uint().ok_or("a delivery without a number")?,
            tag,
            settled: frame.field(4).is_true(),
            state: frame.field(7).clone(),
            mode: frame.field(6).uint(),
            sections: wire::sections(&frame.payload),
            bytes: frame.payload,
        })
    }

    /// Says what became of what was received (`receiver`) or sent.
    pub(crate) async fn dispose(&mut self, receiver: bool, number: u32, settled: bool, state: Value) -> Result {
        let fields = vec![Bool(receiver), Uint(number), Null, Bool(settled), state];
        self.say(&described(wire::DISPOSITION, fields)).await
    }

    /// The server's disposition of what was sent: its state in words, and whether it is settled.
    pub(crate) async fn told_of(&mut self, number: u32) -> Result<(String, bool)> {
        let of = |frame: &Frame| frame.code == wire::DISPOSITION && frame.field(0).is_true() && covers(frame, number);
        let frame = self.frame_that(of).await.during("a disposition")?;
        Ok((frame.told(), frame.field(3).is_true()))
    }

    /// The state in the server's disposition that settles what was received.
    pub(crate) async fn told_settled_of(&mut self, number: u32) -> Result<String> {
        let of = |frame: &Frame| frame.code == wire::DISPOSITION && !frame.field(0).is_true() && covers(frame, number);
        let frame = self.frame_that(of).await.during("a disposition")?;
        same("settled", frame.field(3).is_true(), true)?;
        Ok(frame.told())
    }

    /// The state in the server's disposition of what was sent.
    pub(crate) async fn state_of(&mut self, number: u32) -> Result<Value> {
        let of = |frame: &Frame| frame.code == wire::DISPOSITION && frame.field(0).is_true() && covers(frame, number);
        Ok(self.frame_that(of).await.during("a disposition")?.field(4).clone())
    }

    pub(crate) async fn detach(&mut self, link: Link, closed: bool) -> Result {
        self.say(&described(wire::DETACH, vec![Uint(link.ours), Bool(closed)])).await
    }

    pub(crate) async fn end(&mut self) -> Result {
        self.begun = false;
        self.say(&described(wire::END, Vec::new())).await
    }

    pub(crate) async fn close(&mut self) -> Result {
        self.begun = false;
        self.say(&described(wire::CLOSE, Vec::new())).await
    }

    /// Everything that is told until the connection is quiet or closed, in the grammar of answers. What is expected says only how long
    /// to wait: never what is seen.
    pub(crate) async fn answer(&mut self, expected: &str) -> Result<String> {
        let mut steps: Vec<String> = Vec::new();
        let due = if expected == "nothing" { 0 } else { expected.split(", then ").count() };
        let stash = std::mem::take(&mut self.stash);
        stash.iter().for_each(|frame| steps.extend(self.step(frame)));
        loop {
            let patience = if steps.len() < due { PATIENCE } else { QUIET };
            match self.next(patience).await? {
                Seen::Frame(frame) => steps.extend(self.step(&frame)),
                Seen::Nothing => break,
                Seen::Closed => {
                    self.begun = false;
                    if !steps.last().is_some_and(|step| step.starts_with("close")) {
                        steps.push("close".into());
                    }
                    break;
                }
            }
        }
        if self.begun {
            self.echo().await?;
        }
        Ok(if steps.is_empty() { "nothing".into() } else { steps.join(", then ") })
    }

    /// What a frame says to somebody who waits for an answer.
    fn step(&mut self, frame: &Frame) -> Option<String> {
        match frame.code {
            wire::ATTACH => None,
            wire::FLOW => {
                let handle = frame.field(4).uint()?;
                let credit = frame.field(6).uint()?;
                self.sends.get(&handle).is_some_and(|&sends| sends).then(|| format!("link-credit {credit}"))
            }
            wire::END => {
                self.begun = false;
                Some(frame.told())
            }
            wire::DISPOSITION => {
                self.told_settled = Some(frame.field(3).is_true());
                Some(frame.told())
            }
            _ => Some(frame.told()),
        }
    }

    /// The session goes on, and nothing was left to come.
    pub(crate) async fn echo(&mut self) -> Result {
        let mut fields = self.session_flow();
        fields.extend([Null, Null, Null, Null, Bool(false), Bool(true)]);
        self.say(&described(wire::FLOW, fields)).await?;
        match self.next(PATIENCE).await? {
            Seen::Frame(frame) if frame.code == wire::FLOW => Ok(()),
            other => Err(format!("{other:?} instead of the echo of a flow")),
        }
    }

    /// Waits until the server has taken everything that was said; what it says meanwhile is kept.
    pub(crate) async fn echo_before(&mut self) -> Result {
        let mut fields = self.session_flow();
        fields.extend([Null, Null, Null, Null, Bool(false), Bool(true)]);
        self.say(&described(wire::FLOW, fields)).await?;
        self.frame_that(|frame| frame.code == wire::FLOW && *frame.field(4) == Null).await.map(drop)
    }

    /// Ends the connection without a word.
    pub(crate) async fn cut(&mut self) {
        self.begun = false;
        let _ = self.stream.shutdown().await;
        // The server sees it before the next connection comes.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a disposition is about this delivery.
fn covers(frame: &Frame, number: u32) -> bool {
    let first = frame.field(1).uint().unwrap_or(u32::MAX);
    (first..=frame.field(2).uint().unwrap_or(first)).contains(&number)
}

impl<'a> Attach<'a> {
    pub(crate) fn sender(name: &'a str, address: &'a str) -> Self {
        Self { name, address: Some(address), ..Self::default() }
    }

    pub(crate) fn receiver(name: &'a str, address: &'a str) -> Self {
        Self { receives: true, ..Self::sender(name, address) }
    }

    pub(crate) fn to_value(&self, handle: u32) -> Value {
        let address = self.address.map_or(Null, text);
        let kept = match self.kept {
            Some((durable, policy, timeout)) => vec![Uint(durable), symbol(policy), Uint(timeout)],
            None => vec![Null; 3],
        };
        let mut far = vec![address];
        far.extend(kept.clone());
        let mut near = vec![text("here")];
        near.extend(kept);
        let (source, target) = if self.receives {
            far.extend([Null, Null, if self.copies { symbol("copy") } else { Null }]);
            far.push(self.filter.clone().unwrap_or(Null));
            far.push(self.default_outcome.clone().unwrap_or(Null));
            (described(0x28, far), described(0x29, near))
        } else if self.coordinator {
            (described(0x28, near), described(0x30, Vec::new()))
        } else {
            (described(0x28, near), described(0x29, far))
        };
        let fields = vec![
            text(self.name),
            Uint(handle),
            Bool(self.receives),
            Ubyte(if self.settled { 1 } else { 2 }),
            Ubyte(u8::from(self.second)),
            source,
            target,
            self.unsettled.clone().unwrap_or(Null),
            Null,
            if self.receives { Null } else { Uint(0) },
            self.message_bytes_max.map_or(Null, Ulong),
        ];
        described(wire::ATTACH, fields)
    }
}

/// An outcome in words, such as `modified delivery-failed`, as a delivery state.
pub(crate) fn state(words: &str) -> Value {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    match word {
        "received" => described(0x23, vec![Uint(0), Ulong(0)]),
        "accepted" => described(0x24, Vec::new()),
        "rejected" if rest.is_empty() => described(0x25, Vec::new()),
        "rejected" => described(0x25, vec![described(0x1d, vec![symbol(rest), text("no")])]),
        "released" => described(0x26, Vec::new()),
        "modified" => {
            let has = |flag: &str| rest.split(' ').any(|word| word == flag);
            described(0x27, vec![Bool(has("delivery-failed")), Bool(has("undeliverable-here"))])
        }
        _ => Null,
    }
}

/// A state within a transaction.
pub(crate) fn transactional(txn: &[u8], outcome: Value) -> Value {
    described(0x34, vec![Binary(txn.to_vec()), outcome])
}
