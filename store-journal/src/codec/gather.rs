use bytes::Bytes;

/// From how many bytes on a payload is written from where it lies, instead of being copied.
const SHARE_MIN: usize = 1024;

/// Bytes to be written at once: small pieces flattened into one buffer, large ones beside it.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    flat: Vec<u8>,
    /// Each with the length of `flat` when it was added.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
}

/// A place in a [`Gather`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    flat: usize,
    shared: usize,
    len: usize,
}

impl Gather {
    pub(crate) fn len(&self) -> usize {
        self.flat.len() + self.shared_len
    }

    pub(crate) fn clear(&mut self) {
        self.flat.clear();
        self.shared.clear();
        self.shared_len = 0;
    }

    /// Gives memory back that one large batch has needed.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if self.flat.capacity() > bytes {
            self.flat = Vec::with_capacity(bytes);
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { flat: self.flat.len(), shared: self.shared.len(), len: self.len() }
    }

    /// How many bytes were put since `mark`.
    pub(crate) fn since(&self, mark: Mark) -> usize {
        self.len() - mark.len
    }

    /// Takes away what was put since `mark`.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.flat.truncate(mark.flat);
        for (_, bytes) in self.shared.drain(mark.shared..) {
            self.shared_len -= bytes.len();
        }
    }

    /// Overwrites flat bytes at `mark`.
    pub(crate) fn patch(&mut self, mark: Mark, bytes: &[u8]) {
        self.flat[mark.flat..mark.flat + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.flat.extend_from_slice(bytes);
    }

    /// Puts `bytes` without copying them, if they are many.
    pub(crate) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_MIN {
            return self.put(bytes);
        }
        self.shared_len += bytes.len();
        self.shared.push((self.flat.len(), bytes.clone()));
    }

    /// The pieces in order, from `mark` on.
    pub(crate) fn pieces(&self, mark: Mark) -> impl Iterator<Item = &[u8]> {
        let starts = core::iter::once(mark.flat).chain(self.shared[mark.shared..].iter().map(|(at, _)| *at));
        let ends = self.shared[mark.shared..].iter().map(|(at, _)| *at).chain(core::iter::once(self.flat.len()));
        let beside = self.shared[mark.shared..].iter().map(|(_, bytes)| &**bytes).chain(core::iter::once(&[][..]));
        let flats = starts.zip(ends).map(|(start, end)| &self.flat[start..end]);
        flats.zip(beside).flat_map(|(flat, beside)| [flat, beside]).filter(|piece| !piece.is_empty())
    }

    /// All pieces in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces(Mark { flat: 0, shared: 0, len: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![7; 4000]);
        let mut gather = Gather::default();
        gather.put(b"ab");
        let mark = gather.mark();
        gather.put(b"cd");
        gather.share(&large);
        gather.share(&Bytes::from_static(b"ef"));
        assert_eq!((gather.len(), gather.since(mark)), (4006, 4004));
        let all: Vec<&[u8]> = gather.all().collect();
        assert_eq!(all, [b"abcd", &large[..], b"ef"]);
        assert_eq!(all[1].as_ptr(), large.as_ptr());
        assert_eq!(gather.pieces(mark).next(), Some(&b"cd"[..]));
        gather.rewind(mark);
        assert_eq!(gather.all().collect::<Vec<_>>(), [b"ab"]);
    }
}
