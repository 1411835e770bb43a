//! What goes: transfers, and what we say of deliveries.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::definitions::SenderSettleMode;
use roadbed_core::{Delivery, Losses, Output, Payload, Role, Time};

use super::session::{Answer, Sent, Session};
use super::{LinkId, Machine, Sending, SessionId};
use crate::codec::{Disposition, FrameType, Performative, State, Tag, Transfer, put_frame_head};
use crate::dialect::{bare_tail, is_whole, write_head};
use crate::error::SendError;

impl Machine {
    /// How many new deliveries can be sent on the link at once: within its credit and the session's window.
    pub fn room(&self, id: LinkId) -> u32 {
        let Some(session) = self.sessions.get(&id.session.0) else { return 0 };
        let link = session.links.get(id.handle as usize).and_then(Option::as_deref);
        match link {
            Some(link) if link.only_resumes => 0,
            Some(link) if link.is_open() && link.role == Role::Sender && session.backlog.is_empty() => {
                link.credit.min(session.remote_window)
            }
            _ => 0,
        }
    }

    /// Sends a delivery, and tells its number. Of one that is larger than the session's window the rest follows when the window opens.
    ///
    /// # Errors
    /// [`SendError`] if the link is not attached, has no credit, or its peer takes no message as large.
    pub fn deliver(
        &mut self,
        id: LinkId,
        delivery: &Delivery,
        sending: Sending,
        now: Time,
        losses: &mut Losses,
        out: &mut Output,
    ) -> Result<u64, SendError> {
        let mut head = core::mem::take(&mut self.scratch);
        head.clear();
        write_head(delivery, now, self.config.sidecar_bytes_max, losses, &mut head);
        let message = &delivery.message;
        let payload = (!is_whole(message)).then(|| message.payload());
        let encoded = Pieces { head: &head, payload, tail: bare_tail(message) };
        let sent = self.send(id, sending, &encoded, out);
        self.scratch = head;
        sent
    }

    /// Sends a message that is encoded already.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub fn send_encoded(
        &mut self,
        id: LinkId,
        message: &[u8],
        sending: Sending,
        out: &mut Output,
    ) -> Result<u64, SendError> {
        self.send(id, sending, &Pieces { head: message, payload: None, tail: None }, out)
    }

    fn send(&mut self, id: LinkId, sending: Sending, message: &Pieces<'_>, out: &mut Output) -> Result<u64, SendError> {
        let bytes = message.len();
        let Sending { cookie, tag, resume, first, state } = sending;
        let overhead = PERFORMATIVE_MAX + state.as_ref().map_or(0, State::len_max);
        let room = (self.peer_frame_max as usize).checked_sub(overhead).filter(|&room| room > 0);
        let room = room.ok_or(SendError::Exhausted)?;
        let (session, mut transfer) = self.begin_transfer(id, bytes as u64, cookie)?;
        let number = session.next_sent - 1;
        transfer.delivery_tag = tag.or_else(|| match transfer.settled {
            Some(true) => Tag::new(&[0]),
            _ => Tag::new(&number.to_be_bytes()),
        });
        (transfer.resume, transfer.state) = (resume, state);
        let second = session.link(id.handle).is_some_and(|link| link.second);
        transfer.rcv_settle_mode = (first && second && transfer.settled != Some(true)).then_some(0);
        if bytes <= room && session.remote_window > 0 && session.backlog.is_empty() {
            session.remote_window -= 1;
            session.next_outgoing = session.next_outgoing.wrapping_add(1);
            put_transfer(id.session.0, &transfer, bytes, out, message.head);
            message.payload.iter().for_each(|payload| out.put_payload(payload));
            message.tail.iter().for_each(|tail| out.put(tail));
            self.clock.send();
            return Ok(number);
        }
        split(transfer, message.to_vec(), room, &mut session.backlog);
        self.send_backlog(id.session, out);
        Ok(number)
    }

    /// Counts one more delivery of the link, and keeps it until it is settled.
    pub(super) fn begin_transfer(
        &mut self,
        id: LinkId,
        bytes: u64,
        cookie: Option<u64>,
    ) -> Result<(&mut Session, Transfer), SendError> {
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        let link = session.link(id.handle).filter(|link| link.is_open() && link.role == Role::Sender);
        let link = link.ok_or(SendError::NotAttached)?;
        if bytes > link.message_bytes_max {
            return Err(SendError::MessageTooLarge { bytes, bytes_max: link.message_bytes_max });
        }
        link.credit = link.credit.checked_sub(1).ok_or(SendError::NoCredit)?;
        link.delivery_count = link.delivery_count.wrapping_add(1);
        let settled = match link.settles {
            SenderSettleMode::Settled => true,
            SenderSettleMode::Unsettled => false,
            SenderSettleMode::Mixed => cookie.is_none(),
        };
        let number = session.next_sent;
        session.next_sent += 1;
        if !settled {
            session.sent.push(number, Sent { link: id.handle, cookie });
        }
        let transfer = Transfer {
            handle: id.handle,
            delivery_id: Some(number as u32),
            message_format: Some(0),
            settled: Some(settled),
            ..Transfer::default()
        };
        Ok((session, transfer))
    }

    pub(super) fn queue_transfer(&mut self, id: SessionId, transfer: Transfer, out: &mut Output) {
        if let Some(session) = self.sessions.get_mut(&id.0) {
            session.backlog.push_back((transfer, Vec::new()));
        }
        self.send_backlog(id, out);
    }

    /// Sends what the window now has room for.
    pub(super) fn send_backlog(&mut self, id: SessionId, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        while session.remote_window > 0
            && let Some((transfer, pieces)) = session.backlog.pop_front()
        {
            session.remote_window -= 1;
            session.next_outgoing = session.next_outgoing.wrapping_add(1);
            put_transfer(id.0, &transfer, pieces.iter().map(Bytes::len).sum(), out, &[]);
            pieces.iter().for_each(|piece| out.put(piece));
            self.clock.send();
        }
    }

    /// Answers a delivery that came, for good. Runs of the same answer are one frame, written by [`Machine::flush`] at the latest. If the sender
    /// settles last, it is not settled until [`Event::Forgotten`](super::Event::Forgotten).
    pub fn answer(&mut self, id: SessionId, delivery: u64, state: State, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        let Some(got) = session.got.get_mut(delivery).filter(|got| !got.answered) else { return };
        got.answered = true;
        let settled = got.tag.is_none();
        self.dispose(id, delivery, Some(state), settled, out);
    }

    /// Says something of a delivery that came: an outcome that waits for its transaction (`settled` or not), or that it is settled after all.
    /// Nothing happens to a delivery that is settled already.
    pub fn dispose(&mut self, id: SessionId, delivery: u64, state: Option<State>, settled: bool, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        let Some(got) = session.got.get_mut(delivery) else { return };
        let link = got.link;
        if settled {
            session.got.remove(delivery);
            if let Some(link) = session.link(link) {
                link.unanswered = link.unanswered.saturating_sub(1);
            }
        }
        self.say(id, Role::Receiver, delivery, settled, state, out);
    }

    /// Settles a delivery that we sent, after its receiver has said what became of it without settling.
    pub fn forget(&mut self, id: SessionId, delivery: u64, state: Option<State>, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        if session.sent.remove(delivery).is_some() {
            self.say(id, Role::Sender, delivery, true, state, out);
        }
    }

    pub(super) fn say(
        &mut self,
        id: SessionId,
        role: Role,
        number: u64,
        settled: bool,
        state: Option<State>,
        out: &mut Output,
    ) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        if let Some(answer) = &mut session.answer {
            let same = answer.role == role && answer.settled == settled && answer.state == state;
            if same && number == answer.last + 1 {
                answer.last = number;
                return;
            }
        }
        let next = Answer { role, first: number, last: number, settled, state };
        let before = session.answer.replace(next);
        self.write_answer(id, before, out);
    }

    /// Writes answers that waited for a run to go on.
    pub fn flush(&mut self, out: &mut Output) {
        let waiting = |(&id, session): (&u16, &mut alloc::boxed::Box<super::Session>)| {
            session.answer.take().map(|answer| (SessionId(id), answer))
        };
        let answers: Vec<_> = self.sessions.iter_mut().filter_map(waiting).collect();
        for (id, answer) in answers {
            self.write_answer(id, Some(answer), out);
        }
    }

    fn write_answer(&mut self, id: SessionId, answer: Option<Answer>, out: &mut Output) {
        let Some(Answer { role, first, last, settled, state }) = answer else { return };
        let last = (last != first).then_some(last as u32);
        let said = Disposition { role, first: first as u32, last, settled, state, batchable: false };
        self.put(id.0, &Performative::Disposition(said), out);
    }
}

