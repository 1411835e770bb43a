//! The protocol as a plain struct: bytes, commands and the time in; events, bytes and one deadline out. Both roles.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::{BufMut, Bytes};
use roadbed_core::{Address, Losses, Origin, Output, Protocol, Time};

use crate::codec::{
    Ack, AckKind, ConnAck, Disconnect, Frame, Limits, Notes, Packet, PacketType, QoS, ReasonCode, Version, frame,
    frame_bytes,
};
use crate::config::MachineConfig;
use crate::error::{DecodeError, Error, SendError};

mod alias;
mod client;
mod clock;
mod event;
mod incoming;
mod outgoing;
mod peer;
mod quota;
mod server;

pub use event::{Event, Incoming};
pub use outgoing::Said;
pub use peer::Peer;
pub use server::Welcome;

pub(crate) use peer::session_expiry_secs;

use alias::{AliasesIn, AliasesOut};
use clock::{Clock, Due};
use quota::Quota;

/// One MQTT connection, as the server or as the client.
///
/// It keeps what belongs to the connection: the version, what both ends take, topic aliases, the keep-alive. It keeps nothing that a session keeps: packet
/// identifiers are the caller's, slots of its in-flight slab when sending, keys when receiving.
///
/// After an error, [`Event::Disconnect`], a refusal or [`Machine::disconnect`] it is closed: it reads nothing more, and the caller closes the connection
/// once the [`Output`] is written.
#[derive(Debug)]
pub struct Machine {
    config: Arc<MachineConfig>,
    origin: Arc<Origin>,
    end: End,
    state: State,
    limits: Limits,
    peer: Peer,
    /// Server: the highest QoS told in CONNACK.
    qos_max: QoS,
    /// Server: the client gave no name.
    nameless: bool,
    clock: Clock,
    quota_in: Quota,
    quota_out: Quota,
    aliases_in: AliasesIn,
    aliases_out: AliasesOut,
    /// The topic of the last PUBLISH that came, since the next one is likely to have the same.
    last: Option<Address>,
    losses: Losses,
}

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Server,
    Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Server: no CONNECT has come. Client: none was sent, or no CONNACK has come.
    Opening,
    /// Server: CONNECT has come and is not answered.
    Asked,
    Open,
    Closed,
}

impl Machine {
    fn new(config: Arc<MachineConfig>, end: End, now: Time, version: Version) -> Self {
        let limits = match end {
            End::Server => config.limits.packet_bytes_max(config.connect_bytes_max.min(config.limits.packet_bytes_max)),
            End::Client => config.limits,
        };
        Self {
            origin: Arc::new(Origin { principal: Default::default(), protocol: "mqtt" }),
            end,
            state: State::Opening,
            limits,
            peer: Peer::unknown(version),
            qos_max: config.qos_max,
            nameless: false,
            clock: Clock::handshake(now, config.connect_timeout),
            quota_in: Quota::new(config.receive_maximum),
            quota_out: Quota::new(u16::MAX),
            aliases_in: AliasesIn::default(),
            aliases_out: AliasesOut::new(0),
            last: None,
            losses: Losses::default(),
            config,
        }
    }

