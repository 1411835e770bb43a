//! The two ends of a stream of messages.

use std::io;
use std::net::TcpStream;

use hdrhistogram::Histogram;

use super::wire::{self, DISPOSITION, FLOW, ID_AT, TAG_AT, TRANSFER};
use crate::check::Tracker;
use crate::mqtt::{STAMP, Stamp};
use crate::net::{Conn, Scratch, write_some};

/// At most this many bytes of frames in one write.
const BATCH_BYTES: usize = 64 * 1024;

/// A link that sends frames encoded beforehand, many per write.
pub struct Sender {
    id: u32,
    conn: Conn,
    /// Copies of one frame, to be stamped and written together.
    batch: Vec<u8>,
    frame: usize,
    /// The part of `batch` on its way: `at..end`.
    at: usize,
    end: usize,
    settles: bool,
    /// Messages stamped so far, and settled so far.
    pub seq: u32,
    pub settled: u32,
    /// The sequence number that the link's credit ends before.
    credit: u32,
    /// How far its receiver has come.
    pub passed: u32,
    pub closed: Option<String>,
}

/// A link that receives, settles and grants credit.
pub struct Receiver {
    conn: Conn,
    settled: bool,
    window: u32,
    got: u32,
    granted: u32,
    pub seen: Vec<Tracker>,
    pub closed: Option<String>,
}

impl Sender {
    pub fn new(id: u32, sock: TcpStream, size: usize, settled: bool) -> io::Result<Self> {
        let frame = wire::transfer(size, settled);
        let copies = (BATCH_BYTES / frame.len()).clamp(1, 256);
        Ok(Self {
            id,
            conn: Conn::new(sock)?,
            batch: frame.repeat(copies),
            frame: frame.len(),
            at: 0,
            end: 0,
            settles: !settled,
            seq: 0,
            settled: 0,
            credit: 0,
            passed: 0,
            closed: None,
        })
    }

    pub fn unsettled(&self) -> u32 {
        if self.settles { self.seq - self.settled } else { 0 }
    }

    /// Writes a batch towards message `due`, within `window` and the credit; `at_ns` says when a message was due.
    pub fn pump(&mut self, due: u32, window: u32, at_ns: impl Fn(u32) -> u64) -> io::Result<()> {
        if self.at < self.end || !self.conn.flushed() {
            return self.flush();
        }
        let under_way = self.seq.saturating_sub(self.passed).max(self.unsettled());
        let room = window.saturating_sub(under_way).min(self.credit.saturating_sub(self.seq));
        let copies = (self.batch.len() / self.frame) as u32;
        let n = due.saturating_sub(self.seq).min(room).min(copies);
        for frame in self.batch.chunks_exact_mut(self.frame).take(n as usize) {
            frame[ID_AT..ID_AT + 4].copy_from_slice(&self.seq.to_be_bytes());
            frame[TAG_AT..TAG_AT + 4].copy_from_slice(&self.seq.to_be_bytes());
            let stamp = Stamp { publisher: self.id, seq: self.seq, at_ns: at_ns(self.seq) };
            stamp.put(&mut frame[self.frame - STAMP..]);
            self.seq += 1;
        }
        (self.at, self.end) = (0, n as usize * self.frame);
        self.flush()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        write_some(&self.conn.sock, &self.batch[..self.end], &mut self.at).map(drop)
    }

    pub fn receive(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        let Self { conn, credit, seq, settled, closed, .. } = self;
        let open = conn.read_frames(scratch, wire::frame_len, |f, _| match wire::performative(f) {
            FLOW => {
                let n = wire::numbers::<7>(f);
                if let (Some(_), Some(said)) = (n[4], n[6]) {
                    *credit = n[5].unwrap_or(*seq).wrapping_add(said);
                }
            }
            DISPOSITION => {
                let n = wire::numbers::<3>(f);
                if let Some(first) = n[1] {
                    *settled += n[2].unwrap_or(first) - first + 1;
                }
            }
            _ => *closed = closed.take().or_else(|| wire::refused(f)),
        })?;
        if !open {
            closed.get_or_insert_with(|| "end of stream".into());
        }
        Ok(())
    }
}

impl Receiver {
    pub fn new(sock: TcpStream, senders: u32, window: u32, settled: bool) -> io::Result<Self> {
        let seen = (0..senders).map(|_| Tracker::default()).collect();
        let mut conn = Conn::new(sock)?;
        wire::credit(&mut conn.out, 0, 0, 2 * window);
        conn.flush()?;
        Ok(Self { conn, settled, window, got: 0, granted: 2 * window, seen, closed: None })
    }

    /// Takes in what has come, tells how far each sender's messages have, and answers.
    pub fn receive(
        &mut self,
        scratch: &mut Scratch,
        now: u64,
        latency: &mut Histogram<u64>,
        mut passed: impl FnMut(u32, u32),
    ) -> io::Result<()> {
        let Self { conn, settled, got, seen, closed, .. } = self;
        let mut range: Option<(u32, u32)> = None;
        let open = conn.read_frames(scratch, wire::frame_len, |f, _| match wire::performative(f) {
            TRANSFER => {
                let stamp = Stamp::of(f);
                passed(stamp.publisher, seen[stamp.publisher as usize].see(stamp.seq));
                *got += 1;
                latency.saturating_record(now.saturating_sub(stamp.at_ns).max(1));
                if let (false, Some(id)) = (*settled, wire::numbers::<2>(f)[1]) {
                    range = Some(range.map_or((id, id), |(first, _)| (first, id)));
                }
            }
            _ => *closed = closed.take().or_else(|| wire::refused(f)),
        })?;
        if let Some((first, last)) = range {
            wire::accept(&mut self.conn.out, first, last);
        }
        if self.granted - self.got < self.window {
            self.granted = self.got + 2 * self.window;
            wire::credit(&mut self.conn.out, 0, self.got, self.granted - self.got);
        }
        if !open {
            self.closed.get_or_insert_with(|| "end of stream".into());
        }
        self.conn.flush().map(drop)
    }
}
