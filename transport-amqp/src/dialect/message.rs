use bytes::{BufMut, Bytes, BytesMut};
use roadbed_core::{Address, Delivery, Error, ErrorKind, Losses, Message, ReadContext, Result, Time, WireMessage};
use smallvec::{SmallVec, smallvec};

use super::read::{Parts, Refusal};
use super::write;
use crate::DecodeError;
use crate::codec::{GuardLimits, sections};

/// The payloads of a message's transfers: nearly always one.
pub type Pieces = SmallVec<[Bytes; 1]>;

/// An encoded message: the payloads of its transfers.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Where its link leads; without it the message's own `to` counts (the anonymous terminus).
    pub address: Option<Address>,
    /// Its bytes, a transfer's payload at a time.
    pub pieces: Pieces,
    /// Bounds of what is looked into.
    pub limits: GuardLimits,
    /// The longest sidecar that is believed, in bytes; 0 if the peer is none of ours.
    pub sidecar_bytes_max: usize,
}

impl Encoded {
    /// The message that `pieces` are.
    pub fn new(pieces: impl Into<Pieces>) -> Self {
        Self { address: None, pieces: pieces.into(), limits: GuardLimits::default(), sidecar_bytes_max: 0 }
    }

    /// The bytes in one piece.
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [one] => one.clone(),
            pieces => {
                let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
                pieces.iter().for_each(|piece| joined.put_slice(piece));
                joined.freeze()
            }
        }
    }

    fn decode(mut self, context: &ReadContext<'_>) -> Result<Message, Refusal> {
        if let (Some(address), Some(payload)) = (&self.address, self.only_payload()) {
            return Ok(Message::builder(address.clone(), payload).origin(context.origin.clone()).build());
        }
        let total = self.pieces.iter().map(Bytes::len).sum();
        self.pieces.retain(|piece| !piece.is_empty());
        let first = self.pieces.first().cloned().unwrap_or_default();
        let found = match sections(&first, total, &self.limits) {
            // The sections before the payload straddle two frames: only then is anything copied.
            Err(DecodeError::Truncated) if self.pieces.len() > 1 => {
                let joined = self.to_bytes();
                self.pieces = smallvec![joined];
                sections(&self.pieces[0], total, &self.limits)?
            }
            found => found?,
        };
        let first = self.pieces.first().cloned().unwrap_or_default();
        let sidecar_bytes_max = self.sidecar_bytes_max;
        Parts { bytes: &first, pieces: &self.pieces, found, sidecar_bytes_max }.read(self.address, context)
    }
}

impl Encoded {
    /// The payload of a message that is one data section in its shortest form and nothing else: what most devices send.
    fn only_payload(&self) -> Option<Bytes> {
        let [bytes] = &self.pieces[..] else { return None };
        let (start, len) = match **bytes {
            [0x00, 0x53, 0x75, 0xa0, len, ..] => (5, usize::from(len)),
            [0x00, 0x53, 0x75, 0xb0, a, b, c, d, ..] if [a, b, c] != [0, 0, 0] => {
                (8, u32::from_be_bytes([a, b, c, d]) as usize)
            }
            _ => return None,
        };
        (start + len == bytes.len()).then(|| bytes.slice(start..))
    }
}

impl WireMessage for Encoded {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        self.decode(context).map_err(|refusal| match refusal {
            Refusal::Decode(error) => Error::new(ErrorKind::Protocol, "receive").detail(error).because(error),
            Refusal::Address(words) => Error::new(ErrorKind::Invalid, "receive").detail(words),
        })
    }

    fn write(delivery: &Delivery, now: Time, losses: &mut Losses) -> Result<Self> {
        Ok(Self::write_beside(delivery, now, 0, losses))
    }
}

impl Encoded {
    /// A delivery, with a sidecar of at most so many bytes.
    pub fn write_beside(delivery: &Delivery, now: Time, sidecar_bytes_max: usize, losses: &mut Losses) -> Self {
        let mut head = BytesMut::new();
        write::write_head(delivery, now, sidecar_bytes_max, losses, &mut head);
        let mut pieces: Pieces = smallvec![head.freeze()];
        match delivery.message.payload().shared() {
            Some(segments) => pieces.extend(segments.iter().cloned()),
            None => pieces.push(delivery.message.payload().to_bytes()),
        }
        if write::is_whole(&delivery.message) {
            pieces.truncate(1);
        }
        pieces.extend(write::bare_tail(&delivery.message).filter(|tail| !tail.is_empty()).cloned());
        Self::new(pieces)
    }
}