    /// What the other end takes; a placeholder until its CONNECT or CONNACK has come.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// CONNACK has been written or read, and the connection has not ended.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Nothing more will be read or written.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// False while a CONNECT waits for its answer (AUTH alone may come then), and after the end: the caller need not read from the connection.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Opening | State::Open => true,
            State::Asked => self.peer.auth_method.is_some(),
            State::Closed => false,
        }
    }

    /// The length of the packet that `bytes` begins with, as soon as its header is there: what the caller has to gather.
    ///
    /// # Errors
    /// If the header alone is wrong; [`Protocol::next`] then says the same.
    pub fn frame_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        frame_bytes(bytes, self.version(), &self.limits)
    }

    /// How many more QoS 1 and 2 messages the peer takes now.
    pub fn quota(&self) -> u16 {
        self.quota_out.left()
    }

    /// What translations on this connection have dropped.
    pub fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    /// Ends the connection in good order. A server of MQTT 3 has no word for it and writes nothing.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] if it has ended already or never begun.
    pub fn disconnect(&mut self, mut packet: Disconnect, out: &mut Output) -> Result<(), SendError> {
        match self.state {
            State::Opening | State::Closed => return Err(SendError::NotConnected),
            State::Asked => return self.refuse(packet.reason, packet.notes, out),
            State::Open => self.close(),
        }
        if self.end == End::Server {
            packet.session_expiry_secs = None;
            if !self.peer.version.is_v5() {
                return Ok(());
            }
        }
        self.put_with_notes(Packet::Disconnect(packet), out)
    }

    /// The version for framing; unknown to a server until CONNECT.
    fn version(&self) -> Option<Version> {
        let unknown = self.end == End::Server && self.state == State::Opening;
        (!unknown).then_some(self.peer.version)
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.clock.stop();
    }

    /// Says goodbye as the standard asks, and ends.
    fn fail(&mut self, error: Error, out: &mut Output) -> Error {
        let v5 = self.peer.version.is_v5();
        match self.state {
            State::Open if v5 => self.say(PacketType::Disconnect, error.reason(), out),
            State::Asked if v5 => self.say(PacketType::ConnAck, error.reason(), out),
            _ => {}
        }
        self.close();
        error
    }

    /// A last word without more than its reason. It is left out where even that is too large for the peer.
    fn say(&mut self, kind: PacketType, reason: ReasonCode, out: &mut Output) {
        let reason = if reason.is_allowed_in(kind) { reason } else { ReasonCode::ProtocolError };
        let packet = match kind {
            PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::refused(reason))),
            _ => Packet::Disconnect(Disconnect::new(reason)),
        };
        let _ = self.put(&packet, out);
    }

    /// Writes a packet that fits the peer.
    fn put(&mut self, packet: &Packet, out: &mut Output) -> Result<(), SendError> {
        let (version, bytes_max) = (self.peer.version, self.peer.packet_bytes_max);
        let bytes = packet.encoded_len(version)?;
        if bytes as u64 > u64::from(bytes_max) {
            return Err(SendError::PacketTooLarge { bytes, bytes_max });
        }
        flat(out, |buffer| packet.encode(version, buffer))?;
        self.clock.send();
        Ok(())
    }

    /// As [`Machine::put`]; notes that make the packet too large are left out [MQTT-3.4.2-2, MQTT-3.4.2-3 and their like].
    fn put_with_notes(&mut self, mut packet: Packet, out: &mut Output) -> Result<(), SendError> {
        match self.put(&packet, out) {
            Err(SendError::PacketTooLarge { .. }) if take_notes(&mut packet) => self.put(&packet, out),
            result => result,
        }
    }

    /// As [`Machine::put_with_notes`], for packets that may carry notes only if the client wants them [MQTT-3.1.2-29].
    fn put_with_problem(&mut self, mut packet: Packet, out: &mut Output) -> Result<(), SendError> {
        if !self.peer.problem_information {
            take_notes(&mut packet);
        }
        self.put_with_notes(packet, out)
    }

    /// One packet other than PUBLISH on an open connection, by the table of what each end takes in each state.
    fn take(&mut self, frame: Frame<'_>, now: Time, out: &mut Output) -> Result<Option<Event>, Error> {
        use PacketType as P;
        let kind = frame.kind();
        match (self.state, self.end, kind) {
            (State::Open, _, P::PubAck | P::PubRec | P::PubRel | P::PubComp) => self.acknowledged(&frame),
            (State::Open, End::Server, P::Subscribe | P::Unsubscribe | P::Disconnect) => self.control(frame, now),
            (State::Open, End::Client, P::SubAck | P::UnsubAck) => self.control(frame, now),
            (State::Open, End::Client, P::Disconnect) if self.peer.version.is_v5() => self.control(frame, now),
            (State::Open, End::Server, P::PingReq) => {
                return self.put(&Packet::PingResp, out).map(|()| None).or(Ok(None));
            }
            (State::Open, End::Client, P::PingResp) => return Ok(None),
            (State::Open, End::Server, P::Connect) => Err(Error::SecondConnect),
            (State::Opening, End::Server, P::Connect) => self.opened(frame, out),
            (State::Opening, End::Server, _) => Err(Error::NotConnected(kind)),
            (State::Opening, End::Client, P::ConnAck | P::Auth) => self.control(frame, now),
            (State::Asked, _, P::Disconnect | P::Auth) | (State::Open, _, P::Auth) => self.control(frame, now),
            _ => Err(Error::Unexpected(kind)),
        }
        .map(Some)
    }

    /// An answer about a message. One to a message that we sent makes room for the next.
    fn acknowledged(&mut self, frame: &Frame<'_>) -> Result<Event, Error> {
        let kind = AckKind::from_packet_type(frame.kind()).ok_or(Error::Unexpected(frame.kind()))?;
        let ack = Ack::decode(kind, frame, self.peer.version, &self.limits)?;
        let negative = kind == AckKind::PubRec && ack.reason.is_failure();
        if negative || matches!(kind, AckKind::PubAck | AckKind::PubComp) {
            self.quota_out.give();
        }
        Ok(Event::Ack(ack))
    }

    /// A packet that is decoded whole and checked against the connection.
    fn control(&mut self, frame: Frame<'_>, now: Time) -> Result<Event, Error> {
        let kind = frame.kind();
        Ok(match Packet::decode(frame, self.peer.version, &self.limits)? {
            Packet::Subscribe(packet) => Event::Subscribe(packet),
            Packet::SubAck(packet) => Event::SubAck(packet),
            Packet::Unsubscribe(packet) => Event::Unsubscribe(packet),
            Packet::UnsubAck(packet) => Event::UnsubAck(packet),
            Packet::ConnAck(packet) => {
                self.welcomed(&packet, now);
                Event::ConnAck(packet)
            }
            Packet::Disconnect(packet) => self.left(packet)?,
            Packet::Auth(packet) if self.peer.auth_method.is_none() || packet.method != self.peer.auth_method => {
                return Err(Error::AuthMethod);
            }
            Packet::Auth(packet) => Event::Auth(packet),
            _ => return Err(Error::Unexpected(kind)),
        })
    }

    fn left(&mut self, packet: Disconnect) -> Result<Event, Error> {
        let changes = match self.end {
            End::Client => packet.session_expiry_secs.is_some(),
            End::Server => {
                self.peer.session_expiry_secs == 0 && packet.session_expiry_secs.is_some_and(|secs| secs != 0)
            }
        };
        if changes {
            return Err(Error::SessionExpiry);
        }
        self.close();
        Ok(Event::Disconnect(packet))
    }
}

