//! What comes: transfers, and what the peer says of deliveries.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use bytes::Bytes;
use roadbed_core::{Output, Role, TxnId};
use smallvec::SmallVec;

use super::link::{Held, PINNED_MAX, Partial, Stage};
use super::session::{Got, Sent, Session, widen};
use super::{Disposed, Event, Forgotten, Incoming, LinkId, Machine, SentDelivery, SessionId};
use crate::codec::{Disposition, State, Transfer};
use crate::dialect::txn_id;
use crate::error::Error;

/// What a peer did wrong with a transfer: to its session, or to its link alone.
enum Wrong {
    Session(&'static str, &'static str),
    Link(&'static str, &'static str),
}

impl Machine {
    /// Whether a message within `txn` has begun to come, and has not come whole: it cannot be discharged like that (Part 4, section 4.4.1).
    pub fn is_posting(&self, txn: TxnId) -> bool {
        let links = self.sessions.values().flat_map(|session| session.links.iter().flatten());
        links.filter_map(|link| link.partial.as_ref()).any(|partial| match &partial.state {
            Some(State::Transactional { txn: named, .. }) => txn_id(named) == Some(txn),
            _ => false,
        })
    }

    /// One frame of a message; the message when it is whole.
    pub(super) fn transferred(
        &mut self,
        id: SessionId,
        transfer: Transfer,
        payload: Bytes,
        out: &mut Output,
    ) -> Result<Option<Event>, Error> {
        let bytes_max = self.config.message_bytes_max;
        let copied = transfer.more && self.held().pinned >= PINNED_MAX;
        let overdraft_max = self.config.overdraft_max;
        let session = self.session(id)?;
        session.next_incoming = session.next_incoming.wrapping_add(1);
        let Some(window) = session.window.checked_sub(1) else {
            let words = "more transfers than the window takes";
            return Ok(Some(self.break_session(id, "amqp:session:window-violation", words, out)));
        };
        session.window = window;
        let Some(&handle) = session.handles.get(&transfer.handle) else {
            let words = "the handle has no link";
            return Ok(Some(self.break_session(id, "amqp:session:unattached-handle", words, out)));
        };
        let link_id = LinkId { session: id, handle };
        let Some(link) = session.link(handle) else { return Err(Error::Handle(handle)) };
        if link.stage == Stage::Detaching {
            self.refill(id, out);
            return Ok(None);
        }
        let (begins, second) = (link.partial.is_none(), link.second);
        let mut partial = match link.partial.take() {
            Some(partial) => {
                session.held.remove(partial.held);
                if transfer.delivery_id.is_some_and(|low| partial.delivery as u32 != low) {
                    let words = "a delivery begins within another of the same link";
                    return Ok(Some(self.break_session(id, "amqp:invalid-field", words, out)));
                }
                *partial
            }
            None => match begin(session, handle, &transfer, overdraft_max) {
                Ok(partial) => partial,
                Err(Wrong::Session(condition, words)) => {
                    return Ok(Some(self.break_session(id, condition, words, out)));
                }
                Err(Wrong::Link(condition, words)) => {
                    return Ok(Some(self.break_link(link_id, condition, words.into(), out)));
                }
            },
        };
        if transfer.aborted {
            self.refill(id, out);
            return Ok(None);
        }
        let more = transfer.more;
        partial.take(transfer, begins, second);
        partial.push(payload, copied);
        if partial.held.bytes > bytes_max {
            let words = format!("the message is larger than {bytes_max} bytes");
            return Ok(Some(self.break_link(link_id, "amqp:link:message-size-exceeded", words, out)));
        }
        if more {
            session.held.add(partial.held);
            if let Some(link) = session.link(handle) {
                // Only what does not come in one frame costs a box.
                link.partial = Some(Box::new(partial));
            }
            if self.held().bytes > self.config.partial_bytes_max.max(bytes_max) {
                let words = "too many messages of this connection have not come whole".into();
                return Ok(Some(self.break_link(link_id, "amqp:resource-limit-exceeded", words, out)));
            }
            self.refill(id, out);
            return Ok(None);
        }
        let event = self.got(link_id, partial);
        self.refill(id, out);
        Ok(Some(event))
    }

    /// What messages that have not come whole hold, over all sessions.
    fn held(&self) -> Held {
        let mut held = Held::default();
        self.sessions.values().for_each(|session| held.add(session.held));
        held
    }

