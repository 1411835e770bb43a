use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::performatives::{Attach, Begin, Close, Detach, End, Open};
use serde::Serialize;

use super::reader::Reader;
use super::{Disposition, Flow, GuardLimits, Transfer, walk};
use crate::DecodeError;

/// What a frame of AMQP says (Part 2, section 2.7).
#[derive(Debug, Clone, PartialEq)]
pub enum Performative {
    /// Opens the connection.
    Open(Box<Open>),
    /// Begins a session.
    Begin(Box<Begin>),
    /// Attaches a link.
    Attach(Box<Attach>),
    /// Sets windows and credit.
    Flow(Flow),
    /// Carries a message, or a part of one.
    Transfer(Transfer),
    /// Says what became of deliveries.
    Disposition(Disposition),
    /// Detaches a link.
    Detach(Detach),
    /// Ends a session.
    End(End),
    /// Closes the connection.
    Close(Close),
}

impl Performative {
    /// Reads the performative that `frame` begins with, and says where its payload begins. The bytes are walked before anything decodes them.
    ///
    /// # Errors
    /// [`DecodeError`] if there is none, or bytes follow one that has no payload.
    pub fn decode(frame: &Bytes, limits: &GuardLimits) -> Result<(Self, usize), DecodeError> {
        if Transfer::is_next(frame) {
            return Transfer::decode(frame, limits).map(|(transfer, end)| (Self::Transfer(transfer), end));
        }
        let end = walk(frame, 0, limits)?;
        let descriptor = Reader::new(frame).descriptor()?.ok_or(DecodeError::Performative)?;
        if descriptor == Transfer::DESCRIPTOR {
            return Transfer::decode(frame, limits).map(|(transfer, end)| (Self::Transfer(transfer), end));
        }
        if end != frame.len() {
            return Err(DecodeError::Trailing);
        }
        let performative = match descriptor {
            0x10 => Self::Open(Box::new(decode(frame)?)),
            0x11 => Self::Begin(Box::new(decode(frame)?)),
            0x12 => Self::Attach(Box::new(decode(frame)?)),
            Flow::DESCRIPTOR => Self::Flow(Flow::decode(frame)?),
            Disposition::DESCRIPTOR => Self::Disposition(Disposition::decode(frame)?),
            0x16 => Self::Detach(decode(frame)?),
            0x17 => Self::End(decode(frame)?),
            0x18 => Self::Close(decode(frame)?),
            _ => return Err(DecodeError::Performative),
        };
        Ok((performative, end))
    }

    /// Appends it, with all its fields: widely used clients index them without looking at how many there are.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Open(open) => put_performative(out, open, 10),
            Self::Begin(begin) => put_performative(out, begin, 8),
            Self::Attach(attach) => put_performative(out, attach, 14),
            Self::Flow(flow) => flow.encode(out),
            Self::Transfer(transfer) => transfer.encode(out),
            Self::Disposition(disposition) => disposition.encode(out),
            Self::Detach(detach) => put_performative(out, detach, 3),
            Self::End(end) => put_performative(out, end, 1),
            Self::Close(close) => put_performative(out, close, 1),
        }
    }
}

/// Appends a described list of `serde_amqp`, filled up with nulls to `fields` fields.
pub fn put_performative<T: Serialize>(out: &mut BytesMut, value: &T, fields: u32) {
    let encoded = encode(value);
    let mut reader = Reader::new(&encoded);
    let header = reader.descriptor().map(|_| reader.at()).unwrap_or_default();
    let Ok(list) = reader.list() else { return out.put_slice(&encoded) };
    let (count, items) = (list.left(), list.rest());
    out.put_slice(&encoded[..header]);
    let count = count.max(fields);
    super::writer::put_list(out, count, |out| {
        out.put_slice(items);
        out.put_bytes(0x40, (count - list.left()) as usize);
    });
}

fn decode<T: serde::de::DeserializeOwned>(frame: &[u8]) -> Result<T, DecodeError> {
    serde_amqp::from_slice(frame).map_err(|_| DecodeError::Malformed)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_amqp::to_vec(value).expect("performatives have an encoding")
}
