//! SUBSCRIBE and UNSUBSCRIBE: what was asked for, and what the server said.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytestring::ByteString;
use roadbed_core::{Binding, Error, ErrorKind, Filter, Granted, Qos, Result, Unbind, WireQos};
use tokio::sync::oneshot;

use super::inbound::Inbound;
use crate::codec::{PacketId, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe, Version};
use crate::{SendError, dialect};

/// How many filters go into one packet.
const FILTERS_MAX: usize = 32;

/// Requests that wait, and requests that the server has not answered.
#[derive(Default)]
pub(super) struct Requests {
    waiting: VecDeque<Request>,
    asked: BTreeMap<PacketId, Request>,
}

pub(super) enum Request {
    /// Follow filters for a consumer. All have the same subscription identifier.
    Subscribe { consumer: u64, bindings: Vec<Binding>, answer: Option<Answer<Granted>> },
    /// Stop following.
    Unsubscribe { unbinds: Vec<Unbind>, answer: Option<Answer<bool>> },
}

type Answer<T> = oneshot::Sender<Result<Vec<Result<T>>>>;

impl Requests {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.asked.len()
    }

    pub(super) fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Whether a request goes by this packet identifier.
    pub(super) fn knows(&self, id: PacketId) -> bool {
        self.asked.contains_key(&id)
    }

    pub(super) fn pop(&mut self) -> Option<Request> {
        self.waiting.pop_front()
    }

    pub(super) fn asked(&mut self, id: PacketId, request: Request) {
        self.asked.insert(id, request);
    }

    /// A connection has been opened: what was asked on an earlier one is asked again. If the server has no session, so is all that was granted.
    pub(super) fn connected(&mut self, resumed: bool, inbound: &Inbound) {
        let asked = core::mem::take(&mut self.asked).into_values();
        let waiting = core::mem::take(&mut self.waiting);
        let again = if resumed { Vec::new() } else { restore(inbound) };
        self.waiting = again.into_iter().chain(asked).chain(waiting).collect();
    }

    /// Answers a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, id: PacketId, codes: &[ReasonCode], inbound: &mut Inbound) {
        let Some(Request::Subscribe { consumer, bindings, answer }) = self.asked.remove(&id) else { return };
        let mut codes = codes.iter().copied();
        let unbinds: Vec<_> = bindings.iter().map(unbind).collect();
        let granted = bindings.into_iter().map(|binding| {
            let qos = granted(codes.next().unwrap_or(ReasonCode::UnspecifiedError), &binding.filter)?;
            Ok(Granted { qos, replaced: inbound.bound(consumer, binding) })
        });
        let granted = granted.collect();
        let answered = answer.is_none_or(|answer| answer.send(Ok(granted)).is_ok());
        if !answered && !inbound.is_attached(consumer) {
            // Whoever asked is gone, and what comes by it would be somebody else's.
            self.push(Request::Unsubscribe { unbinds, answer: None });
        }
    }

    /// Answers an UNSUBSCRIBE. MQTT 3 says no codes: then it is as far as is known here.
    pub(super) fn unsubscribed(&mut self, id: PacketId, codes: &[ReasonCode], inbound: &mut Inbound) {
        let Some(Request::Unsubscribe { unbinds, answer }) = self.asked.remove(&id) else { return };
        let mut codes = codes.iter().copied();
        let removed = unbinds.into_iter().map(|unbind| {
            let known = inbound.unbound(&unbind);
            match codes.next() {
                None => Ok(known),
                Some(ReasonCode::Success) => Ok(true),
                Some(ReasonCode::NoSubscriptionExisted) => Ok(false),
                Some(code) => Err(refused(code, &unbind.filter)),
            }
        });
        let removed = removed.collect();
        let _ = answer.map(|answer| answer.send(Ok(removed)));
    }

    /// The packet could not be written.
    pub(super) fn unwritten(&mut self, id: PacketId, error: SendError) {
        if let Some(request) = self.asked.remove(&id) {
            request.fail(error);
        }
    }

    /// Nobody will be answered any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.asked.clear();
    }
}

/// Everything that is followed, to be asked for anew.
fn restore(inbound: &Inbound) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for (consumer, binding) in inbound.bindings() {
        match requests.last_mut() {
            Some(Request::Subscribe { consumer: same, bindings, .. })
                if *same == consumer && bindings.len() < FILTERS_MAX && bindings[0].id == binding.id =>
            {
                bindings.push(binding.clone());
            }
            _ => requests.push(Request::Subscribe { consumer, bindings: alloc::vec![binding.clone()], answer: None }),
        }
    }
    requests
}

