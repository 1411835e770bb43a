use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use roadbed_core::{Consumer, ErrorKind, Fut, Granted, Output, Result};

use crate::codec::{Notes, PacketId, ReasonCode, Subscribe, Unsubscribe};
use crate::{Machine, dialect};

/// SUBSCRIBE and UNSUBSCRIBE packets under way, answered in the order in which they came.
#[derive(Default)]
pub(super) struct Subscriptions(VecDeque<Request>);

struct Request {
    packet_id: PacketId,
    /// One for each filter; `None` is for the endpoint to say.
    codes: Vec<Option<ReasonCode>>,
    work: Work,
}

enum Work {
    Bind(Fut<Vec<Result<Granted>>>),
    Unbind(Fut<Vec<Result<bool>>>),
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn subscribe(&mut self, consumer: &mut dyn Consumer, packet: Subscribe) {
        let mut bindings = Vec::with_capacity(packet.subscriptions.len());
        let mut codes = Vec::with_capacity(packet.subscriptions.len());
        for subscription in packet.subscriptions {
            let binding = dialect::binding(&subscription, packet.subscription_id);
            codes.push(binding.as_ref().err().copied());
            bindings.extend(binding);
        }
        let work = Work::Bind(consumer.bind(bindings));
        self.0.push_back(Request { packet_id: packet.packet_id, codes, work });
    }

    pub(super) fn unsubscribe(&mut self, consumer: &mut dyn Consumer, packet: &Unsubscribe) {
        let mut bindings = Vec::with_capacity(packet.filters.len());
        let mut codes = Vec::with_capacity(packet.filters.len());
        for text in &packet.filters {
            let binding = dialect::unbind(text);
            codes.push(binding.as_ref().err().copied());
            bindings.extend(binding);
        }
        let work = Work::Unbind(consumer.unbind(bindings));
        self.0.push_back(Request { packet_id: packet.packet_id, codes, work });
    }

    /// Answers what is done; says whether anything was.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, machine: &mut Machine, out: &mut Output) -> Result<bool> {
        let mut moved = false;
        while let Some(request) = self.0.front_mut() {
            let Poll::Ready(answered) = request.poll(cx) else { break };
            let mut answered = answered?.into_iter();
            let request = self.0.pop_front().expect("the front was just polled");
            let unsubscribe = matches!(request.work, Work::Unbind(_));
            let codes = request.codes.into_iter();
            let codes =
                codes.map(|code| code.or_else(|| answered.next()).unwrap_or(ReasonCode::UnspecifiedError)).collect();
            match unsubscribe {
                true => machine.unsubscribed(request.packet_id, codes, Notes::default(), out),
                false => machine.subscribed(request.packet_id, codes, Notes::default(), out),
            }?;
            moved = true;
        }
        if moved && self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        Ok(moved)
    }
}

impl Request {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<ReasonCode>>> {
        match &mut self.work {
            Work::Bind(bound) => bound.as_mut().poll(cx).map_ok(|got| got.iter().map(dialect::granted).collect()),
            Work::Unbind(unbound) => unbound.as_mut().poll(cx).map_ok(|existed| existed.iter().map(removed).collect()),
        }
    }
}

/// The code of UNSUBACK for a filter that was taken away.
fn removed(existed: &Result<bool>) -> ReasonCode {
    match existed {
        Ok(true) => ReasonCode::Success,
        Ok(false) => ReasonCode::NoSubscriptionExisted,
        Err(error) if error.kind() == ErrorKind::Unauthorized => ReasonCode::NotAuthorized,
        Err(_) => ReasonCode::UnspecifiedError,
    }
}
