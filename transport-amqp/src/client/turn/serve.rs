//! What the sessions want of the server.

use alloc::vec::Vec;

use roadbed_core::client::Change;
use roadbed_core::{Detach, ErrorKind, Output, Time};

use super::Running;
use crate::SendError;
use crate::client::attach::is_resumable;
use crate::client::shared::{Ended, State, Wakers};
use crate::client::state::{Kind, LinkStage, Session, Stage};
use crate::client::wire::Wire;

impl Running {
    /// Looks at the sessions that something happened to; the others cost nothing.
    pub(super) fn serve(&mut self, state: &mut State, now: Time, out: &mut Output) {
        for (session, link) in core::mem::take(&mut self.stalled) {
            if let Some(found) = state.sessions.get_mut(&session) {
                found.touch(link);
                state.touched.push(session);
            }
        }
        let mut touched = core::mem::take(&mut state.touched);
        touched.sort_unstable();
        touched.dedup();
        for session in touched {
            self.session(state, session, now, out);
        }
        self.call(state, now, out);
    }

    /// Requests come after everything else: what was sent and settled before a transaction is discharged belongs to it.
    fn call(&mut self, state: &mut State, now: Time, out: &mut Output) {
        if self.calling.is_empty() {
            return;
        }
        self.machine.flush(out);
        for (session, link) in core::mem::take(&mut self.calling) {
            let Some(session) = state.sessions.get_mut(&session) else { continue };
            let Some(id) = session.links.get(&link).and_then(|link| link.wire) else { continue };
            let mut wire = Wire { machine: &mut self.machine, out, losses: &mut self.losses, now };
            session.write_calls(link, id, &mut wire);
        }
    }

    fn session(&mut self, state: &mut State, id: u64, now: Time, out: &mut Output) {
        let Some(session) = state.sessions.get(&id) else { return };
        if session.ended.is_some() {
            return self.finish(state, id, out);
        }
        if session.stage == Stage::New && !self.begin(state, id, out) {
            return;
        }
        let Some(session) = state.sessions.get(&id) else { return };
        if session.committing {
            return;
        }
        self.links(state, id, now, out);
        let Some(session) = state.sessions.get(&id) else { return };
        if session.closing.as_ref().is_some_and(|closing| closing.now || session.is_idle()) && !session.committing {
            self.close_session(state, id, out);
            self.finish(state, id, out);
        }
    }

    /// Begins a session, and attaches what it has at once. Whether it could.
    fn begin(&mut self, state: &mut State, id: u64, out: &mut Output) -> bool {
        match self.machine.begin(out) {
            Ok(wire) => {
                self.places.sessions.insert(wire, id);
                let own = state.next();
                let Some(session) = state.sessions.get_mut(&id) else { return false };
                (session.wire, session.stage) = (Some(wire), Stage::Beginning);
                if session.terms.kept && session.opening.is_some() && session.links.is_empty() {
                    session.own_queue(own);
                }
                let all: Vec<u64> = session.links.keys().copied().collect();
                all.into_iter().for_each(|link| session.touch(link));
                true
            }
            Err(SendError::Exhausted) => {
                let ended = Ended::new(ErrorKind::Exhausted, "the connection has as many sessions as the server takes");
                state.end(id, &ended, None);
                false
            }
            // The connection is going.
            Err(_) => false,
        }
    }

    fn links(&mut self, state: &mut State, id: u64, now: Time, out: &mut Output) {
        let State { sessions, wakers, .. } = &mut *state;
        let Some(session) = sessions.get_mut(&id) else { return };
        if !session.terms.kept
            && session.stage == Stage::Begun
            && let Some(opening) = session.opening.take()
        {
            let _ = opening.send(Ok(session.opened.clone()));
        }
        let mut touched = core::mem::take(&mut session.touched);
        touched.sort_unstable();
        touched.dedup();
        let config = &self.shared.config;
        for &link in &touched {
            let Some(found) = session.links.get(&link) else { continue };
            if found.orphan && matches!(found.stage, LinkStage::Failed(_)) {
                session.link_gone(link, false);
                continue;
            }
            if matches!(found.stage, LinkStage::New) {
                attach(session, link, &mut self.machine, &mut self.places, wakers, out);
            }
            let mut wire = Wire { machine: &mut self.machine, out, losses: &mut self.losses, now };
            // What the store has by now.
            write(session, link, &mut wire, wakers);
            gather(session, link, config.write_bytes_max, &wire);
        }
        if !session.changes.is_empty()
            && let Some(name) = session.terms.name.clone()
        {
            let changes = core::mem::take(&mut session.changes);
            session.committing = true;
            touched.iter().for_each(|&link| session.kept(link));
            session.touched = touched;
            return self.commit(id, &name, changes);
        }
        for &link in &touched {
            session.kept(link);
            let mut wire = Wire { machine: &mut self.machine, out, losses: &mut self.losses, now };
            write(session, link, &mut wire, wakers);
            let Some(found) = session.links.get_mut(&link) else { continue };
            let (Some(wire_id), true) = (found.wire, found.is_attached()) else { continue };
            match &mut found.kind {
                Kind::Consumer(_) => session.say_credit(link, wire_id, config, &mut wire, wakers),
                Kind::Producer(outbound) => {
                    outbound.set_credit(wire.machine.credit(wire_id).credit, wakers);
                    if outbound.takes_drain() {
                        let _ = wire.machine.drained(wire_id, wire.out);
                    }
                    if outbound.has_more() && (wire.machine.credit(wire_id).credit > 0 || !wire.out.is_empty()) {
                        self.stalled.push((id, link));
                    }
                }
                Kind::Calls(_) => self.calling.push((id, link)),
                Kind::Replies(replies) => replies.settle(wire_id, &mut wire),
            }
            detach(session, link, &mut self.machine, &mut self.places, wakers, out);
        }
        if !session.changes.is_empty() || !session.touched.is_empty() {
            state.touch(id);
        }
    }

