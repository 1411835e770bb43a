//! What was sent and acknowledged, and what became of it.

use std::collections::BTreeMap;

/// A message: its stream, and its place there.
pub(crate) type Name = (u32, u64);

/// What one sender has sent to one place since all of it was last accounted for.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    base: u64,
    sent: Vec<Sent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    acknowledged: bool,
    /// How often it was sent in a way that may make several of it.
    times: u32,
}

impl Stream {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, base: 0, sent: Vec::new() }
    }

    /// The next message: sent once.
    pub(crate) fn next(&mut self) -> u64 {
        self.sent.push(Sent { acknowledged: false, times: 1 });
        self.end() - 1
    }

    /// It is sent again, and may arrive twice.
    pub(crate) fn again(&mut self, seq: u64) {
        if let Some(sent) = self.get_mut(seq) {
            sent.times += 1;
        }
    }

    pub(crate) fn acknowledge(&mut self, seq: u64) {
        if let Some(sent) = self.get_mut(seq) {
            sent.acknowledged = true;
        }
    }

    /// Messages since all was accounted for, each with whether it was acknowledged and how many of it there may be.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (u64, bool, u32)> {
        self.sent.iter().zip(self.base..).map(|(sent, seq)| (seq, sent.acknowledged, sent.times))
    }

    /// The place after the last one.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.sent.len() as u64
    }

    /// Those that were sent and not acknowledged.
    pub(crate) fn unanswered(&self) -> Vec<u64> {
        self.sent().filter(|(_, acknowledged, _)| !acknowledged).map(|(seq, ..)| seq).collect()
    }

    /// All of it is accounted for.
    pub(crate) fn close(&mut self) {
        self.base = self.end();
        self.sent.clear();
    }

    fn get_mut(&mut self, seq: u64) -> Option<&mut Sent> {
        self.sent.get_mut(usize::try_from(seq.checked_sub(self.base)?).ok()?)
    }
}

/// What consumers have done to a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// Its end was asked for: it may be gone.
    pub(crate) may_be_gone: bool,
    /// Its end was confirmed: it must be gone.
    pub(crate) gone: bool,
    /// It was rejected: it may be a dead letter.
    pub(crate) may_be_dead: bool,
    /// Its rejection was confirmed: it must be a dead letter.
    pub(crate) dead: bool,
    /// Failed attempts that were confirmed, and that may have been made.
    pub(crate) failed: (u32, u32),
}

pub(crate) type Fates = BTreeMap<Name, Fate>;

/// A message as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) name: Name,
    /// The delivery count that the hub told.
    pub(crate) count: u32,
}

/// The payload of a message: its name, and more or less beside it.
pub(crate) fn payload((stream, seq): Name) -> Vec<u8> {
    let mixed = (seq + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ u64::from(stream)) >> 20;
    let bytes = match mixed % 100 {
        0 => mixed % 12_000,
        1..20 => mixed % 1200,
        _ => mixed % 200,
    };
    let mut out = format!("{stream}.{seq}.").into_bytes();
    out.extend((0..bytes).map(|at| b'a' + ((at + mixed) % 26) as u8));
    out
}

/// The message with this payload, if it is whole.
pub(crate) fn name_of(found: &[u8]) -> Option<Name> {
    let mut parts = std::str::from_utf8(found).ok()?.splitn(3, '.');
    let name = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (payload(name) == found).then_some(name)
}
