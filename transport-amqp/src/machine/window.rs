//! Flow: the windows of sessions and the credit of links, both ways.

use bytes::Bytes;
use roadbed_core::{Output, Role};

use super::{Credit, Event, LinkId, Machine, SendError, SessionId};
use crate::codec::{Flow, Performative};
use crate::dialect::txn_id;
use crate::error::Error;

impl Machine {
    /// How many more deliveries a link takes: on one that we send on, from the peer; on the other, as we said.
    pub fn credit(&self, id: LinkId) -> Credit {
        let link = self.sessions.get(&id.session.0).and_then(|session| session.links.get(id.handle as usize));
        let none = Credit { credit: 0, drain: false, txn: None };
        link.and_then(Option::as_deref).map_or(none, |link| Credit {
            credit: link.credit,
            drain: link.drain,
            txn: None,
        })
    }

    /// How many deliveries of a link have come and are not settled: answered, and if the sender settles first, also forgotten.
    pub fn unanswered(&self, id: LinkId) -> u32 {
        let link = self.sessions.get(&id.session.0).and_then(|session| session.links.get(id.handle as usize));
        link.and_then(Option::as_deref).map_or(0, |link| link.unanswered)
    }

    /// Tells the sender how many more deliveries we take. Absolute; with `drain`, what it cannot use at once lapses ([`Event::Drained`]). Within
    /// `txn`, what comes belongs to that transaction.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if there is no such link on which we receive.
    pub fn grant(
        &mut self,
        id: LinkId,
        credit: u32,
        drain: bool,
        txn: Option<Bytes>,
        out: &mut Output,
    ) -> Result<(), SendError> {
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        let link = session.link(id.handle).filter(|link| link.is_open() && link.role == Role::Receiver);
        let link = link.ok_or(SendError::NotAttached)?;
        link.taken_back = link.taken_back.saturating_add(link.credit.saturating_sub(credit));
        (link.credit, link.drain) = (credit, drain);
        self.say_flow(id.session, Some(id.handle), txn, false, out);
        Ok(())
    }

    /// Nothing is left to send on the link: credit that is being drained lapses (Part 2, section 2.6.7).
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if there is no such link on which we send.
    pub fn drained(&mut self, id: LinkId, out: &mut Output) -> Result<(), SendError> {
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        let link = session.link(id.handle).filter(|link| link.is_open() && link.role == Role::Sender);
        let link = link.ok_or(SendError::NotAttached)?;
        if !link.drain {
            return Ok(());
        }
        link.delivery_count = link.delivery_count.wrapping_add(link.credit);
        link.credit = 0;
        self.say_flow(id.session, Some(id.handle), None, false, out);
        // Said once for each time that it is asked.
        if let Some(link) = self.sessions.get_mut(&id.session.0).and_then(|session| session.link(id.handle)) {
            link.drain = false;
        }
        Ok(())
    }

    /// How many messages the sender of a link has said that it could send; a hint, as old as its last word.
    pub fn backlog(&self, id: LinkId) -> u32 {
        let link = self.sessions.get(&id.session.0).and_then(|session| session.links.get(id.handle as usize));
        link.and_then(Option::as_deref).map_or(0, |link| link.available)
    }

    /// Asks the peer how the link stands: it answers with a flow.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if there is no such link.
    pub fn ask(&mut self, id: LinkId, out: &mut Output) -> Result<(), SendError> {
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        session.link(id.handle).filter(|link| link.is_open()).ok_or(SendError::NotAttached)?;
        self.say_flow(id.session, Some(id.handle), None, true, out);
        Ok(())
    }

    /// How many messages wait behind the credit of a link: told to the receiver when it asks.
    pub fn available(&mut self, id: LinkId, messages: u32) {
        let session = self.sessions.get_mut(&id.session.0);
        if let Some(link) = session.and_then(|session| session.link(id.handle)) {
            link.available = messages;
        }
    }

    pub(super) fn flowed(&mut self, id: SessionId, flow: &Flow, out: &mut Output) -> Result<Option<Event>, Error> {
        let session = self.session(id)?;
        // Before our begin was heard, the window counts from our first transfer.
        let ends = flow.next_incoming_id.unwrap_or(0).wrapping_add(flow.incoming_window);
        let window = ends.wrapping_sub(session.next_outgoing);
        // What is under way counts against it, and may be more than it has become.
        session.remote_window = if window > flow.incoming_window { 0 } else { window };
        let handle = match flow.handle {
            None => None,
            Some(remote) => match session.handles.get(&remote) {
                Some(&handle) => Some(handle),
                None => {
                    let words = "the handle has no link";
                    return Ok(Some(self.break_session(id, "amqp:session:unattached-handle", words, out)));
                }
            },
        };
        let event = handle.and_then(|handle| self.credited(LinkId { session: id, handle }, flow));
        self.send_backlog(id, out);
        if flow.echo {
            self.say_flow(id, handle, None, false, out);
        }
        Ok(event)
    }

    fn credited(&mut self, id: LinkId, flow: &Flow) -> Option<Event> {
        let link = self.sessions.get_mut(&id.session.0)?.link(id.handle)?;
        if link.role == Role::Sender {
            let said = flow.link_credit.unwrap_or(0);
            let credit = flow.delivery_count.unwrap_or(0).wrapping_add(said).wrapping_sub(link.delivery_count);
            link.credit = if credit > said { 0 } else { credit };
            link.drain = flow.drain;
            let txn = flow.txn.as_ref().map(|txn| txn_id(txn));
            return Some(Event::Credit(id, Credit { credit: link.credit, drain: link.drain, txn }));
        }
        link.available = flow.available.unwrap_or(link.available);
        let count = flow.delivery_count?;
        let used = count.wrapping_sub(link.delivery_count);
        if used > 0 && used <= link.credit {
            link.delivery_count = count;
            link.credit -= used;
        }
        let drained = link.drain && link.credit == 0;
        link.drain &= !drained;
        drained.then_some(Event::Drained(id))
    }

    /// Opens the windows again that have half run out.
    pub(super) fn refill(&mut self, id: SessionId, out: &mut Output) {
        let full = self.config.incoming_window;
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        if !session.ending && session.window <= full / 2 {
            session.window = full;
            self.say_flow(id, None, None, false, out);
        }
    }

    fn say_flow(&mut self, id: SessionId, handle: Option<u32>, txn: Option<Bytes>, echo: bool, out: &mut Output) {
        let full = self.config.incoming_window;
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        session.window = full;
        let link = handle.and_then(|handle| session.links.get(handle as usize)).and_then(Option::as_deref);
        let flow = Flow {
            next_incoming_id: session.remote.map(|_| session.next_incoming),
            incoming_window: session.window,
            next_outgoing_id: session.next_outgoing,
            outgoing_window: u32::MAX >> 1,
            handle: handle.filter(|_| link.is_some()),
            delivery_count: link.map(|link| link.delivery_count),
            link_credit: link.map(|link| link.credit),
            available: link.filter(|link| link.role == Role::Sender).map(|link| link.available),
            drain: link.is_some_and(|link| link.drain),
            echo,
            txn,
        };
        self.put(id.0, &Performative::Flow(flow), out);
    }
}