    /// A message that is whole.
    fn got(&mut self, id: LinkId, whole: Partial) -> Event {
        let Partial { delivery, tag, settled, second, resume, state, pieces, .. } = whole;
        let second = second && !settled;
        if !settled && let Some(session) = self.sessions.get_mut(&id.session.0) {
            session.got.push(delivery, Got { link: id.handle, tag: second.then_some(tag), answered: false });
            if let Some(link) = session.link(id.handle) {
                link.unanswered += 1;
            }
        }
        Event::Transfer(Incoming { link: id, delivery, tag, settled, second, resume, state, pieces })
    }

    /// What the peer says of deliveries: of the range, only those that are not settled count, however long it is.
    pub(super) fn disposed(&mut self, id: SessionId, disposition: Disposition, out: &mut Output) -> Option<Event> {
        let Disposition { role, first, last, settled, state, .. } = disposition;
        let session = self.sessions.get_mut(&id.0)?;
        let newest = match role {
            Role::Receiver => session.next_sent.checked_sub(1)?,
            Role::Sender => session.last_got?,
        };
        let length = last.unwrap_or(first).wrapping_sub(first);
        let (first, end) = match widen(first, newest) {
            Some(first) => (first, first.saturating_add(length.into())),
            // It begins before the first delivery ever.
            None => (0, u64::from(length)),
        };
        let range = first..=end.min(newest);
        if range.is_empty() {
            return None;
        }
        if role == Role::Sender {
            return settled.then(|| self.forgotten(id, range)).flatten();
        }
        let told = settled || state.as_ref().is_some_and(|state| *state != State::Received);
        if !told {
            return None;
        }
        let mut deliveries = SmallVec::new();
        let mut told = |number, sent: &Sent| {
            let Sent { link, cookie } = *sent;
            deliveries.extend(cookie.map(|cookie| SentDelivery { link, number, cookie }));
        };
        if settled {
            session.sent.remove_range(range, |number, sent| told(number, &sent));
        } else {
            session.sent.range(range.clone()).for_each(|(number, sent)| told(number, sent));
            self.settle_unasked(id, range, out);
        }
        (!deliveries.is_empty()).then_some(Event::Disposed(Disposed { session: id, state, settled, deliveries }))
    }

    /// Nobody but us waits for what becomes of deliveries that were sent without a cookie: they are settled as soon as there is an outcome.
    fn settle_unasked(&mut self, id: SessionId, range: RangeInclusive<u64>, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        let unasked: Vec<u64> =
            session.sent.range(range).filter(|(_, sent)| sent.cookie.is_none()).map(|(number, _)| number).collect();
        unasked.into_iter().for_each(|number| self.forget(id, number, None, out));
    }

    /// The sender has settled.
    fn forgotten(&mut self, id: SessionId, range: RangeInclusive<u64>) -> Option<Event> {
        let session = self.sessions.get_mut(&id.0)?;
        let (got, links) = (&mut session.got, &mut session.links);
        let mut forgotten = Vec::new();
        got.remove_range(range, |delivery, got| {
            if let Some(link) = links.get_mut(got.link as usize).and_then(Option::as_deref_mut) {
                link.unanswered = link.unanswered.saturating_sub(1);
            }
            let link = LinkId { session: id, handle: got.link };
            forgotten.push(Forgotten { link, delivery, tag: got.tag });
        });
        (!forgotten.is_empty()).then_some(Event::Forgotten(forgotten))
    }
}

/// The first frame of a delivery.
fn begin(session: &mut Session, handle: u32, transfer: &Transfer, overdraft_max: u32) -> Result<Partial, Wrong> {
    let last = session.last_got;
    let Some(link) = session.link(handle) else {
        return Err(Wrong::Session("amqp:session:unattached-handle", "the handle has no link"));
    };
    if link.role == Role::Sender {
        return Err(Wrong::Session("amqp:not-allowed", "the link goes the other way"));
    }
    if link.credit == 0 && link.taken_back == 0 && link.overdrawn >= overdraft_max {
        return Err(Wrong::Link("amqp:link:transfer-limit-exceeded", "there was no credit for this"));
    }
    if link.only_resumes && !transfer.resume {
        let words = "the link was to resume deliveries only, since an unsettled map was incomplete";
        return Err(Wrong::Link("amqp:not-allowed", words));
    }
    let number = transfer.delivery_id.and_then(|low| last.map_or(Some(low.into()), |last| widen(low, last)));
    let number = number.filter(|&number| last.is_none_or(|last| number > last));
    let (Some(number), Some(tag)) = (number, transfer.delivery_tag) else {
        let words = "a delivery begins without a tag, or without a number of its own";
        return Err(Wrong::Session("amqp:invalid-field", words));
    };
    link.use_credit();
    link.delivery_count = link.delivery_count.wrapping_add(1);
    session.last_got = Some(number);
    Ok(Partial::new(number, tag))
}
