use bytes::{Bytes, BytesMut};
use roadbed_core::Role;

use super::reader::{Raw, Reader};
use super::state::State;
use super::writer::{put_bool, put_described_list, put_null, put_u32};
use crate::DecodeError;

/// What became of a range of deliveries (Part 2, section 2.7.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition {
    /// Who says it: the sender or the receiver of the deliveries.
    pub role: Role,
    /// The first delivery.
    pub first: u32,
    /// The last one; the same as the first if left out.
    pub last: Option<u32>,
    /// Whether who says it has forgotten them.
    pub settled: bool,
    /// Their state.
    pub state: Option<State>,
    /// No hurry.
    pub batchable: bool,
}

impl Disposition {
    /// The number of its descriptor.
    pub const DESCRIPTOR: u64 = 0x15;
    const FIELDS: u32 = 6;

    /// Reads the disposition that is `frame`.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or breaks section 2.7.6.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        if reader.descriptor()? != Some(Self::DESCRIPTOR) {
            return Err(DecodeError::Performative);
        }
        let mut fields = reader.list()?;
        let role = fields.next()?.map(Raw::bool).transpose()?.ok_or(DecodeError::Missing("role"))?;
        Ok(Self {
            role: if role { Role::Receiver } else { Role::Sender },
            first: fields.u32()?.ok_or(DecodeError::Missing("first"))?,
            last: fields.u32()?,
            settled: fields.bool()?,
            state: fields.encoded()?.map(|encoded| State::read(encoded, frame)).transpose()?,
            batchable: fields.bool()?,
        })
    }

    /// Appends the performative, with all its fields.
    pub fn encode(&self, out: &mut BytesMut) {
        put_described_list(out, Self::DESCRIPTOR as u8, Self::FIELDS, |out| {
            put_bool(out, self.role == Role::Receiver);
            put_u32(out, self.first);
            put_u32(out, self.last);
            put_bool(out, self.settled);
            match &self.state {
                Some(state) => state.write(out),
                None => put_null(out),
            }
            put_bool(out, self.batchable);
        });
    }
}
