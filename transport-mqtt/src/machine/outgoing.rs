use core::num::NonZeroU16;

use roadbed_core::{Confirm, Delivery, Message, Output, Qos, Time, WireQos};

use super::alias::Alias;
use super::event::read_cookie;
use super::{End, Machine, State, flat};
use crate::codec::{Ack, AckKind, Auth, Notes, Packet, PacketId, Property, PublishHeader, QoS, ReasonCode};
use crate::dialect::{self, Beside};
use crate::error::SendError;

/// Whether an answer could be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Said {
    /// It was written.
    Yes,
    /// MQTT 3 has no word for it: the message stays unanswered, and whether to close the connection is the caller's policy.
    Withheld,
}

/// A message on its way out.
struct Transfer<'a> {
    message: &'a Message,
    qos: QoS,
    packet_id: Option<PacketId>,
    dup: bool,
    retain: bool,
    subscription_ids: &'a [u32],
    /// How often it was delivered in vain.
    count: u32,
}

impl Machine {
    /// Server: hands a delivery over. The slot of its handle is the packet identifier. `dup` says that it was sent before, on an earlier connection.
    ///
    /// # Errors
    /// [`SendError::PacketTooLarge`] if the client does not take packets of that size: then the delivery counts as accepted [MQTT-3.1.2-25].
    /// [`SendError::ReceiveMaximum`] if the caller's window is wider than [`super::Peer::receive_maximum`].
    #[inline]
    pub fn deliver(&mut self, delivery: &Delivery, dup: bool, now: Time, out: &mut Output) -> Result<(), SendError> {
        let (subscription_ids, count) =
            delivery.info.as_ref().map_or((&[][..], 0), |info| (&info.bindings, info.count));
        self.transfer(
            &Transfer {
                message: &delivery.message,
                qos: wire(delivery.qos),
                packet_id: delivery.handle.and_then(|handle| PacketId::new(handle.slot())),
                dup,
                retain: delivery.retained,
                subscription_ids,
                count,
            },
            now,
            out,
        )
    }

    /// Client: publishes a message, retained if it says so. `packet_id` is needed for QoS 1 and 2, and free again after PUBACK, PUBCOMP or a negative PUBREC.
    ///
    /// # Errors
    /// [`SendError`] names each case; the server's limits are in [`Machine::peer`].
    pub fn publish_message(
        &mut self,
        message: &Message,
        qos: Qos,
        packet_id: Option<PacketId>,
        dup: bool,
        now: Time,
        out: &mut Output,
    ) -> Result<(), SendError> {
        let qos = wire(qos);
        if qos > self.peer.qos_max {
            return Err(SendError::Qos);
        }
        if message.retain() && !self.peer.retain_available {
            return Err(SendError::Retain);
        }
        let retain = message.retain();
        let transfer = Transfer { message, qos, packet_id, dup, retain, subscription_ids: &[], count: 0 };
        self.transfer(&transfer, now, out)
    }

    /// Answers a message with what became of it: PUBACK or PUBREC. The confirm's cookie must be [`super::Incoming::cookie`]; a confirm of QoS 0 says nothing.
    ///
    /// # Errors
    /// [`SendError::NotConnected`].
    pub fn confirm(&mut self, confirm: &Confirm, out: &mut Output) -> Result<Said, SendError> {
        let Some((qos, packet_id)) = read_cookie(confirm.cookie) else { return Ok(Said::Yes) };
        let kind = if qos == Qos::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
        let Some(reason) = dialect::confirm_reason(confirm) else { return Ok(Said::Withheld) };
        if reason == ReasonCode::Success && self.state == State::Open {
            return self.plain(kind, packet_id, out);
        }
        let mut ack = Ack::with_reason(kind, packet_id, reason);
        if reason.is_failure() {
            ack.notes = dialect::confirm_notes(confirm);
        }
        self.acknowledge(ack, out)
    }

    /// Says PUBCOMP: the answer to PUBREL, once its packet identifier is forgotten.
    ///
    /// # Errors
    /// [`SendError::NotConnected`].
    pub fn complete(&mut self, packet_id: PacketId, reason: ReasonCode, out: &mut Output) -> Result<(), SendError> {
        self.acknowledge(Ack::with_reason(AckKind::PubComp, packet_id, reason), out).map(drop)
    }

    /// Says PUBREL: the answer to a positive PUBREC, once its decision is kept.
    ///
    /// # Errors
    /// [`SendError::NotConnected`].
    pub fn release(&mut self, packet_id: PacketId, reason: ReasonCode, out: &mut Output) -> Result<(), SendError> {
        self.acknowledge(Ack::with_reason(AckKind::PubRel, packet_id, reason), out).map(drop)
    }

