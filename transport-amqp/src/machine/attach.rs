//! Sessions and links: begin, attach, detach, end.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use fe2o3_amqp_types::definitions::Role as WireRole;
use fe2o3_amqp_types::definitions::{Handle, ReceiverSettleMode};
use fe2o3_amqp_types::messaging::{Source, TargetArchetype};
use fe2o3_amqp_types::performatives::{Attach, Begin, Detach, End};
use roadbed_core::{Output, Role};

use super::link::{Link, Stage};
use super::session::Session;
use super::{Accept, Detached, Event, LinkId, Machine, SessionId, UnsettledMap, error, fault, other, sends};
use crate::codec::{Fault, Performative};
use crate::error::{Error, SendError};

impl Machine {
    /// Begins a session; [`Event::Begin`] follows.
    ///
    /// # Errors
    /// [`SendError`] if the connection is not open, or has as many sessions as either end takes.
    pub fn begin(&mut self, out: &mut Output) -> Result<SessionId, SendError> {
        if !self.is_open() {
            return Err(SendError::NotAttached);
        }
        let id = self.new_session().ok_or(SendError::Exhausted)?;
        self.say_begin(id, None, out);
        Ok(id)
    }

    /// Attaches a link, in a session that may not have begun yet: pipelined attaches do not wait for each other. [`Event::Attach`] follows.
    /// Handle, delivery count and largest message are filled in, and of the unsettled map as much as the peer's frames have room for (see
    /// [`only_resumes`](Self::only_resumes)).
    ///
    /// # Errors
    /// [`SendError`] if there is no such session, it has as many links as the peer takes, or a link of that name.
    pub fn attach(
        &mut self,
        id: SessionId,
        mut attach: Attach,
        unsettled: &UnsettledMap,
        out: &mut Output,
    ) -> Result<LinkId, SendError> {
        let links_max = self.config.links_max.saturating_sub(1);
        let role = role(&attach.role);
        let name = (sends(role), Arc::from(&*attach.name));
        if self.names.contains_key(&name) {
            return Err(SendError::Exhausted);
        }
        let session = self.sessions.get_mut(&id.0).filter(|session| !session.ending).ok_or(SendError::NotAttached)?;
        let mut link = Link::new(Arc::clone(&name.1), role, Stage::Asking);
        settle_modes(&mut link, &attach);
        let handle = session.insert(link, session.handle_max.min(links_max)).ok_or(SendError::Exhausted)?;
        let link = LinkId { session: id, handle };
        self.names.insert(name, link);
        attach.handle = Handle(handle);
        attach.initial_delivery_count = sends(role).then_some(0);
        attach.max_message_size = Some(self.config.message_bytes_max);
        self.put_attach(link, attach, unsettled, out);
        Ok(link)
    }

    /// Answers an attach of the peer.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if no such attach waits, for instance since the peer has detached.
    pub fn accept(&mut self, id: LinkId, accept: Accept, out: &mut Output) -> Result<(), SendError> {
        let Accept { source, target, unsettled, resumed, first_only } = accept;
        let max = self.config.message_bytes_max;
        let link = self.link_at(id, Stage::Asked)?;
        link.stage = Stage::Attached;
        link.second &= !first_only;
        let mut attach = answer(id.handle, link, source, target, max);
        attach.unsettled = resumed.then(Default::default);
        self.put_attach(id, attach, &unsettled, out);
        Ok(())
    }

    /// Refuses an attach of the peer: answered without a terminus, then detached with the reason, and never any credit (Part 2, section 2.6.3).
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if no such attach waits.
    pub fn refuse(&mut self, id: LinkId, reason: Fault, out: &mut Output) -> Result<(), SendError> {
        let link = self.link_at(id, Stage::Asked)?;
        link.stage = Stage::Attached;
        let attach = answer(id.handle, link, None, None, 0);
        self.put(id.session.0, &Performative::Attach(Box::new(attach)), out);
        self.detach(id, true, Some(reason), out)
    }

    /// Detaches a link, for good (`closed`) or to be resumed.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if it is not attached.
    pub fn detach(&mut self, id: LinkId, closed: bool, why: Option<Fault>, out: &mut Output) -> Result<(), SendError> {
        self.flush(out);
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        let link = session.link(id.handle).filter(|link| link.stage != Stage::Detaching);
        let link = link.ok_or(SendError::NotAttached)?;
        link.stage = Stage::Detaching;
        let name = (sends(link.role), link.name.clone());
        session.clear_link(id.handle);
        self.names.remove(&name);
        let detach = Detach { handle: Handle(id.handle), closed, error: why.map(error) };
        self.put(id.session.0, &Performative::Detach(detach), out);
        Ok(())
    }

    /// Ends a session with all its links.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if there is none.
    pub fn end_session(&mut self, id: SessionId, why: Option<Fault>, out: &mut Output) -> Result<(), SendError> {
        self.flush(out);
        let session = self.sessions.get_mut(&id.0).filter(|session| !session.ending);
        session.ok_or(SendError::NotAttached)?.clear();
        self.names.retain(|_, link| link.session != id);
        self.put(id.0, &Performative::End(End { error: why.map(error) }), out);
        Ok(())
    }

