use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{Opened, Origin, Output, Time};

use super::alias::AliasesOut;
use super::clock::Clock;
use super::quota::Quota;
use super::{End, Event, Machine, Peer, State, flat};
use crate::codec::{ConnAck, Connect, Frame, Notes, Packet, PacketId, QoS, ReasonCode, SubAck, UnsubAck, Version};
use crate::config::MachineConfig;
use crate::dialect;
use crate::error::{DecodeError, Error, SendError};

/// How a client is let in. What the configuration already says is not repeated here.
#[derive(Debug, Clone, Default)]
pub struct Welcome {
    /// Stamped on every message of the client.
    pub origin: Arc<Origin>,
    /// A kept session was found; MQTT 3.1 cannot say so.
    pub session_present: bool,
    /// The session's name; told to an MQTT 5 client that gave none.
    pub client_id: Option<ByteString>,
    /// Seconds that the session will be kept; told if it is not what the client asked for.
    pub session_expiry_secs: u32,
    /// The highest QoS of a PUBLISH, if it is below that of the configuration.
    pub qos_max: Option<QoS>,
    /// The basis for response topics; only for a client that asked.
    pub response_information: Option<ByteString>,
    /// The last word of an enhanced authentication.
    pub auth_data: Option<Bytes>,
    /// Text and user properties.
    pub notes: Notes,
}

impl Welcome {
    /// Into the session that was opened.
    pub fn new(origin: Arc<Origin>, opened: &Opened) -> Self {
        Self {
            origin,
            session_present: opened.resumed,
            client_id: opened.name.clone(),
            session_expiry_secs: dialect::seconds(opened.expiry),
            qos_max: dialect::qos(opened.qos_max),
            ..Self::default()
        }
    }
}

impl Machine {
    /// The server's end of a connection that was accepted at `now`.
    pub fn server(config: Arc<MachineConfig>, now: Time) -> Self {
        Self::new(config, End::Server, now, Version::V311)
    }

    /// Lets the client in: CONNACK.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] if no CONNECT waits for its answer.
    pub fn accept(&mut self, welcome: Welcome, now: Time, out: &mut Output) -> Result<(), SendError> {
        if self.state != State::Asked {
            return Err(SendError::NotConnected);
        }
        let asked_secs = self.peer.session_expiry_secs;
        self.origin = welcome.origin.clone();
        self.qos_max = welcome.qos_max.unwrap_or(QoS::ExactlyOnce).min(self.config.qos_max);
        self.peer.session_expiry_secs = welcome.session_expiry_secs;
        let keep_alive = self.agree_keep_alive();
        let connack = self.connack(welcome, asked_secs, keep_alive);
        self.put_with_notes(Packet::ConnAck(Box::new(connack)), out)?;
        self.state = State::Open;
        self.limits = self.config.limits;
        self.clock = Clock::listen(now, self.peer.keep_alive_secs);
        self.quota_out = Quota::new(self.peer.receive_maximum);
        self.aliases_out = AliasesOut::new(self.config.topic_aliases_out_max.min(self.peer.topic_alias_maximum));
        Ok(())
    }

    /// Refuses the client: CONNACK with a failure; a reason that CONNACK cannot give is said as the nearest that it can. MQTT 3 says the nearest of its five
    /// return codes.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] if no CONNECT waits for its answer.
    pub fn refuse(&mut self, reason: ReasonCode, notes: Notes, out: &mut Output) -> Result<(), SendError> {
        if self.state != State::Asked {
            return Err(SendError::NotConnected);
        }
        self.close();
        let connack = ConnAck { notes, ..ConnAck::refused(sayable(reason)) };
        self.put_with_notes(Packet::ConnAck(Box::new(connack)), out)
    }

    /// Answers a SUBSCRIBE: one code for each filter, in order. MQTT 3 says 0x80 for every failure.
    ///
    /// # Errors
    /// [`SendError::Encode`] if there is no code; [`SendError::PacketTooLarge`]; [`SendError::NotConnected`].
    pub fn subscribed(
        &mut self,
        packet_id: PacketId,
        codes: Vec<ReasonCode>,
        notes: Notes,
        out: &mut Output,
    ) -> Result<(), SendError> {
        self.is_open_as(End::Server)?;
        self.put_with_problem(Packet::SubAck(SubAck { packet_id, notes, codes }), out)
    }

    /// Answers an UNSUBSCRIBE: one code for each filter, in order. MQTT 3 says none.
    ///
    /// # Errors
    /// As [`Machine::subscribed`].
    pub fn unsubscribed(
        &mut self,
        packet_id: PacketId,
        codes: Vec<ReasonCode>,
        notes: Notes,
        out: &mut Output,
    ) -> Result<(), SendError> {
        self.is_open_as(End::Server)?;
        self.put_with_problem(Packet::UnsubAck(UnsubAck { packet_id, notes, codes }), out)
    }