    /// Says any of PUBACK, PUBREC, PUBREL and PUBCOMP. PUBREL and PUBCOMP of MQTT 3 leave their reason out.
    ///
    /// # Errors
    /// [`SendError::NotConnected`].
    pub fn acknowledge(&mut self, mut ack: Ack, out: &mut Output) -> Result<Said, SendError> {
        if self.state != State::Open {
            return Err(SendError::NotConnected);
        }
        let answers = matches!(ack.kind, AckKind::PubAck | AckKind::PubRec);
        if !self.peer.version.is_v5() && ack.reason.is_failure() {
            if answers {
                return Ok(Said::Withheld);
            }
            ack.reason = ReasonCode::Success;
        }
        if ack.reason == ReasonCode::Success && ack.notes.is_empty() {
            return self.plain(ack.kind, ack.packet_id, out);
        }
        if matches!(ack.kind, AckKind::PubAck | AckKind::PubComp) || (answers && ack.reason.is_failure()) {
            self.quota_in.give();
        }
        self.put_with_problem(Packet::Ack(ack), out).map(|()| Said::Yes)
    }

    /// A positive answer without more: four bytes in every version, and nearly all that is ever answered.
    fn plain(&mut self, kind: AckKind, packet_id: PacketId, out: &mut Output) -> Result<Said, SendError> {
        if self.peer.packet_bytes_max < 4 {
            return Err(SendError::PacketTooLarge { bytes: 4, bytes_max: self.peer.packet_bytes_max });
        }
        if matches!(kind, AckKind::PubAck | AckKind::PubComp) {
            self.quota_in.give();
        }
        let [high, low] = packet_id.get().to_be_bytes();
        out.put_slice(&[kind.packet_type().first(), 2, high, low]);
        self.clock.send();
        Ok(Said::Yes)
    }

    /// Says AUTH with the method of the connection (section 4.12). A server that has heard enough before CONNACK says it with
    /// [`super::Welcome::auth_data`] instead.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] if the connection has no method.
    pub fn authenticate(
        &mut self,
        reason: ReasonCode,
        data: Option<bytes::Bytes>,
        notes: Notes,
        out: &mut Output,
    ) -> Result<(), SendError> {
        if self.state == State::Closed || self.peer.auth_method.is_none() {
            return Err(SendError::NotConnected);
        }
        let auth = Auth { reason, method: self.peer.auth_method.clone(), data, notes };
        self.put_with_problem(Packet::Auth(auth), out)
    }

    fn transfer(&mut self, transfer: &Transfer<'_>, now: Time, out: &mut Output) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::NotConnected);
        }
        let asks = transfer.qos != QoS::AtMostOnce;
        if asks && self.quota_out.left() == 0 {
            return Err(SendError::ReceiveMaximum);
        }
        let message = transfer.message;
        let alias = self.aliases_out.find(message.address());
        let beside = self.beside(transfer);
        self.write(transfer, &beside, alias, now, out)?;
        out.put_payload(message.payload());
        if let Alias::New(number) = alias {
            self.aliases_out.set(number, message.address());
        }
        if asks {
            let counted = self.quota_out.take();
            debug_assert!(counted, "there was room above");
        }
        if !beside.is_whole() {
            dialect::note_losses(message, self.peer.version, &mut self.losses);
        }
        self.clock.send();
        Ok(())
    }

    /// MQTT 3 has no place for anything beside the message.
    fn beside(&self, transfer: &Transfer<'_>) -> Beside {
        match self.peer.version.is_v5() {
            true => Beside::new(transfer.message, transfer.count, self.config.sidecar_bytes_max),
            false => Beside::default(),
        }
    }

    /// Writes all that stands before the payload.
    fn write(
        &self,
        transfer: &Transfer<'_>,
        beside: &Beside,
        alias: Alias,
        now: Time,
        out: &mut Output,
    ) -> Result<(), SendError> {
        let Transfer { message, qos, packet_id, dup, retain, subscription_ids, .. } = *transfer;
        let (version, bytes_max) = (self.peer.version, self.peer.packet_bytes_max);
        let (topic, number) = match alias {
            Alias::None => (message.address().as_str(), None),
            Alias::New(number) => (message.address().as_str(), Some(number)),
            Alias::Known(number) => ("", Some(number)),
        };
        let header = PublishHeader { dup: dup && qos != QoS::AtMostOnce, qos, retain, packet_id, topic };
        let properties = |f: &mut dyn FnMut(Property<'_>)| {
            subscription(number, subscription_ids, f);
            dialect::write_properties(message, now, beside, f);
        };
        let payload_bytes = message.payload().len();
        if bytes_max != u32::MAX {
            let bytes = header.encoded_len(version, properties, payload_bytes)?;
            if bytes as u64 > u64::from(bytes_max) {
                return Err(SendError::PacketTooLarge { bytes, bytes_max });
            }
        }
        flat(out, |buffer| header.encode(version, properties, payload_bytes, buffer)).map_err(SendError::from)
    }

    /// The end that this machine is; for commands of one role.
    pub(super) fn is_open_as(&self, end: End) -> Result<(), SendError> {
        if self.state == State::Open && self.end == end { Ok(()) } else { Err(SendError::NotConnected) }
    }
}

/// The properties of a PUBLISH that are this connection's.
fn subscription(alias: Option<NonZeroU16>, subscription_ids: &[u32], f: &mut dyn FnMut(Property<'_>)) {
    if let Some(alias) = alias {
        f(Property::TopicAlias(alias));
    }
    subscription_ids.iter().for_each(|&id| f(Property::SubscriptionId(id)));
}

/// MQTT can say every level.
fn wire(qos: Qos) -> QoS {
    QoS::write(qos).unwrap_or(QoS::AtMostOnce)
}