/// Splits bindings into runs that one packet can carry.
pub(super) fn packets(bindings: Vec<Binding>) -> Vec<Vec<Binding>> {
    let mut packets: Vec<Vec<Binding>> = Vec::new();
    for binding in bindings {
        match packets.last_mut() {
            Some(last) if last.len() < FILTERS_MAX && last[0].id == binding.id => last.push(binding),
            _ => packets.push(alloc::vec![binding]),
        }
    }
    packets
}

impl Request {
    /// As a packet.
    pub(super) fn packet(&self, packet_id: PacketId, version: Version) -> Packet {
        match self {
            Self::Subscribe { bindings, .. } => Packet::Subscribe(Subscribe {
                packet_id,
                subscription_id: bindings.first().and_then(|binding| binding.id).filter(|_| version.is_v5()),
                user: Vec::new(),
                subscriptions: bindings.iter().map(subscription).collect(),
            }),
            Self::Unsubscribe { unbinds, .. } => Packet::Unsubscribe(Unsubscribe {
                packet_id,
                user: Vec::new(),
                filters: unbinds.iter().map(|unbind| text(&unbind.filter, unbind.share.as_ref())).collect(),
            }),
        }
    }

    fn fail(self, error: SendError) {
        match self {
            Self::Subscribe { answer: Some(answer), .. } => drop(answer.send(Err(error.into()))),
            Self::Unsubscribe { answer: Some(answer), .. } => drop(answer.send(Err(error.into()))),
            _ => tracing::warn!(%error, "a subscription cannot be made anew"),
        }
    }
}

/// A request as it is written.
pub(super) enum Packet {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
}

fn subscription(binding: &Binding) -> Subscription {
    Subscription {
        filter: text(&binding.filter, binding.share.as_ref()),
        qos: dialect::qos(binding.qos_max).unwrap_or(QoS::ExactlyOnce),
        no_local: binding.no_local,
        retain_as_published: binding.retain_as_published,
        retain_handling: match binding.retain_handling {
            roadbed_core::RetainHandling::Always => RetainHandling::Send,
            roadbed_core::RetainHandling::IfNew => RetainHandling::SendIfNew,
            roadbed_core::RetainHandling::Never => RetainHandling::DoNotSend,
        },
    }
}

fn unbind(binding: &Binding) -> Unbind {
    Unbind { filter: binding.filter.clone(), share: binding.share.clone() }
}

fn text(filter: &Filter, share: Option<&ByteString>) -> ByteString {
    share.map_or_else(|| filter.text().clone(), |share| alloc::format!("$share/{share}/{filter}").into())
}

/// Why a binding cannot be asked for in this version.
pub(super) fn unsayable(binding: &Binding, version: Version) -> Option<Error> {
    let no = |what: &str| {
        let words = alloc::format!("MQTT 3.1.1 has no {what}: use version 5");
        Some(Error::new(ErrorKind::NotSupported, "bind").detail(words))
    };
    match version.is_v5() {
        true if binding.share.is_some() && binding.no_local => {
            let error = Error::new(ErrorKind::Invalid, "bind");
            Some(error.detail("a shared subscription cannot leave out what its session sent [MQTT-3.8.3-4]"))
        }
        true if binding.id.is_some_and(|id| id == 0 || id > 268_435_455) => {
            Some(Error::new(ErrorKind::Invalid, "bind").detail("a subscription identifier is 1 to 268,435,455"))
        }
        true => None,
        false if binding.no_local => no("way to leave out what a session sent itself"),
        false if binding.retain_as_published => no("way to keep the retain flag as published"),
        false => None,
    }
}

fn granted(code: ReasonCode, filter: &Filter) -> Result<Qos> {
    let qos = match code {
        ReasonCode::Success => QoS::AtMostOnce,
        ReasonCode::GrantedQos1 => QoS::AtLeastOnce,
        ReasonCode::GrantedQos2 => QoS::ExactlyOnce,
        _ => return Err(refused(code, filter)),
    };
    Ok(qos.read())
}

fn refused(code: ReasonCode, filter: &Filter) -> Error {
    let kind = match code {
        ReasonCode::NotAuthorized => ErrorKind::Unauthorized,
        ReasonCode::TopicFilterInvalid => ErrorKind::Invalid,
        ReasonCode::QuotaExceeded => ErrorKind::Exhausted,
        ReasonCode::SharedSubscriptionsNotSupported
        | ReasonCode::SubscriptionIdentifiersNotSupported
        | ReasonCode::WildcardSubscriptionsNotSupported => ErrorKind::NotSupported,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "bind").detail(format_args!("the server refuses `{filter}`: {code}"))
}