    pub(super) fn begun(&mut self, channel: u16, begin: &Begin, out: &mut Output) -> Result<Event, Error> {
        if channel >= self.config.sessions_max || self.channels.contains_key(&channel) {
            return Err(Error::Channel(channel));
        }
        let id = match begin.remote_channel {
            Some(ours) => {
                let waiting = self.sessions.get(&ours).is_some_and(|session| session.remote.is_none());
                if !waiting {
                    return Err(Error::Channel(ours));
                }
                SessionId(ours)
            }
            None => self.new_session().ok_or(Error::Channel(channel))?,
        };
        self.channels.insert(channel, id.0);
        let session = self.sessions.get_mut(&id.0).ok_or(Error::Channel(channel))?;
        session.remote = Some(channel);
        session.handle_max = begin.handle_max.0;
        session.next_incoming = begin.next_outgoing_id;
        session.remote_window = begin.incoming_window;
        if begin.remote_channel.is_none() {
            self.say_begin(id, Some(channel), out);
        }
        self.send_backlog(id, out);
        Ok(Event::Begin(id))
    }

    pub(super) fn attached(
        &mut self,
        id: SessionId,
        attach: Box<Attach>,
        out: &mut Output,
    ) -> Result<Option<Event>, Error> {
        let remote = attach.handle.0;
        if remote >= self.config.links_max {
            return Err(Error::Handle(remote));
        }
        let ours = other(role(&attach.role));
        let name = (sends(ours), Arc::from(&*attach.name));
        let known = self.names.get(&name).copied();
        let session = self.session(id)?;
        if session.handles.contains_key(&remote) {
            return Ok(Some(self.break_session(id, "amqp:session:handle-in-use", "the handle is in use", out)));
        }
        let asking = |session: &mut Session, link: LinkId| {
            link.session == id && session.link(link.handle).is_some_and(|link| link.stage == Stage::Asking)
        };
        if let Some(link) = known.filter(|&link| asking(session, link)) {
            session.handles.insert(remote, link.handle);
            let found = session.link(link.handle).ok_or(Error::Handle(remote))?;
            learn(found, &attach, remote);
            found.stage = Stage::Attached;
            return Ok(Some(Event::Attach(link, attach)));
        }
        if let Some(stolen) = known {
            return Ok(Some(self.steal(stolen, id, attach, out)?));
        }
        if self.names.len() as u64 >= u64::from(self.config.links_max) {
            let words = "the connection has as many links as it may";
            return Ok(Some(self.break_session(id, "amqp:resource-limit-exceeded", words, out)));
        }
        self.new_link(id, attach).map(Some)
    }

    fn new_link(&mut self, id: SessionId, attach: Box<Attach>) -> Result<Event, Error> {
        let remote = attach.handle.0;
        let ours = other(role(&attach.role));
        let name = (sends(ours), Arc::from(&*attach.name));
        let links_max = self.config.links_max.saturating_sub(1);
        let session = self.session(id)?;
        let mut link = Link::new(Arc::clone(&name.1), ours, Stage::Asked);
        settle_modes(&mut link, &attach);
        learn(&mut link, &attach, remote);
        let handle = session.insert(link, session.handle_max.min(links_max)).ok_or(Error::Handle(remote))?;
        session.handles.insert(remote, handle);
        let link = LinkId { session: id, handle };
        self.names.insert(name, link);
        Ok(Event::Attach(link, attach))
    }

    /// The same link is attached again: the first attachment ends (Part 2, section 2.6.1). The new one is kept for when this is heard.
    fn steal(&mut self, stolen: LinkId, id: SessionId, attach: Box<Attach>, out: &mut Output) -> Result<Event, Error> {
        let words = Fault::new("amqp:link:stolen", "the link was attached again");
        // It was found under its name, so it is attached.
        let detached = self.about(stolen, false, words.clone());
        let _ = self.detach(stolen, false, Some(words), out);
        let again = self.new_link(id, attach)?;
        self.later.push_back(again);
        Ok(Event::Detach(stolen, detached))
    }

    pub(super) fn detached(&mut self, id: SessionId, detach: &Detach, out: &mut Output) -> Option<Event> {
        self.flush(out);
        let session = self.sessions.get_mut(&id.0)?;
        // Both ends may detach at once, and some then answer as well: a detach too many does no harm.
        let &handle = session.handles.get(&detach.handle.0)?;
        let unsettled = session.tags(handle);
        let link = session.remove(handle)?;
        if link.stage == Stage::Detaching {
            return None;
        }
        self.names.remove(&(sends(link.role), link.name.clone()));
        if link.stage == Stage::Asked {
            // A detach needs an attach before it.
            let attach = answer(handle, &link, None, None, 0);
            self.put(id.0, &Performative::Attach(Box::new(attach)), out);
        }
        let reply = Detach { handle: Handle(handle), closed: detach.closed, error: None };
        self.put(id.0, &Performative::Detach(reply), out);
        let (closed, fault) = (detach.closed, detach.error.as_ref().map(fault));
        let detached = Detached { name: link.name.to_string(), closed, fault, unsettled };
        Some(Event::Detach(LinkId { session: id, handle }, detached))
    }

