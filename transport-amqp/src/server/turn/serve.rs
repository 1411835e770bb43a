//! What the endpoint has for the links of a connection: confirms, credit, deliveries.

use core::task::{Context, Poll};

use roadbed_core::serve::Batch;
use roadbed_core::{Disposition, Outcome, Output, Qos, Result, SessionEvent, Step, Time};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::again::Again;
use super::super::coordinator::Retired;
use super::super::links::{Kind, Rare};
use super::super::settle::cookie;
use super::requests::REQUESTS_CREDIT;
use super::{CONTROL_CREDIT, DELIVERIES_MAX, Running};
use crate::codec::{Fault, State};
use crate::{LinkId, SendError, Sending, dialect};

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Running<S> {
    /// Looks at the links that something happened to; the others cost nothing.
    pub(super) fn serve_links(&mut self, cx: &mut Context<'_>, now: Time, batch: &mut Batch, out: &mut Output) -> bool {
        let mut moved = false;
        self.links.unstall();
        while let Poll::Ready(place) = self.links.ready.poll_ready(cx) {
            self.links.touch(place);
        }
        while let Some(place) = self.links.next_touched() {
            let waker = self.links.ready.waker(place);
            let mut cx = Context::from_waker(&waker);
            let Some(link) = self.links.at(place) else { continue };
            let id = link.id;
            if let Some(lost) = link.rare.as_mut().and_then(|rare| rare.poll_lost(&mut cx)) {
                match lost {
                    Lost::Stolen => self.stolen(id, out),
                    Lost::Revoked => self.break_link(id, revoked(), out),
                }
                continue;
            }
            let served = match &link.kind {
                Kind::Producer { .. } => self.serve_producer(&mut cx, place, id, batch, out),
                Kind::Consumer { .. } => self.serve_consumer(&mut cx, place, id, now, batch, out),
                Kind::Coordinator => {
                    if self.machine.credit(id).credit < CONTROL_CREDIT / 2 {
                        let _ = self.machine.grant(id, CONTROL_CREDIT, false, None, out);
                    }
                    Ok(false)
                }
                Kind::Requests(_) => {
                    let credit = REQUESTS_CREDIT.saturating_sub(self.machine.unanswered(id));
                    if self.machine.credit(id).credit < credit / 2 {
                        let _ = self.machine.grant(id, credit, false, None, out);
                    }
                    Ok(false)
                }
                Kind::Replies(_) => Ok(self.serve_replies(place, id, now, out)),
            };
            match served {
                Ok(served) => moved |= served,
                Err(error) => self.break_link(id, dialect::error_fault(&error), out),
            }
        }
        moved
    }

    /// Answers what was decided, and gives credit again for it.
    fn serve_producer(
        &mut self,
        cx: &mut Context<'_>,
        place: usize,
        id: LinkId,
        batch: &mut Batch,
        out: &mut Output,
    ) -> Result<bool> {
        let Some(Kind::Producer { producer, .. }) = self.links.at(place).map(|link| &mut link.kind) else {
            return Ok(false);
        };
        let mut moved = false;
        while let Poll::Ready(polled) = producer.poll_confirms(cx, &mut batch.confirms) {
            moved |= polled? > 0;
            for confirm in batch.confirms.drain(..) {
                self.machine.answer(id.session, confirm.cookie, dialect::confirm_state(&confirm), out);
            }
        }
        let max = self.shared.config.credit_max;
        let (credit, wanted) = (self.machine.credit(id).credit, max.saturating_sub(self.machine.unanswered(id)));
        if credit <= max / 2
            && wanted > credit
            && let Poll::Ready(room) = producer.poll_reserve(cx, wanted, 0)
        {
            let room = room?.min(wanted);
            if room > credit {
                let _ = self.machine.grant(id, room, false, None, out);
            }
        }
        Ok(moved)
    }

    /// Takes deliveries as long as there is credit, and room to write them.
    fn serve_consumer(
        &mut self,
        cx: &mut Context<'_>,
        place: usize,
        id: LinkId,
        now: Time,
        batch: &mut Batch,
        out: &mut Output,
    ) -> Result<bool> {
        let Some(Kind::Consumer { consumer, .. }) = self.links.at(place).map(|link| &mut link.kind) else {
            return Ok(false);
        };
        let mut moved = false;
        while let Poll::Ready(polled) = consumer.poll_settled(cx, &mut batch.done) {
            moved |= polled? > 0;
            for done in batch.done.drain(..) {
                let state = self.unsaid.remove(&(id, done.cookie));
                self.machine.forget(id.session, done.cookie, state, out);
            }
        }
        if !self.go_on(place, id, now, batch, out)? {
            return Ok(moved);
        }
        let write_bytes_max = self.shared.config.write_bytes_max;
        let Some(link) = self.links.at(place) else { return Ok(moved) };
        let tags = link.tags();
        let Kind::Consumer { consumer, .. } = &mut link.kind else { return Ok(moved) };
        loop {
            let credit = self.machine.credit(id);
            let room = self.machine.room(id);
            if (room == 0 && credit.credit > 0) || out.len() >= write_bytes_max {
                self.links.stall(place);
                break;
            }
            if room == 0 && !credit.drain {
                break;
            }
            match consumer.poll_receive(cx, &mut batch.deliveries, room.min(DELIVERIES_MAX) as usize) {
                Poll::Pending => break,
                Poll::Ready(received) => {
                    if received? == 0 {
                        let _ = self.machine.drained(id, out);
                        break;
                    }
                    moved = true;
                }
            }
            for delivery in batch.deliveries.drain(..) {
                let tag = tags.of(&delivery);
                let txn = delivery.info.as_ref().and_then(|info| info.txn);
                // What is acquired by a transaction says so (Part 4, section 4.4).
                let state = txn.map(|txn| State::Transactional { txn: dialect::txn_bytes(txn), outcome: None });
                let first = delivery.qos < Qos::ExactlyOnce;
                let sending = Sending { cookie: delivery.handle.map(cookie), tag, first, state, ..Sending::default() };
                let sent = self.machine.deliver(id, &delivery, sending, now, &mut self.losses, out);
                if let (Ok(number), Some(handle), Some(txn)) = (sent, delivery.handle, txn) {
                    let acquired = Retired { link: id, delivery: number, handle, state: State::Released };
                    self.transactions.acquire(txn, acquired);
                }
                batch.dispositions.extend(unsendable(sent, delivery.handle)?);
            }
            if !batch.dispositions.is_empty() {
                consumer.settle(&mut batch.dispositions);
            }
        }
        Ok(moved)
    }

    /// Sends first what an earlier attachment has left unsettled. Whether nothing of it is left.
    fn go_on(&mut self, place: usize, id: LinkId, now: Time, batch: &mut Batch, out: &mut Output) -> Result<bool> {
        let Some(link) = self.links.at(place) else { return Ok(true) };
        let tags = link.tags();
        let (Kind::Consumer { consumer, .. }, Some(rare)) = (&mut link.kind, &mut link.rare) else { return Ok(true) };
        while let Some(next) = rare.again.pop_front() {
            if self.machine.credit(id).credit == 0 {
                rare.again.push_front(next);
                return Ok(false);
            }
            let (delivery, resume) = match next {
                Again::Deliver { delivery, resume } => (delivery, resume),
                Again::Settle { tag, state } => {
                    self.machine.settle_resumed(id, tag, Some(state), out)?;
                    continue;
                }
                Again::Restart { delivery } => {
                    if let Some(tag) = tags.of(&delivery) {
                        self.machine.abort_resumed(id, tag, out)?;
                    }
                    rare.again.push_front(Again::Deliver { delivery, resume: false });
                    continue;
                }
            };
            let first = delivery.qos < Qos::ExactlyOnce;
            let (cookie, tag) = (delivery.handle.map(cookie), tags.of(&delivery));
            let sending = Sending { cookie, tag, first, resume, ..Sending::default() };
            let sent = self.machine.deliver(id, &delivery, sending, now, &mut self.losses, out);
            batch.dispositions.extend(unsendable(sent, delivery.handle)?);
        }
        if !batch.dispositions.is_empty() {
            consumer.settle(&mut batch.dispositions);
        }
        Ok(true)
    }
}

/// How a link's own session is lost.
pub(super) enum Lost {
    /// To another connection.
    Stolen,
    Revoked,
}

impl Rare {
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Option<Lost> {
        let core = &mut self.resumable.as_mut()?.core;
        while let Poll::Ready(event) = core.poll_event(cx) {
            match event {
                SessionEvent::TakenOver => return Some(Lost::Stolen),
                SessionEvent::Revoked(_) => return Some(Lost::Revoked),
                // The connection's own session is told the same.
                _ => {}
            }
        }
        None
    }
}

fn revoked() -> Fault {
    Fault::new("amqp:unauthorized-access", "the link's right to be here has ended")
}

/// A message that is too large for its receiver is at fault.
fn unsendable(sent: Result<u64, SendError>, handle: Option<roadbed_core::Handle>) -> Result<Option<Disposition>> {
    match sent {
        Ok(_) => Ok(None),
        Err(SendError::MessageTooLarge { .. }) => {
            let step = Step::Outcome { outcome: Outcome::rejected(roadbed_core::Condition::TooLarge), settled: true };
            Ok(handle.map(|handle| Disposition { delivery: handle.into(), cookie: None, step }))
        }
        Err(error) => Err(error.into()),
    }
}
