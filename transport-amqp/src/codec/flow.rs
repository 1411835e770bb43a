use bytes::{Bytes, BytesMut};

use super::reader::Reader;
use super::writer::{put_binary, put_bool, put_described_list, put_map, put_null, put_symbol, put_u32};
use crate::DecodeError;

/// The windows of a session, and the credit of a link if it names one (Part 2, section 2.7.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The transfer that is expected next; left out before the peer's begin is known.
    pub next_incoming_id: Option<u32>,
    /// How many transfers are taken from there.
    pub incoming_window: u32,
    /// The transfer that is sent next.
    pub next_outgoing_id: u32,
    /// How many transfers may be sent.
    pub outgoing_window: u32,
    /// The link.
    pub handle: Option<u32>,
    /// How many deliveries the link has seen.
    pub delivery_count: Option<u32>,
    /// How many more it may see.
    pub link_credit: Option<u32>,
    /// How many the sender could send.
    pub available: Option<u32>,
    /// The sender is to use its credit up, with deliveries or without.
    pub drain: bool,
    /// An answer is wanted.
    pub echo: bool,
    /// The property `txn-id`: what is delivered on this credit belongs to the transaction (Part 4, section 4.4.3).
    pub txn: Option<Bytes>,
}

impl Flow {
    /// The number of its descriptor.
    pub const DESCRIPTOR: u64 = 0x13;
    const FIELDS: u32 = 11;

    /// Reads the flow that is `frame`.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or breaks section 2.7.4.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        if reader.descriptor()? != Some(Self::DESCRIPTOR) {
            return Err(DecodeError::Performative);
        }
        let mut fields = reader.list()?;
        let mut flow = Self {
            next_incoming_id: fields.u32()?,
            incoming_window: fields.u32()?.ok_or(DecodeError::Missing("incoming-window"))?,
            next_outgoing_id: fields.u32()?.ok_or(DecodeError::Missing("next-outgoing-id"))?,
            outgoing_window: fields.u32()?.ok_or(DecodeError::Missing("outgoing-window"))?,
            handle: fields.u32()?,
            delivery_count: fields.u32()?,
            link_credit: fields.u32()?,
            available: fields.u32()?,
            drain: fields.bool()?,
            echo: fields.bool()?,
            txn: None,
        };
        if let Some(properties) = fields.encoded()? {
            flow.txn = txn(properties, frame)?;
        }
        Ok(flow)
    }

    /// Appends the performative, with all its fields.
    pub fn encode(&self, out: &mut BytesMut) {
        put_described_list(out, Self::DESCRIPTOR as u8, Self::FIELDS, |out| {
            put_u32(out, self.next_incoming_id);
            put_u32(out, self.incoming_window);
            put_u32(out, self.next_outgoing_id);
            put_u32(out, self.outgoing_window);
            put_u32(out, self.handle);
            put_u32(out, self.delivery_count);
            put_u32(out, self.link_credit);
            put_u32(out, self.available);
            put_bool(out, self.drain);
            put_bool(out, self.echo);
            match &self.txn {
                None => put_null(out),
                Some(txn) => put_map(out, |out| {
                    put_symbol(out, "txn-id");
                    put_binary(out, txn);
                    2
                }),
            }
        });
    }
}

fn txn(properties: &[u8], frame: &Bytes) -> Result<Option<Bytes>, DecodeError> {
    let mut pairs = Reader::new(properties).raw()?.map()?;
    while pairs.left() > 1 {
        let (key, value) = (pairs.encoded()?, pairs.encoded()?);
        let (Some(key), Some(value)) = (key, value) else { continue };
        if Reader::new(key).raw().and_then(super::reader::Raw::symbol) == Ok("txn-id") {
            return Ok(Some(frame.slice_ref(Reader::new(value).raw()?.binary()?)));
        }
    }
    Ok(None)
}
