//! Requests to the server's own nodes, and their answers.

use alloc::vec::Vec;
use core::task::Context;

use roadbed_core::{Close, Output, ReadContext, Time, WireMessage};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::identities::Arrival;
use super::super::links::Kind;
use super::super::requests::{Answered, Asker, OwnNode, Token, address, dropped};
use super::Running;
use crate::codec::{Fault, State};
use crate::dialect::Encoded;
use crate::{Incoming, LinkId, Sending};

/// How many requests a link may send ahead.
pub(super) const REQUESTS_CREDIT: u32 = 64;

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Running<S> {
    pub(super) fn request(&mut self, node: OwnNode, incoming: Incoming, out: &mut Output) {
        let (link, delivery) = (incoming.link, incoming.delivery);
        let asker = Asker {
            session: &*self.session,
            authenticator: &self.shared.config.authenticator,
            peer: &self.peer,
            client: &self.client,
            identities: &self.identities,
            guest: self.guest,
            limits: &self.shared.machine.guard,
        };
        if let Err(state) = self.requests.hear(node, &asker, &mut self.links, incoming) {
            self.machine.answer(link.session, delivery, state, out);
        }
    }

    /// Answers requests as far as the endpoint has. A request is settled when its answer is on its way.
    pub(super) fn answer_requests(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) -> bool {
        let (mut answered, mut settled) = (Vec::new(), Vec::new());
        self.requests.poll(cx, &*self.session, &mut answered);
        let moved = !answered.is_empty();
        for answered in answered {
            self.send_answer(answered, now, &mut settled);
        }
        self.mail.poll(cx, &mut self.losses, &mut settled);
        let moved = moved || !settled.is_empty();
        for (link, delivery) in settled {
            self.machine.answer(link.session, delivery, State::Accepted, out);
            if let Some(place) = self.links.place(link) {
                self.links.touch(place);
            }
        }
        moved
    }

    fn send_answer(&mut self, answered: Answered, now: Time, settled: &mut Vec<(LinkId, u64)>) {
        let Answered { link, delivery, to, reply_to, message, token } = answered;
        if let Some(token) = token {
            self.shown(token);
        }
        let Some(held) = self.requests.budget.hold(message.len(), self.shared.config.answer_bytes_max) else {
            settled.push((link, delivery));
            return dropped(&mut self.losses);
        };
        let place = to.and_then(|to| self.links.place(to));
        let replies = place.and_then(|place| self.links.at(place)).map(|link| &mut link.kind);
        let sent = match replies {
            Some(Kind::Replies(replies)) => {
                let sent = replies.push(now + self.shared.config.reply_timeout, message, held);
                self.links.touch(place.unwrap_or_default());
                settled.push((link, delivery));
                sent
            }
            _ => {
                let encoded = Encoded { address: address(&reply_to), ..Encoded::new([message]) };
                let context = ReadContext { origin: &self.client.origin, now };
                let message = encoded.address.is_some().then(|| encoded.read(&context).ok()).flatten();
                let posted =
                    message.is_some_and(|message| self.mail.post(&*self.session, message, (link, delivery), held));
                if !posted {
                    settled.push((link, delivery));
                }
                posted
            }
        };
        if !sent {
            dropped(&mut self.losses);
        }
    }

    /// Somebody has shown a token. The first one on a connection that was nobody's has it from now on; others have their own links.
    fn shown(&mut self, token: Token) {
        match token {
            Token::Own { audience, until } => {
                self.valid_until = until;
                self.identities.own_for(&audience);
            }
            Token::Other(arrival) => match *arrival {
                Arrival { audience, client, valid_until, session: Some(session) } if self.guest => {
                    (self.guest, self.session, self.client, self.valid_until) = (false, session, client, valid_until);
                    self.identities.own_for(&audience);
                }
                // Two first ones at once, of the same.
                Arrival { audience, client, valid_until, .. } if client.origin == self.client.origin => {
                    self.valid_until = valid_until;
                    self.identities.own_for(&audience);
                }
                arrival => self.identities.arrived(arrival),
            },
        }
    }

    /// Those whose tokens have ended go, with their links; the connection stays for the others.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, now: Time, out: &mut Output) {
        for (other, links) in self.identities.leaving(cx, now) {
            for link in links {
                let fault =
                    Fault::new("amqp:unauthorized-access", "the right of the link's owner to be here has ended");
                self.break_link(link, fault, out);
            }
            // After its links, which are being given back.
            self.detaching.push((None, other.session.close(Close::default())));
        }
    }

    /// Writes the answers that a link has credit for.
    pub(super) fn serve_replies(&mut self, place: usize, id: LinkId, now: Time, out: &mut Output) -> bool {
        let mut moved = false;
        let credit = self.machine.credit(id);
        let Some(Kind::Replies(replies)) = self.links.at(place).map(|link| &mut link.kind) else { return false };
        for _ in 0..replies.expire(now) {
            dropped(&mut self.losses);
        }
        while self.machine.room(id) > 0
            && let Some(message) = replies.next()
        {
            // It had room, so it is attached; what is too large for the client, the client does not get.
            if self.machine.send_encoded(id, &message, Sending::default(), out).is_err() {
                dropped(&mut self.losses);
            }
            moved = true;
        }
        let waits = !replies.is_empty();
        self.reply_deadline = [self.reply_deadline, replies.deadline()].into_iter().flatten().min();
        if credit.drain && !waits {
            let _ = self.machine.drained(id, out);
        } else if waits && credit.credit > 0 {
            self.links.stall(place);
        }
        moved
    }

    /// Looks again at the links whose answers have waited too long.
    pub(super) fn expire_replies(&mut self, now: Time) {
        if self.reply_deadline.is_some_and(|at| at.has_passed(now)) {
            self.reply_deadline = None;
            self.links.touch_replies();
        }
    }
}