    /// Goes in good order: what is not to be kept is closed.
    fn close_session(&mut self, state: &mut State, id: u64, out: &mut Output) {
        let Some(session) = state.sessions.get_mut(&id) else { return };
        let gone = session.closing.as_ref().and_then(|closing| closing.close.expiry).is_some_and(|it| it.is_zero());
        for link in session.links.values() {
            let Some(wire) = link.wire.filter(|_| link.is_attached()) else { continue };
            let closed = gone || !session.terms.kept || !is_resumable(&link.kind);
            let _ = self.machine.detach(wire, closed, None, out);
            self.places.links.remove(&wire);
        }
        if gone && session.terms.kept {
            session.changes = alloc::vec![Change::Cleared];
        }
        state.end(id, &Ended::new(ErrorKind::Closed, "the session is closed"), None);
    }

    /// A session has ended: nothing of it stays on the connection.
    pub(super) fn finish(&mut self, state: &mut State, id: u64, out: &mut Output) {
        let Some(session) = state.sessions.get_mut(&id) else { return };
        if let Some(wire) = session.wire.take() {
            let _ = self.machine.end_session(wire, None, out);
            self.places.sessions.remove(&wire);
            self.places.links.retain(|link, _| link.session != wire);
        }
        if session.committing {
            return;
        }
        if !session.changes.is_empty()
            && let Some(name) = session.terms.name.clone()
        {
            let changes = core::mem::take(&mut session.changes);
            session.committing = true;
            return self.commit(id, &name, changes);
        }
        state.finished(id);
        self.shared.finished.notify_waiters();
    }
}

fn attach(
    session: &mut Session,
    link: u64,
    machine: &mut crate::Machine,
    places: &mut super::Places,
    wakers: &mut Wakers,
    out: &mut Output,
) {
    let (Some(wire), Some(found)) = (session.wire, session.links.get(&link)) else { return };
    if found.detach.is_some() {
        session.links.remove(&link);
        return;
    }
    let frame = session.attach_frame(found);
    let ours = match &found.kind {
        Kind::Producer(_) if session.terms.kept => session.producer_unsettled(link),
        Kind::Consumer(_) if session.terms.kept => session.consumer_unsettled(link),
        _ => Default::default(),
    };
    let asked = machine.attach(wire, frame, &ours, out);
    let Some(found) = session.links.get_mut(&link) else { return };
    match asked {
        Ok(id) => {
            (found.wire, found.stage) = (Some(id), LinkStage::Asking);
            places.links.insert(id, (places.sessions.get(&wire).copied().unwrap_or_default(), link));
        }
        Err(error) => {
            let ended = Ended::new(ErrorKind::Exhausted, alloc::format!("the link cannot be attached: {error}"));
            found.fail(&ended, wakers);
        }
    }
}

/// Moves what may be written now to what the store is told of.
fn gather(session: &mut Session, link: u64, bytes_max: usize, wire: &Wire<'_>) {
    let Some(found) = session.links.get(&link).filter(|link| link.is_attached()) else { return };
    if let (Kind::Producer(outbound), Some(id)) = (&found.kind, found.wire) {
        let room = outbound.free(wire.machine.room(id));
        session.stage_sends(link, room, wire, bytes_max);
    }
}

/// Writes what the store has.
fn write(session: &mut Session, link: u64, wire: &mut Wire<'_>, wakers: &mut Wakers) {
    let Some(found) = session.links.get(&link).filter(|link| link.is_attached()) else { return };
    let Some(id) = found.wire else { return };
    match found.kind {
        Kind::Producer(_) => session.write_sends(link, id, wire, wakers),
        Kind::Consumer(_) => {
            session.write_said(link, id, wire);
            session.tell_waiting(link, wakers);
        }
        Kind::Calls(_) | Kind::Replies(_) => {}
    }
}

/// Detaches a link that nobody uses any more, when it has nothing left to do.
fn detach(
    session: &mut Session,
    link: u64,
    machine: &mut crate::Machine,
    places: &mut super::Places,
    wakers: &mut Wakers,
    out: &mut Output,
) {
    let kept = session.terms.kept;
    let Some(found) = session.links.get_mut(&link) else { return };
    let how = match (&found.kind, found.detach) {
        (Kind::Consumer(inbound), Some(how)) if inbound.is_said() => how,
        (Kind::Producer(outbound), _) if found.orphan && !kept && outbound.is_empty() => Detach::Close,
        _ => return,
    };
    let Some(wire) = found.wire.filter(|_| found.is_attached()) else { return };
    let closed = how == Detach::Close || !is_resumable(&found.kind);
    let _ = machine.detach(wire, closed, None, out);
    places.links.remove(&wire);
    if let Some(detached) = found.detached.take() {
        let _ = detached.send(Ok(()));
    }
    if closed || !kept {
        return session.link_gone(link, closed);
    }
    // It is attached again at once, so that whoever comes next goes on with it, and so that it ends with its session.
    (found.stage, found.wire, found.detach) = (LinkStage::New, None, None);
    session.consumer_left(link, wakers);
    session.touch(link);
}
