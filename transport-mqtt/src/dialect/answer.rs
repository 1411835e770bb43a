use roadbed_core::{Condition, Confirm, Event, Outcome, Qos, Role, Wire, WireDelivery};

use crate::codec::{Ack, AckKind, Notes, PacketId, ReasonCode};

/// The reason code of PUBACK or PUBREC that tells a sender what became of its message; `None` only for what no version can say: an outcome that is not known yet.
///
/// A failure has no word in MQTT 3, which [`Machine::confirm`](crate::Machine::confirm) then withholds.
pub fn confirm_reason(confirm: &Confirm) -> Option<ReasonCode> {
    if confirm.provisional.is_some() {
        return None;
    }
    Some(match (&confirm.outcome, confirm.why) {
        (Outcome::Accepted | Outcome::Released, Some(Condition::NoRoute | Condition::NoConsumer)) => {
            ReasonCode::NoMatchingSubscribers
        }
        (Outcome::Accepted, _) => ReasonCode::Success,
        (Outcome::Rejected(reason), _) => failure(reason.condition),
        (_, Some(why)) => failure(why),
        _ => ReasonCode::ImplementationSpecificError,
    })
}

/// The words of a refusal, for a person.
pub fn confirm_notes(confirm: &Confirm) -> Notes {
    match &confirm.outcome {
        Outcome::Rejected(reason) => match &reason.text {
            Some(text) if text.len() <= usize::from(u16::MAX) && !text.contains('\0') => Notes::text(text.as_str()),
            _ => Notes::default(),
        },
        _ => Notes::default(),
    }
}

/// The failure of PUBACK and PUBREC (section 3.4.2.1) for a condition.
pub(crate) fn failure(condition: Condition) -> ReasonCode {
    match condition {
        Condition::Unauthorized => ReasonCode::NotAuthorized,
        Condition::NotFound | Condition::InvalidAddress => ReasonCode::TopicNameInvalid,
        Condition::InvalidPayload => ReasonCode::PayloadFormatInvalid,
        Condition::Full | Condition::StoreFull | Condition::Busy | Condition::TooLarge => ReasonCode::QuotaExceeded,
        Condition::Refused => ReasonCode::UnspecifiedError,
        _ => ReasonCode::ImplementationSpecificError,
    }
}

/// What a failing PUBACK or PUBREC says about the message.
fn condition(reason: ReasonCode) -> Condition {
    match reason {
        ReasonCode::NotAuthorized => Condition::Unauthorized,
        ReasonCode::TopicNameInvalid => Condition::InvalidAddress,
        ReasonCode::PayloadFormatInvalid => Condition::InvalidPayload,
        ReasonCode::QuotaExceeded => Condition::Full,
        ReasonCode::ImplementationSpecificError => Condition::Unavailable,
        _ => Condition::Refused,
    }
}

impl WireDelivery for Ack {
    /// PUBACK and PUBREC name an outcome, PUBREL and PUBCOMP the second half. A refusal ends the delivery at once, also at QoS 2 [MQTT-4.3.3-9].
    fn event(&self, _wire: &Wire) -> Option<Event> {
        let outcome = match self.reason.is_failure() {
            true => {
                let mut reason = roadbed_core::Reason::from(condition(self.reason));
                reason.text = self.notes.reason_string.as_ref().map(|text| alloc::sync::Arc::new((&**text).into()));
                Outcome::Rejected(reason)
            }
            false => Outcome::Accepted,
        };
        Some(match self.kind {
            AckKind::PubAck => Event::Dispose { outcome, settled: true },
            AckKind::PubRec => Event::Dispose { settled: self.reason.is_failure(), outcome },
            AckKind::PubRel | AckKind::PubComp => Event::Settle,
        })
    }

    fn write(event: &Event, wire: &Wire) -> Option<Self> {
        let id = PacketId::new(u16::try_from(wire.first).ok()?).filter(|_| wire.first == wire.last)?;
        match (event, wire.role, wire.qos) {
            (Event::Dispose { outcome: Outcome::Accepted, settled: true }, Role::Receiver, Qos::AtLeastOnce) => {
                Some(Self::new(AckKind::PubAck, id))
            }
            (Event::Dispose { outcome: Outcome::Accepted, settled: false }, Role::Receiver, Qos::ExactlyOnce) => {
                Some(Self::new(AckKind::PubRec, id))
            }
            (Event::Dispose { outcome: Outcome::Rejected(reason), settled: true }, Role::Receiver, qos) => {
                let kind = match qos {
                    Qos::AtMostOnce => return None,
                    Qos::AtLeastOnce => AckKind::PubAck,
                    Qos::ExactlyOnce => AckKind::PubRec,
                };
                Some(Self::with_reason(kind, id, failure(reason.condition)))
            }
            (Event::Settle, Role::Sender, Qos::ExactlyOnce) => Some(Self::new(AckKind::PubRel, id)),
            (Event::Settle, Role::Receiver, Qos::ExactlyOnce) => Some(Self::new(AckKind::PubComp, id)),
            _ => None,
        }
    }
}

/// An answer of MQTT 3: it has a kind and a packet identifier, and is always positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainAck {
    /// Which answer.
    pub kind: AckKind,
    /// Which message.
    pub packet_id: PacketId,
}

impl WireDelivery for PlainAck {
    fn event(&self, wire: &Wire) -> Option<Event> {
        Ack::new(self.kind, self.packet_id).event(wire)
    }

    fn write(event: &Event, wire: &Wire) -> Option<Self> {
        let ack = Ack::write(event, wire).filter(|ack| !ack.reason.is_failure())?;
        Some(Self { kind: ack.kind, packet_id: ack.packet_id })
    }
}
