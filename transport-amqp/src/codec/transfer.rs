use bytes::{Bytes, BytesMut};

use super::guard::{GuardLimits, walk};
use super::reader::{Raw, Reader};
use super::state::State;
use super::tag::Tag;
use super::writer::{put_binary, put_bool, put_described_list, put_null, put_u32};
use crate::DecodeError;

/// The performative of one frame of a message (Part 2, section 2.7.5). Its payload is what follows it in the frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The link, by its sender's handle.
    pub handle: u32,
    /// The delivery's number; may be left out after the first frame.
    pub delivery_id: Option<u32>,
    /// The delivery's name; may be left out after the first frame.
    pub delivery_tag: Option<Tag>,
    /// How the payload is encoded; 0 is a message of Part 3.
    pub message_format: Option<u32>,
    /// Whether no answer is expected; in the last frame that names it.
    pub settled: Option<bool>,
    /// Whether more frames of this delivery follow.
    pub more: bool,
    /// Who settles first, if this delivery differs from its link: 0 or 1.
    pub rcv_settle_mode: Option<u8>,
    /// The sender's state; names the transaction of a post.
    pub state: Option<State>,
    /// A delivery of an earlier attachment goes on.
    pub resume: bool,
    /// The delivery is given up; its payload is void.
    pub aborted: bool,
    /// No hurry to answer.
    pub batchable: bool,
}

impl Transfer {
    /// The number of its descriptor.
    pub const DESCRIPTOR: u64 = 0x14;
    const FIELDS: u32 = 11;

    /// Whether a frame begins with a transfer, in the way that nearly all write it.
    pub(crate) fn is_next(frame: &[u8]) -> bool {
        frame.starts_with(&[0x00, 0x53, Self::DESCRIPTOR as u8])
    }

    /// Reads the transfer that `frame` begins with, and says where its payload begins. Its fields are flat, and bounded by their list; only a state, or more fields
    /// than there are, need a [`walk`] before.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or breaks section 2.7.5.
    pub fn decode(frame: &Bytes, limits: &GuardLimits) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(frame);
        if reader.descriptor()? != Some(Self::DESCRIPTOR) {
            return Err(DecodeError::Performative);
        }
        let mut fields = reader.list()?;
        let handle = fields.u32()?.ok_or(DecodeError::Missing("handle"))?;
        let delivery_id = fields.u32()?;
        let delivery_tag =
            fields.binary()?.map(|tag| Tag::new(tag).ok_or(DecodeError::Field("delivery-tag"))).transpose()?;
        let message_format = fields.u32()?;
        let settled = fields.next()?.map(Raw::bool).transpose()?;
        let more = fields.bool()?;
        let rcv_settle_mode = match fields.u32()? {
            None => None,
            Some(mode @ 0..=1) => Some(mode as u8),
            Some(_) => return Err(DecodeError::Field("rcv-settle-mode")),
        };
        if fields.is_described() {
            walk(frame, 0, limits)?;
        }
        let state = fields.encoded()?.map(|encoded| State::read(encoded, frame)).transpose()?;
        let transfer = Self {
            handle,
            delivery_id,
            delivery_tag,
            message_format,
            settled,
            more,
            rcv_settle_mode,
            state,
            resume: fields.bool()?,
            aborted: fields.bool()?,
            batchable: fields.bool()?,
        };
        match fields.left() {
            0 if fields.rest().is_empty() => Ok((transfer, reader.at())),
            0 => Err(DecodeError::Size),
            _ => walk(frame, 0, limits).map(|end| (transfer, end)),
        }
    }

    /// Appends the performative, with all its fields.
    pub fn encode(&self, out: &mut BytesMut) {
        put_described_list(out, Self::DESCRIPTOR as u8, Self::FIELDS, |out| {
            put_u32(out, self.handle);
            put_u32(out, self.delivery_id);
            match &self.delivery_tag {
                Some(tag) => put_binary(out, tag),
                None => put_null(out),
            }
            put_u32(out, self.message_format);
            match self.settled {
                Some(settled) => put_bool(out, settled),
                None => put_null(out),
            }
            put_bool(out, self.more);
            match self.rcv_settle_mode {
                Some(mode) => bytes::BufMut::put_slice(out, &[0x50, mode]),
                None => put_null(out),
            }
            match &self.state {
                Some(state) => state.write(out),
                None => put_null(out),
            }
            put_bool(out, self.resume);
            put_bool(out, self.aborted);
            put_bool(out, self.batchable);
        });
    }
}