impl Protocol for Machine {
    type Event = Event;
    type Error = Error;

    fn next(&mut self, now: Time, chunk: &Bytes, at: &mut usize, out: &mut Output) -> Result<Option<Event>, Error> {
        while self.wants_input() {
            let event = match frame(chunk, at, self.version(), &self.limits) {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => {
                    self.clock.hear(now);
                    if (self.state, frame.kind()) == (State::Open, PacketType::Publish) {
                        return match self.publish(frame, now) {
                            Ok(incoming) => Ok(Some(Event::Publish(incoming))),
                            Err(error) => Err(self.fail(error, out)),
                        };
                    }
                    self.take(frame, now, out)
                }
                Err(error) => Err(error.into()),
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
            Ok(Due::Ping) => {
                // Two bytes, which no peer is too small for; it is a probe, not a packet that keeps the line alive by itself.
                let _ = self.put(&Packet::PingReq, out);
                Ok(())
            }
            Err(error) => Err(self.fail(error, out)),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.clock.deadline()
    }
}

/// Appends to the flat end of `out`, or nothing.
fn flat<E>(out: &mut Output, write: impl FnOnce(&mut bytes::BytesMut) -> Result<(), E>) -> Result<(), E> {
    let mut result = Ok(());
    out.flat(|buffer| {
        debug_assert!(buffer.remaining_mut() > 1 << 30, "the flat end grows");
        result = write(buffer);
    });
    result
}

/// Takes the notes off a packet; false if there were none.
fn take_notes(packet: &mut Packet) -> bool {
    let notes = match packet {
        Packet::Ack(packet) => &mut packet.notes,
        Packet::SubAck(packet) => &mut packet.notes,
        Packet::UnsubAck(packet) => &mut packet.notes,
        Packet::Disconnect(packet) => &mut packet.notes,
        Packet::Auth(packet) => &mut packet.notes,
        Packet::ConnAck(packet) => &mut packet.notes,
        _ => return false,
    };
    !core::mem::take::<Notes>(notes).is_empty()
}