/// More than the header of a frame and a transfer of ours without its state take, in bytes.
const PERFORMATIVE_MAX: usize = 128;

/// An encoded message: what is written by hand, then what is shared.
struct Pieces<'a> {
    head: &'a [u8],
    payload: Option<&'a Payload>,
    tail: Option<&'a Bytes>,
}

impl Pieces<'_> {
    fn len(&self) -> usize {
        self.head.len() + self.payload.map_or(0, Payload::len) + self.tail.map_or(0, Bytes::len)
    }

    fn to_vec(&self) -> Vec<Bytes> {
        let mut pieces = alloc::vec![Bytes::copy_from_slice(self.head)];
        match self.payload.and_then(Payload::shared) {
            Some(segments) => pieces.extend_from_slice(segments),
            None => pieces.extend(self.payload.map(Payload::to_bytes)),
        }
        pieces.extend(self.tail.cloned());
        pieces
    }
}

/// Writes the frame up to the end of `head`, which is the beginning of a payload of `bytes`.
fn put_transfer(channel: u16, transfer: &Transfer, bytes: usize, out: &mut Output, head: &[u8]) {
    out.flat(|buffer: &mut BytesMut| {
        let start = put_frame_head(buffer, FrameType::Amqp, channel);
        transfer.encode(buffer);
        let size = (buffer.len() - start + bytes) as u32;
        buffer[start..start + 4].copy_from_slice(&size.to_be_bytes());
        buffer.extend_from_slice(head);
    });
}

/// One transfer for every `max` bytes, without copying them.
fn split(
    first: Transfer,
    pieces: Vec<Bytes>,
    max: usize,
    into: &mut alloc::collections::VecDeque<(Transfer, Vec<Bytes>)>,
) {
    // Every frame of a post names its transaction: there are servers that look at each on its own.
    let again =
        Transfer { handle: first.handle, settled: first.settled, state: first.state.clone(), ..Transfer::default() };
    let mut next = Some(first);
    let (mut frame, mut room) = (Vec::new(), max);
    let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).peekable();
    while let Some(mut piece) = pieces.next() {
        loop {
            if piece.len() < room || (piece.len() == room && pieces.peek().is_none()) {
                room -= piece.len();
                frame.push(piece);
                break;
            }
            frame.push(piece.split_to(room));
            let transfer = next.take().unwrap_or_else(|| again.clone());
            into.push_back((Transfer { more: true, ..transfer }, core::mem::take(&mut frame)));
            room = max;
            if piece.is_empty() {
                break;
            }
        }
    }
    into.push_back((next.take().unwrap_or(again), frame));
}
