//! What goes: transfers, and what we say of deliveries.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use roadbed_core::{Delivery, Handle, Losses, Output, Role, Time};

use super::session::{Answer, Sent};
use super::{LinkId, Machine, SessionId};
use crate::codec::{Disposition, FrameType, Performative, State, Tag, Transfer, put_frame_head};
use crate::dialect::{bare_tail, is_whole, write_head};
use crate::error::SendError;

impl Machine {
    /// How many deliveries can be sent on the link at once: within its credit and the session's window.
    pub fn room(&self, id: LinkId) -> u32 {
        let Some(session) = self.sessions.get(&id.session.0) else { return 0 };
        let link = session.links.get(id.handle as usize).and_then(Option::as_deref);
        match link {
            Some(link) if link.is_open() && link.role == Role::Sender && session.backlog.is_empty() => {
                link.credit.min(session.remote_window)
            }
            _ => 0,
        }
    }

    /// Sends a delivery, and tells its number. It is settled as it is sent if it has no handle. Of one that is larger than the session's window the rest follows when the window opens.
    ///
    /// # Errors
    /// [`SendError`] if the link is not attached, has no credit, or its peer takes no message as large.
    pub fn deliver(
        &mut self,
        id: LinkId,
        delivery: &Delivery,
        now: Time,
        losses: &mut Losses,
        out: &mut Output,
    ) -> Result<u64, SendError> {
        let mut head = core::mem::take(&mut self.scratch);
        head.clear();
        write_head(delivery, now, losses, &mut head);
        let tag = match (&delivery.info, delivery.handle) {
            (Some(info), _) => Tag::new(&info.id.to_bytes()),
            (None, Some(handle)) => Tag::new(&tag_of(handle)),
            (None, None) => Tag::new(&[0]),
        };
        let message = &delivery.message;
        let payload = (!is_whole(message)).then(|| message.payload());
        let tail = bare_tail(message).cloned().unwrap_or_default();
        let sent = self.send(id, delivery.handle, tag, None, &head, payload, &tail, out);
        self.scratch = head;
        sent
    }

    /// Sends bytes that are encoded already: `head`, then `payload`, then `tail`.
    #[allow(clippy::too_many_arguments, reason = "one message in the pieces that it is made of")]
    fn send(
        &mut self,
        id: LinkId,
        handle: Option<Handle>,
        tag: Option<Tag>,
        state: Option<State>,
        head: &[u8],
        payload: Option<&roadbed_core::Payload>,
        tail: &Bytes,
        out: &mut Output,
    ) -> Result<u64, SendError> {
        let bytes = head.len() + payload.map_or(0, roadbed_core::Payload::len) + tail.len();
        let frame_max = self.peer_frame_max as usize;
        let session = self.sessions.get_mut(&id.session.0).ok_or(SendError::NotAttached)?;
        let link = session.link(id.handle).filter(|link| link.is_open() && link.role == Role::Sender);
        let link = link.ok_or(SendError::NotAttached)?;
        if bytes as u64 > link.message_bytes_max {
            return Err(SendError::MessageTooLarge { bytes: bytes as u64, bytes_max: link.message_bytes_max });
        }
        link.credit = link.credit.checked_sub(1).ok_or(SendError::NoCredit)?;
        link.delivery_count = link.delivery_count.wrapping_add(1);
        let number = session.next_sent;
        session.next_sent += 1;
        if let Some(handle) = handle {
            session.sent.push(number, Sent { link: id.handle, handle });
        }
        let transfer = Transfer {
            handle: id.handle,
            delivery_id: Some(number as u32),
            delivery_tag: tag,
            message_format: Some(0),
            settled: Some(handle.is_none()),
            state,
            ..Transfer::default()
        };
        if bytes + PERFORMATIVE_MAX <= frame_max && session.remote_window > 0 && session.backlog.is_empty() {
            session.remote_window -= 1;
            session.next_outgoing = session.next_outgoing.wrapping_add(1);
            put_transfer(id.session.0, &transfer, bytes, out, head);
            if let Some(payload) = payload {
                out.put_payload(payload);
            }
            out.put(tail);
            self.clock.send();
            return Ok(number);
        }
        let mut pieces = alloc::vec![Bytes::copy_from_slice(head)];
        match payload.and_then(roadbed_core::Payload::shared) {
            Some(segments) => pieces.extend_from_slice(segments),
            None => pieces.extend(payload.map(roadbed_core::Payload::to_bytes)),
        }
        pieces.push(tail.clone());
        split(transfer, pieces, frame_max - PERFORMATIVE_MAX, &mut session.backlog);
        self.send_backlog(id.session, out);
        Ok(number)
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

    /// Answers a delivery that came. Runs of the same answer are one frame, written by [`Machine::flush`] at the latest. If the sender settles first,
    /// it is not settled until [`Event::Forgotten`](super::Event::Forgotten).
    pub fn answer(&mut self, id: SessionId, delivery: u64, state: State, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        let Some(got) = session.got.get_mut(delivery).filter(|got| !got.answered) else { return };
        let settled = got.tag.is_none();
        got.answered = true;
        let link = got.link;
        if settled {
            session.got.remove(delivery);
            if let Some(link) = session.link(link) {
                link.unanswered = link.unanswered.saturating_sub(1);
            }
        }
        self.say(id, Role::Receiver, delivery, settled, Some(state), out);
    }

    /// Settles a delivery that we sent, after its receiver has said what became of it without settling.
    pub fn forget(&mut self, id: SessionId, delivery: u64, state: Option<State>, out: &mut Output) {
        let Some(session) = self.sessions.get_mut(&id.0) else { return };
        if session.sent.remove(delivery).is_some() {
            self.say(id, Role::Sender, delivery, true, state, out);
        }
    }

    fn say(&mut self, id: SessionId, role: Role, number: u64, settled: bool, state: Option<State>, out: &mut Output) {
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

/// More than the header of a frame and a transfer of ours take, in bytes.
const PERFORMATIVE_MAX: usize = 128;

/// A tag for a delivery without a durable name.
fn tag_of(handle: Handle) -> [u8; 8] {
    ((handle.generation() << 16) | u64::from(handle.slot())).to_be_bytes()
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
    let (handle, settled) = (first.handle, first.settled);
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
            let again = Transfer { handle, settled, ..Transfer::default() };
            let transfer = next.take().unwrap_or(again);
            into.push_back((Transfer { more: true, ..transfer }, core::mem::take(&mut frame)));
            room = max;
            if piece.is_empty() {
                break;
            }
        }
    }
    let last = next.take().unwrap_or(Transfer { handle, settled, ..Transfer::default() });
    into.push_back((last, frame));
}
