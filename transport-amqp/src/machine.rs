//! The protocol as a plain struct: bytes, commands and the time in; events, bytes and one deadline out. Both roles.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use fe2o3_amqp_types::definitions;
use fe2o3_amqp_types::performatives::Close;
use roadbed_core::{Output, Protocol, Role, Time};

use crate::codec::{Fault, Frame, FrameType, Performative, ProtocolHeader, Transfer, frame, frame_bytes, put_frame};
use crate::config::MachineConfig;
use crate::error::{DecodeError, Error, SendError};

mod attach;
mod clock;
mod event;
mod incoming;
mod link;
mod opening;
mod outgoing;
mod resume;
mod sasl;
mod session;
mod unsettled;
mod window;

pub use event::{
    Accept, Credit, Detached, Disposed, Event, Forgotten, Incoming, LinkId, Sending, SentDelivery, SessionId,
    UnsettledMap,
};
pub use resume::unsettled_map;
pub use sasl::{Admission, Sasl};

use clock::{Clock, Due};
use session::Session;

/// One AMQP connection, as the server or as the client.
///
/// It keeps what the standard gives a connection, its sessions and its links: windows, credit, which deliveries are not settled. Peers that break
/// it are answered in the standard's conditions: the link is detached, the session ended, or the connection closed.
///
/// After an error, [`Event::Close`] or [`Machine::close`] it is closed: the caller closes the connection once the [`Output`] is written.
#[derive(Debug)]
pub struct Machine {
    config: Arc<MachineConfig>,
    state: State,
    /// Client: how it wants to be let in, and where.
    sasl: Option<Sasl>,
    exchange: Option<sasl::Exchange>,
    /// Client: how many challenges it has answered.
    sasl_rounds: u8,
    hostname: Option<String>,
    open_sent: bool,
    clock: Clock,
    /// The largest frame that the peer takes.
    peer_frame_max: u32,
    peer_channel_max: u16,
    peer_idle: Option<core::time::Duration>,
    /// By the channel that we send on.
    sessions: BTreeMap<u16, Box<Session>>,
    /// The channel that we send on, by the peer's.
    channels: BTreeMap<u16, u16>,
    /// Links by our role and their name.
    names: BTreeMap<(bool, Arc<str>), LinkId>,
    /// Events that are told after the one that they came with.
    later: VecDeque<Event>,
    /// What stands before a payload, while it is written.
    scratch: BytesMut,
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Server: the first protocol header has not come. Client: it has not been answered.
    Header(ProtocolHeader),
    /// Client: the server has not said its mechanisms. Server: the client has not chosen.
    Sasl,
    /// Server: what the client has said waits for an answer. Client: what we have said does.
    SaslAsked,
    /// Server: the client has been asked, and has not answered.
    SaslChallenged,
    /// AMQP has begun, and the peer's open has not come.
    Opening,
    /// Server: the peer's open is not answered.
    Asked,
    Open,
    /// We have closed, and the peer has not.
    Closing,
    Closed,
}

