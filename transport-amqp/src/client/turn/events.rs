//! What the server did.

use fe2o3_amqp_types::definitions::ReceiverSettleMode;
use fe2o3_amqp_types::performatives::Attach;
use roadbed_core::{ErrorKind, Output, SessionEvent, Time};

use super::{Running, goodbye};
use crate::client::attach::{granted, is_resumable};
use crate::client::inbound::Arriving;
use crate::client::replies;
use crate::client::shared::{Ended, State};
use crate::client::state::{Kind, LinkStage, Stage};
use crate::client::wire::Wire;
use crate::client::words;
use crate::codec::Fault;
use crate::{Detached, Disposed, Event, Incoming, LinkId, SessionId, unsettled_map};

impl Running {
    pub(super) fn event(&mut self, state: &mut State, event: Event, now: Time, out: &mut Output) {
        match event {
            Event::Transfer(incoming) => self.transfer(state, incoming, now),
            Event::Disposed(disposed) => self.disposed(state, &disposed, now, out),
            Event::Forgotten(forgotten) => {
                for forgotten in forgotten {
                    let Some(&(session, link)) = self.places.links.get(&forgotten.link) else { continue };
                    let State { sessions, wakers, .. } = &mut *state;
                    if let Some(found) = sessions.get_mut(&session) {
                        found.forgotten(link, forgotten.delivery, wakers);
                    }
                    state.touch(session);
                }
            }
            Event::Credit(id, credit) => {
                let Some(&(session, link)) = self.places.links.get(&id) else { return };
                let State { sessions, wakers, .. } = &mut *state;
                let Some(found) = sessions.get_mut(&session) else { return };
                if let Some(Kind::Producer(outbound)) = found.links.get_mut(&link).map(|link| &mut link.kind) {
                    outbound.credit(credit.credit, credit.drain, wakers);
                }
                found.touch(link);
                state.touch(session);
            }
            Event::Drained(id) => {
                let Some(&(session, link)) = self.places.links.get(&id) else { return };
                let State { sessions, wakers, .. } = &mut *state;
                if let Some(found) = sessions.get_mut(&session) {
                    found.drained(link, wakers);
                }
                state.touch(session);
            }
            Event::Begin(id) => {
                let Some(&session) = self.places.sessions.get(&id) else { return };
                if let Some(found) = state.sessions.get_mut(&session) {
                    found.stage = Stage::Begun;
                }
                state.touch(session);
            }
            Event::Attach(id, attach) => self.attached(state, id, &attach, out),
            Event::Detach(id, detached) => self.detached(state, id, detached),
            Event::End(id, fault) => self.ended(state, id, fault.as_ref()),
            Event::Close(fault) => {
                self.ending.get_or_insert(goodbye(fault.as_ref()));
            }
            Event::Sasl { .. } | Event::SaslResponse(_) | Event::Open(_) => {}
        }
    }

    fn transfer(&mut self, state: &mut State, incoming: Incoming, now: Time) {
        let Some(&(session, link)) = self.places.links.get(&incoming.link) else { return };
        let State { sessions, wakers, .. } = &mut *state;
        let Some(found) = sessions.get_mut(&session) else { return };
        let (config, counters) = (&self.shared.config.machine, &self.shared.counters);
        let (guard, sidecar_bytes_max) = (config.guard, config.sidecar_bytes_max);
        let context = Arriving { origin: &self.origin, guard, sidecar_bytes_max, counters, now };
        if let Some(inbound) = found.inbound(link) {
            inbound.backlog = self.machine.backlog(incoming.link);
            found.arrived(link, incoming, &context, wakers);
        } else if let Some(Kind::Replies(replies)) = found.links.get_mut(&link).map(|link| &mut link.kind) {
            replies.arrived(incoming, &guard);
            found.touch(link);
        }
        state.touch(session);
    }

    fn disposed(&mut self, state: &mut State, disposed: &Disposed, now: Time, out: &mut Output) {
        let mut wire = Wire { machine: &mut self.machine, out, losses: &mut self.losses, now };
        for delivery in &disposed.deliveries {
            let id = LinkId { session: disposed.session, handle: delivery.link };
            let Some(&(session, link)) = self.places.links.get(&id) else { continue };
            let said = disposed.state.as_ref();
            let is_call = state
                .sessions
                .get(&session)
                .and_then(|found| found.links.get(&link))
                .is_some_and(|link| matches!(link.kind, Kind::Calls(_)));
            if is_call {
                if !disposed.settled {
                    wire.machine.forget(id.session, delivery.number, disposed.state.clone(), wire.out);
                }
                state.call_answered(session, link, delivery.cookie, said);
            } else if let Some(found) = state.sessions.get_mut(&session) {
                found.disposed(link, delivery.cookie, said, disposed.settled, id, &mut wire);
                found.touch(link);
            }
            state.touch(session);
        }
        if let Some(&session) = self.places.sessions.get(&disposed.session) {
            let State { sessions, wakers, .. } = state;
            if let Some(found) = sessions.get_mut(&session) {
                found.tell_confirms(wakers);
            }
        }
    }

