//! What is to be written: small pieces flattened, large ones shared.

use alloc::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Payload;

/// The bytes that a machine wants written, in order.
///
/// Pieces shorter than [`SHARE_MIN`](Self::SHARE_MIN) are copied into one buffer, which is cheaper than counting references;
/// longer ones stand beside it, for one vectored write. It is a [`Buf`], so any writer can drain it.
#[derive(Debug, Default)]
pub struct Output {
    queue: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Output {
    /// From how many bytes on a piece is shared instead of copied.
    pub const SHARE_MIN: usize = 2048;
    /// The block that headers between shared pieces are written into, in bytes, and the room below which it is a new one.
    const FLAT: usize = 4096;
    const FLAT_MIN: usize = 256;

    /// Nothing to write.
    pub fn new() -> Self {
        Self::default()
    }

    /// The flat end, for writing headers and small frames.
    pub fn flat(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        write(&mut self.tail);
        debug_assert!(self.tail.len() >= before, "a frame only appends");
        self.len += self.tail.len() - before;
    }

    /// Appends a copy of `bytes`.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `bytes`: shared if long, copied if short.
    pub fn put(&mut self, bytes: &Bytes) {
        if bytes.len() < Self::SHARE_MIN {
            return self.put_slice(bytes);
        }
        self.close_tail();
        self.len += bytes.len();
        self.queue.push_back(bytes.clone());
    }

    /// Appends a payload.
    pub fn put_payload(&mut self, payload: &Payload) {
        match payload.shared() {
            Some(segments) => segments.iter().for_each(|segment| self.put(segment)),
            None => payload.segments().for_each(|segment| self.put_slice(segment)),
        }
    }

    /// How many bytes wait to be written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes of memory the flat end occupies.
    pub fn capacity(&self) -> usize {
        self.tail.capacity()
    }

    /// The shared pieces still queued: for tests that prove what was not copied.
    pub fn shared(&self) -> impl Iterator<Item = &Bytes> {
        self.queue.iter()
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let flat = self.tail.split().freeze();
            self.queue.push_back(flat);
            // The headers between large pieces share one block, instead of a small one each.
            if self.tail.capacity() < Self::FLAT_MIN {
                self.tail.reserve(Self::FLAT);
            }
        }
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&self.tail[..], |front| &front[..])
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, into: &mut [std::io::IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let pieces = self.queue.iter().map(|piece| &piece[..]).chain(tail);
        let mut filled = 0;
        for (slot, piece) in into.iter_mut().zip(pieces) {
            *slot = std::io::IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "cannot advance past the end");
        self.len -= count;
        while let Some(front) = self.queue.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.queue.pop_front();
        }
        if count == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(count);
        }
    }
}