impl Machine {
    /// Whether both ends have opened and none has closed.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Nothing more will be read or written.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// False while the peer waits for our answer, and after the end: the caller need not read from the connection.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Asked | State::Closed => false,
            State::SaslAsked => self.is_client(),
            _ => true,
        }
    }

    /// The length of the frame or header that `bytes` begins with, as soon as it is there: what the caller has to gather.
    ///
    /// # Errors
    /// If its size alone is wrong; [`Protocol::next`] then says the same.
    pub fn frame_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        match self.state {
            State::Header(_) => Ok(Some(ProtocolHeader::LEN)),
            _ => frame_bytes(bytes, self.frame_bytes_max()),
        }
    }

    /// Closes the connection, with an error or in good order; [`Event::Close`] follows when the peer has closed, too.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if AMQP has not begun, or has ended.
    pub fn close(&mut self, fault: Option<Fault>, out: &mut Output) -> Result<(), SendError> {
        match self.state {
            State::Opening | State::Asked | State::Open => {}
            _ => return Err(SendError::NotAttached),
        }
        self.flush(out);
        self.say_close(fault, out);
        self.state = State::Closing;
        self.clock.close(self.config.close_timeout);
        Ok(())
    }

    fn frame_bytes_max(&self) -> u32 {
        match self.state {
            State::Open | State::Closing => self.config.frame_bytes_max,
            _ => self.config.opening_bytes_max.min(self.config.frame_bytes_max),
        }
    }

    /// A close needs an open before it (Part 2, section 2.4.1).
    fn say_close(&mut self, fault: Option<Fault>, out: &mut Output) {
        if !self.open_sent {
            self.say_open(out);
        }
        self.put(0, &Performative::Close(Close { error: fault.map(error) }), out);
    }

    /// Says why as the standard asks, and ends.
    fn fail(&mut self, failure: Error, out: &mut Output) -> Error {
        match self.state {
            State::Opening | State::Asked | State::Open => {
                self.say_close(Some(Fault::new(failure.condition(), failure.to_string())), out);
            }
            _ => {}
        }
        self.end();
        failure
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.clock.stop();
        self.sessions.clear();
        self.channels.clear();
        self.names.clear();
    }

    fn put(&mut self, channel: u16, performative: &Performative, out: &mut Output) {
        out.flat(|buffer| put_frame(buffer, FrameType::Amqp, channel, |buffer| performative.encode(buffer)));
        self.clock.send();
    }

    /// One frame, by the table of what may come when.
    fn take(&mut self, mut found: Frame, out: &mut Output) -> Result<Option<Event>, Error> {
        if found.kind == FrameType::Sasl || matches!(self.state, State::Sasl | State::SaslAsked | State::SaslChallenged)
        {
            return self.sasl_frame(&found, out);
        }
        if found.body.is_empty() {
            return Ok(None);
        }
        if self.state == State::Open && Transfer::is_next(&found.body) {
            let (transfer, payload) = Transfer::decode(&found.body, &self.config.guard)?;
            found.body.advance(payload);
            return self.in_session(found.channel, Performative::Transfer(transfer), found.body, out);
        }
        let (performative, payload) = Performative::decode(&found.body, &self.config.guard)?;
        match (self.state, performative) {
            (State::Closing, Performative::Close(close)) => Ok(Some(self.closed(close))),
            // What was under way when we closed.
            (State::Closing, _) => Ok(None),
            (State::Opening, Performative::Open(open)) => self.opened(*open).map(Some),
            (State::Opening, _) => Err(Error::Unexpected("a frame before open")),
            (_, Performative::Open(_)) => Err(Error::Unexpected("a second open")),
            (_, Performative::Close(close)) => {
                self.flush(out);
                self.say_close(None, out);
                Ok(Some(self.closed(close)))
            }
            (_, Performative::Begin(begin)) => self.begun(found.channel, &begin, out).map(Some),
            (_, other) => self.in_session(found.channel, other, found.body.slice(payload..), out),
        }
    }

    fn closed(&mut self, close: Close) -> Event {
        self.end();
        Event::Close(close.error.map(|error| fault(&error)))
    }

    fn in_session(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: Bytes,
        out: &mut Output,
    ) -> Result<Option<Event>, Error> {
        let &local = self.channels.get(&channel).ok_or(Error::Channel(channel))?;
        let id = SessionId(local);
        let session = self.sessions.get_mut(&local).ok_or(Error::Channel(channel))?;
        if session.ending {
            if matches!(performative, Performative::End(_)) {
                self.sessions.remove(&local);
                self.channels.remove(&channel);
            }
            return Ok(None);
        }
        match performative {
            Performative::Transfer(transfer) => self.transferred(id, transfer, payload, out),
            Performative::Disposition(disposition) => Ok(self.disposed(id, disposition, out)),
            Performative::Flow(flow) => self.flowed(id, &flow, out),
            Performative::Attach(attach) => self.attached(id, attach, out),
            Performative::Detach(detach) => Ok(self.detached(id, &detach, out)),
            Performative::End(end) => Ok(Some(self.ended(id, channel, &end, out))),
            Performative::Open(_) | Performative::Begin(_) | Performative::Close(_) => Ok(None),
        }
    }
}

impl Protocol for Machine {
    type Event = Event;
    type Error = Error;

    fn next(&mut self, now: Time, chunk: &Bytes, at: &mut usize, out: &mut Output) -> Result<Option<Event>, Error> {
        if let Some(event) = self.later.pop_front() {
            return Ok(Some(event));
        }
        while self.wants_input() {
            let event = if let State::Header(wanted) = self.state {
                match ProtocolHeader::read(&chunk[*at..]) {
                    Ok(None) => return Ok(None),
                    Ok(Some(header)) => {
                        *at += ProtocolHeader::LEN;
                        self.clock.hear(now);
                        self.headed(wanted, header, out).map(|()| None)
                    }
                    Err(error) => Err(self.wrong_header(error.into(), out)),
                }
            } else {
                match frame(chunk, at, self.frame_bytes_max()) {
                    Ok(None) => return Ok(None),
                    Ok(Some(found)) => {
                        self.clock.hear(now);
                        self.take(found, out)
                    }
                    Err(error) => Err(error.into()),
                }
            };
            match event {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => return Err(self.fail(error, out)),
            }
        }
        Ok(None)
    }

    fn wanted_bytes(&self, rest: &[u8]) -> usize {
        self.frame_bytes(rest).ok().flatten().unwrap_or(0)
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Output) -> Result<(), Error> {
        match self.clock.expire(now) {
            Ok(Due::Nothing) => Ok(()),
            Ok(Due::Beat) => {
                out.flat(clock::beat);
                Ok(())
            }
            Err(error) => Err(self.fail(error, out)),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.clock.deadline()
    }
}

fn error(fault: Fault) -> definitions::Error {
    let symbol = serde_amqp::primitives::Symbol::from(fault.condition);
    definitions::Error {
        condition: definitions::ErrorCondition::Custom(symbol),
        description: fault.description,
        info: None,
    }
}

fn fault(error: &definitions::Error) -> Fault {
    let condition = serde_amqp::to_vec(&error.condition)
        .ok()
        .and_then(|encoded| serde_amqp::from_slice::<serde_amqp::primitives::Symbol>(&encoded).ok());
    Fault { condition: condition.map_or_else(String::new, |symbol| symbol.0), description: error.description.clone() }
}

/// Whether we send on a link.
const fn sends(role: Role) -> bool {
    matches!(role, Role::Sender)
}

const fn other(role: Role) -> Role {
    match role {
        Role::Sender => Role::Receiver,
        Role::Receiver => Role::Sender,
    }
}