    fn attached(&mut self, state: &mut State, id: LinkId, attach: &Attach, out: &mut Output) {
        let Some(&(session, place)) = self.places.links.get(&id) else { return };
        let State { sessions, wakers, .. } = &mut *state;
        let Some(found) = sessions.get_mut(&session) else { return };
        let Some(link) = found.links.get_mut(&place).filter(|link| matches!(link.stage, LinkStage::Asking)) else {
            return;
        };
        let Some(attached) = granted(link, attach) else {
            link.stage = LinkStage::Refused;
            return;
        };
        let resumed = attach.unsettled.is_some();
        let second = attach.rcv_settle_mode == ReceiverSettleMode::Second;
        if core::mem::take(&mut link.purge) && resumed {
            // It is attached; what the server had under its name goes with this.
            let _ = self.machine.detach(id, true, None, out);
            self.places.links.remove(&id);
            (link.stage, link.wire) = (LinkStage::New, None);
            found.touch(place);
            return state.touch(session);
        }
        link.stage = LinkStage::Attached;
        link.attached = attached.clone();
        let answer = link.answer.take();
        let theirs = unsettled_map(attach);
        let goes_on = found.terms.kept && is_resumable(&link.kind);
        match &mut link.kind {
            Kind::Producer(outbound) => {
                outbound.grant(attached.qos_max);
                found.producer_resumed(place, &theirs);
            }
            Kind::Consumer(inbound) if !goes_on => inbound.second = second,
            Kind::Consumer(inbound) => {
                inbound.second = second;
                found.consumer_resumed(place, &theirs, wakers);
            }
            Kind::Replies(_) => {
                let _ = self.machine.grant(id, replies::CREDIT, false, None, out);
            }
            _ => {}
        }
        let counters = &self.shared.counters;
        match (goes_on, resumed) {
            (true, true) => counters.links_resumed(),
            (true, false) => counters.links_lost(),
            _ => {}
        }
        if let Some(opening) = found.opening.take() {
            found.opened.resumed = resumed;
            let _ = opening.send(Ok(found.opened.clone()));
        }
        if let Some(answer) = answer {
            let _ = answer.send(Ok(found.granted(place)));
        }
        let lost = !resumed && found.inbound(place).is_some_and(|inbound| inbound.is_lost());
        found.touch(place);
        state.touch(session);
        if lost {
            state.bind_again(session, place);
        }
    }

    fn detached(&mut self, state: &mut State, id: LinkId, detached: Detached) {
        let Some((session, place)) = self.places.links.remove(&id) else { return };
        let Some(found) = state.sessions.get_mut(&session) else { return };
        let Some(link) = found.links.get_mut(&place) else { return };
        let refused = matches!(link.stage, LinkStage::Refused | LinkStage::Asking);
        link.wire = None;
        let fault = detached.fault.unwrap_or_else(|| {
            let words = if refused { "the server refuses the link" } else { "the server has detached the link" };
            Fault::new(if refused { "amqp:not-allowed" } else { "amqp:link:detach-forced" }, words)
        });
        let resumable = is_resumable(&link.kind);
        if fault.condition == "amqp:link:stolen" && found.terms.kept && resumable {
            let ended = Ended::new(ErrorKind::Closed, "another connection has taken the session's name");
            return state.end(session, &ended, Some(SessionEvent::TakenOver));
        }
        let error = words::error(&fault, "attach");
        let ended = Ended::from(&error);
        if found.opening.is_some() && !lacks(error.kind()) {
            // Whether there is a session to go on with is not known.
            return state.end(session, &ended, None);
        }
        let State { sessions, wakers, .. } = &mut *state;
        let Some(found) = sessions.get_mut(&session) else { return };
        if let Some(link) = found.links.get_mut(&place) {
            link.fail(&ended, wakers);
        }
        found.producer_failed(place, &ended, wakers);
        // A server without queues of sessions can still have the others.
        if let Some(opening) = found.opening.take() {
            found.opened.resumed = !found.opened.in_doubt.is_empty();
            let _ = opening.send(Ok(found.opened.clone()));
        }
        found.touch(place);
        state.touch(session);
    }

    fn ended(&mut self, state: &mut State, id: SessionId, fault: Option<&Fault>) {
        let Some(session) = self.places.sessions.remove(&id) else { return };
        self.places.links.retain(|link, _| link.session != id);
        if let Some(found) = state.sessions.get_mut(&session) {
            found.wire = None;
        }
        let ended = match fault {
            Some(fault) => Ended::from(&words::error(fault, "receive")),
            None => Ended::new(ErrorKind::Closed, "the server has ended the session"),
        };
        state.end(session, &ended, None);
    }
}

/// Whether a refusal says that the server has no queue for a session, rather than that it cannot tell now.
fn lacks(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotSupported | ErrorKind::Invalid | ErrorKind::Unauthorized)
}