    pub(super) fn ended(&mut self, id: SessionId, channel: u16, end: &End, out: &mut Output) -> Event {
        self.flush(out);
        self.sessions.remove(&id.0);
        self.channels.remove(&channel);
        self.names.retain(|_, link| link.session != id);
        self.put(id.0, &Performative::End(End { error: None }), out);
        Event::End(id, end.error.as_ref().map(fault))
    }

    /// Ends a session for what its peer did (Part 2, section 2.5.5).
    pub(super) fn break_session(&mut self, id: SessionId, condition: &str, words: &str, out: &mut Output) -> Event {
        let why = Fault::new(condition, words);
        let _ = self.end_session(id, Some(why.clone()), out);
        Event::End(id, Some(why))
    }

    /// Detaches a link for what its peer did (Part 2, section 2.6.5).
    pub(super) fn break_link(&mut self, id: LinkId, condition: &str, words: String, out: &mut Output) -> Event {
        let why = Fault::new(condition, words);
        let detached = self.about(id, true, why.clone());
        let _ = self.detach(id, true, Some(why), out);
        Event::Detach(id, detached)
    }

    /// What is to be said of a link that we detach for what its peer did.
    fn about(&self, id: LinkId, closed: bool, why: Fault) -> Detached {
        let session = self.sessions.get(&id.session.0);
        let unsettled = session.map_or_else(Vec::new, |session| session.tags(id.handle));
        let link = session.and_then(|session| session.links.get(id.handle as usize)).and_then(Option::as_ref);
        let name = link.map_or_else(String::new, |link| link.name.to_string());
        Detached { name, closed, fault: Some(why), unsettled }
    }

    pub(super) fn session(&mut self, id: SessionId) -> Result<&mut Session, Error> {
        self.sessions.get_mut(&id.0).map(|session| &mut **session).ok_or(Error::Channel(id.0))
    }

    fn link_at(&mut self, id: LinkId, stage: Stage) -> Result<&mut Link, SendError> {
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        session.link(id.handle).filter(|link| link.stage == stage).ok_or(SendError::NotAttached)
    }

    fn new_session(&mut self) -> Option<SessionId> {
        let max = self.config.sessions_max.saturating_sub(1).min(self.peer_channel_max);
        let id = (0..=max).find(|channel| !self.sessions.contains_key(channel))?;
        self.sessions.insert(id, Box::new(Session::new(self.config.incoming_window)));
        Some(SessionId(id))
    }

    fn say_begin(&mut self, id: SessionId, remote_channel: Option<u16>, out: &mut Output) {
        let begin = Begin {
            remote_channel,
            next_outgoing_id: 0,
            incoming_window: self.config.incoming_window,
            outgoing_window: u32::MAX >> 1,
            handle_max: Handle(self.config.links_max.saturating_sub(1)),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.put(id.0, &Performative::Begin(Box::new(begin)), out);
    }
}

const fn role(role: &WireRole) -> Role {
    match role {
        WireRole::Sender => Role::Sender,
        WireRole::Receiver => Role::Receiver,
    }
}

/// What is asked for: the sender's word on how it sends, and the receiver's on who settles first.
fn settle_modes(link: &mut Link, attach: &Attach) {
    link.settles = attach.snd_settle_mode.clone();
    link.second = attach.rcv_settle_mode == ReceiverSettleMode::Second;
}

/// What the peer's attach says of its own end, and of what it grants: of its role's settle mode its word counts, and settling second takes two.
fn learn(link: &mut Link, attach: &Attach, remote: u32) {
    link.remote = Some(remote);
    link.message_bytes_max = attach.max_message_size.filter(|&bytes| bytes > 0).unwrap_or(u64::MAX);
    link.second &= attach.rcv_settle_mode == ReceiverSettleMode::Second;
    link.only_resumes |= attach.incomplete_unsettled;
    if link.role == Role::Receiver {
        link.settles = attach.snd_settle_mode.clone();
        link.delivery_count = attach.initial_delivery_count.unwrap_or(0);
    }
}

fn answer(
    handle: u32,
    link: &Link,
    source: Option<Source>,
    target: Option<TargetArchetype>,
    message_bytes_max: u64,
) -> Attach {
    Attach {
        name: link.name.to_string(),
        handle: Handle(handle),
        role: if sends(link.role) { WireRole::Sender } else { WireRole::Receiver },
        snd_settle_mode: link.settles.clone(),
        rcv_settle_mode: if link.second { ReceiverSettleMode::Second } else { ReceiverSettleMode::First },
        source: source.map(Box::new),
        target: target.map(Box::new),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: sends(link.role).then_some(0),
        max_message_size: (message_bytes_max > 0).then_some(message_bytes_max),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}