    /// Reads CONNECT. A refusal that the standard has a word for is said at once; `fail` cannot, since there is no connection yet.
    pub(super) fn opened(&mut self, frame: Frame<'_>, out: &mut Output) -> Result<Event, Error> {
        let body = frame.body();
        match Packet::decode(frame, Version::V311, &self.limits) {
            Ok(Packet::Connect(connect)) => {
                self.asked(&connect);
                self.check_will(&connect).map(|()| Event::Connect(connect))
            }
            Ok(_) => Err(Error::NotConnected(crate::codec::PacketType::Connect)),
            Err(error) => {
                if let Some(version) = answer_in(body, error) {
                    let connack = Packet::ConnAck(Box::new(ConnAck::refused(refusal(error))));
                    // The packet is five bytes at the most.
                    let _ = flat(out, |buffer| connack.encode(version, buffer));
                }
                Err(error.into())
            }
        }
    }

    fn asked(&mut self, connect: &Connect) {
        self.peer = Peer::client(connect);
        self.nameless = connect.client_id.is_empty();
        self.state = State::Asked;
    }

    /// A will is a message that has yet to come, so that what holds for messages holds for it [MQTT-3.2.2-12, MQTT-3.2.2-13].
    fn check_will(&self, connect: &Connect) -> Result<(), Error> {
        match &connect.will {
            Some(will) if will.qos > self.qos_max => Err(Error::Qos(will.qos.bits())),
            Some(will) if will.retain && !self.config.retain_available => Err(Error::Retain),
            _ => Ok(()),
        }
    }

    /// The keep-alive in force, and what CONNACK has to say about it [MQTT-3.2.2-21].
    fn agree_keep_alive(&mut self) -> Option<u16> {
        let (asked, max) = (self.peer.keep_alive_secs, self.config.keep_alive_secs_max);
        let over = max != 0 && (asked == 0 || asked > max) && self.peer.version.is_v5();
        if over {
            self.peer.keep_alive_secs = max;
        }
        over.then_some(max)
    }

    fn connack(&self, welcome: Welcome, asked_secs: u32, server_keep_alive_secs: Option<u16>) -> ConnAck {
        let config = &self.config;
        let secs = welcome.session_expiry_secs;
        ConnAck {
            session_present: welcome.session_present,
            reason: ReasonCode::Success,
            session_expiry_secs: (secs != asked_secs).then_some(secs),
            receive_maximum: NonZeroU16::new(config.receive_maximum).filter(|max| max.get() != u16::MAX),
            maximum_qos: Some(self.qos_max).filter(|&qos| qos != QoS::ExactlyOnce),
            retain_available: (!config.retain_available).then_some(false),
            maximum_packet_size: Some(config.limits.packet_bytes_max),
            assigned_client_id: welcome.client_id.filter(|_| self.nameless),
            topic_alias_maximum: Some(config.topic_aliases_in_max).filter(|&max| max != 0),
            server_keep_alive_secs,
            response_information: welcome.response_information,
            auth_method: self.peer.auth_method.clone(),
            auth_data: welcome.auth_data.filter(|_| self.peer.auth_method.is_some()),
            notes: welcome.notes,
            ..ConnAck::default()
        }
    }
}

/// The version in which a CONNECT that is wrong can be answered; `None`: close without a word.
fn answer_in(body: &[u8], error: DecodeError) -> Option<Version> {
    match (body, error) {
        // A level beyond ours is told so in the newest way, anything else in the way that every client knows.
        (_, DecodeError::ProtocolLevel(6..=0x7f)) => Some(Version::V5),
        (_, DecodeError::ProtocolLevel(_) | DecodeError::ClientId) => Some(Version::V311),
        ([0, 4, b'M', b'Q', b'T', b'T', 5, ..], _) => Some(Version::V5),
        _ => None,
    }
}

/// The failure of CONNACK (section 3.2.2.2) that says `reason`, which may be one of DISCONNECT.
fn sayable(reason: ReasonCode) -> ReasonCode {
    match reason {
        ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable,
        _ if reason.is_failure() && reason.is_allowed_in(crate::codec::PacketType::ConnAck) => reason,
        _ => ReasonCode::UnspecifiedError,
    }
}

fn refusal(error: DecodeError) -> ReasonCode {
    let reason = error.reason();
    if reason.is_allowed_in(crate::codec::PacketType::ConnAck) { reason } else { ReasonCode::ProtocolError }
}
