use bytes::{Buf, Bytes};
use roadbed_core::{Output, Protocol, Time};
use roadbed_mqtt::codec::Packet;
use roadbed_mqtt::{Error, Event, Machine};

use super::watch::Watch;

/// A machine with what a driver keeps beside it: the bytes that wait, and what has come of them.
pub(super) struct End {
    pub(super) machine: Machine,
    pub(super) out: Output,
    pub(super) watch: Watch,
    /// What the last operation brought, in words.
    pub(super) events: String,
    pub(super) error: Option<Error>,
    pending: Vec<u8>,
}

impl End {
    pub(super) fn new(server: bool, open: impl FnOnce(Time, &mut Output) -> Machine) -> Self {
        let mut out = Output::new();
        let machine = open(Time::from_millis(1 << 40), &mut out);
        Self { machine, out, watch: Watch::new(server), events: String::new(), error: None, pending: Vec::new() }
    }

    /// Bytes of the peer, `step` at a time.
    pub(super) fn hear(&mut self, now: Time, bytes: &[u8], step: usize) {
        self.events.clear();
        for piece in bytes.chunks(step) {
            self.pending.extend_from_slice(piece);
            self.read(now);
        }
    }

    /// Reads what can be read.
    pub(super) fn read(&mut self, now: Time) {
        let (chunk, mut at) = (Bytes::copy_from_slice(&self.pending), 0);
        loop {
            let closed = self.machine.is_closed();
            match self.machine.next(now, &chunk, &mut at, &mut self.out) {
                Ok(Some(event)) => {
                    assert!(!closed, "a closed machine reads nothing");
                    self.took(&chunk, &event);
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(self.error.replace(error).is_none(), "one error ends it");
                    assert!(self.machine.is_closed());
                    break;
                }
            }
        }
        self.pending.drain(..at);
        if self.machine.wants_input() {
            let whole = self.machine.frame_bytes(&self.pending);
            assert!(whole.is_ok_and(|bytes| bytes.is_none_or(|bytes| bytes > self.pending.len())), "a frame was left");
        } else if self.machine.is_closed() {
            self.pending.clear();
        }
    }

    fn took(&mut self, chunk: &Bytes, event: &Event) {
        if let Event::Publish(incoming) = event {
            for shared in incoming.message.payload().shared().unwrap_or_default() {
                assert!(chunk.as_ptr_range().contains(&shared.as_ptr()), "the payload is not copied");
            }
        }
        self.watch.took(event);
        self.events += &format!("{event:?}\n");
    }

    /// The time has come to `now`.
    pub(super) fn wait(&mut self, now: Time) {
        self.events.clear();
        if let Err(error) = self.machine.handle_timeout(now, &mut self.out) {
            assert!(self.error.replace(error).is_none(), "one error ends it");
            assert!(self.machine.is_closed());
        }
        let next = self.machine.poll_timeout();
        assert!(next.is_none_or(|at| !at.has_passed(now)), "the next deadline is ahead");
    }

    /// What the last operation wrote, checked.
    pub(super) fn said(&mut self) -> Bytes {
        let len = self.out.remaining();
        let bytes = self.out.copy_to_bytes(len);
        self.watch.said(&self.machine, &bytes);
        bytes
    }

    /// Notes the result of a command: a packet that was refused wrote nothing.
    pub(super) fn did<T: std::fmt::Debug>(
        &mut self,
        before: usize,
        result: &Result<T, roadbed_mqtt::SendError>,
    ) -> bool {
        assert!(result.is_ok() || self.out.len() == before, "{result:?} wrote something");
        self.events += &format!("{result:?}\n");
        result.is_ok()
    }
}

/// Whether a machine of either end may say this.
pub(super) fn is_of_end(packet: &Packet, server: bool) -> bool {
    match packet {
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => !server,
        Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => server,
        _ => true,
    }
}
