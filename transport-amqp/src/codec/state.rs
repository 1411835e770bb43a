use alloc::boxed::Box;
use alloc::string::String;

use bytes::{Bytes, BytesMut};

use super::reader::{Fields, Reader};
use super::writer::{put_binary, put_bool, put_described_list, put_null, put_str, put_symbol};
use crate::DecodeError;

/// The state of a delivery as one end tells it (Part 3, section 3.4; Part 4, section 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Some of it has arrived. How much is not kept: a resumed partial transfer starts again.
    Received,
    /// Accepted.
    Accepted,
    /// Rejected, and why.
    Rejected(Option<Fault>),
    /// Released.
    Released,
    /// Modified. Annotations that come with it are not kept.
    Modified {
        /// It counts as a failed delivery.
        delivery_failed: bool,
        /// The same link must not get it again.
        undeliverable_here: bool,
    },
    /// The coordinator's answer to declare: the transaction's name.
    Declared(Bytes),
    /// It belongs to a transaction, with the outcome that is applied at commit.
    Transactional {
        /// The transaction.
        txn: Bytes,
        /// The outcome, if it is named.
        outcome: Option<Box<State>>,
    },
}

/// An error as it is said on the wire (Part 2, section 2.8.14), without its info map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The condition, such as `amqp:not-found`.
    pub condition: String,
    /// Words for a person.
    pub description: Option<String>,
}

impl State {
    /// Reads an encoded state that is a part of `frame`.
    pub(crate) fn read(encoded: &[u8], frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(encoded);
        let descriptor = reader.descriptor()?.ok_or(DecodeError::State)?;
        let mut fields = reader.list()?;
        if descriptor != 0x34 {
            return Self::plain(descriptor, &mut fields, frame);
        }
        let txn = frame.slice_ref(fields.binary()?.ok_or(DecodeError::Missing("txn-id"))?);
        let outcome = match fields.encoded()? {
            None => None,
            Some(encoded) => {
                let mut reader = Reader::new(encoded);
                let descriptor = reader.descriptor()?.ok_or(DecodeError::State)?;
                match Self::plain(descriptor, &mut reader.list()?, frame)? {
                    Self::Received | Self::Declared(_) => return Err(DecodeError::State),
                    outcome => Some(Box::new(outcome)),
                }
            }
        };
        Ok(Self::Transactional { txn, outcome })
    }

    fn plain(descriptor: u64, fields: &mut Fields<'_>, frame: &Bytes) -> Result<Self, DecodeError> {
        Ok(match descriptor {
            0x23 => Self::Received,
            0x24 => Self::Accepted,
            0x25 => Self::Rejected(fields.encoded()?.map(Fault::read).transpose()?),
            0x26 => Self::Released,
            0x27 => Self::Modified { delivery_failed: fields.bool()?, undeliverable_here: fields.bool()? },
            0x33 => {
                let txn = fields.binary()?.ok_or(DecodeError::Missing("txn-id"))?;
                Self::Declared(frame.slice_ref(txn))
            }
            _ => return Err(DecodeError::State),
        })
    }

    /// At least as many bytes as it takes.
    pub(crate) fn len_max(&self) -> usize {
        const FIELDS: usize = 32;
        FIELDS
            + match self {
                Self::Rejected(Some(fault)) => {
                    fault.condition.len() + fault.description.as_ref().map_or(0, String::len)
                }
                Self::Declared(txn) => txn.len(),
                Self::Transactional { txn, outcome } => {
                    txn.len() + outcome.as_ref().map_or(0, |outcome| outcome.len_max())
                }
                _ => 0,
            }
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        match self {
            // The offset of a partial transfer: nothing of it counts.
            Self::Received => put_described_list(out, 0x23, 2, |out| {
                super::writer::put_u32(out, 0);
                super::writer::put_u64(out, 0);
            }),
            Self::Accepted => put_described_list(out, 0x24, 0, |_| {}),
            Self::Rejected(fault) => put_described_list(out, 0x25, 1, |out| match fault {
                Some(fault) => fault.write(out),
                None => put_null(out),
            }),
            Self::Released => put_described_list(out, 0x26, 0, |_| {}),
            Self::Modified { delivery_failed, undeliverable_here } => put_described_list(out, 0x27, 3, |out| {
                put_bool(out, *delivery_failed);
                put_bool(out, *undeliverable_here);
                put_null(out);
            }),
            Self::Declared(txn) => put_described_list(out, 0x33, 1, |out| put_binary(out, txn)),
            Self::Transactional { txn, outcome } => put_described_list(out, 0x34, 2, |out| {
                put_binary(out, txn);
                match outcome {
                    Some(outcome) => outcome.write(out),
                    None => put_null(out),
                }
            }),
        }
    }
}

impl Fault {
    /// An error with words for a person.
    pub fn new(condition: impl Into<String>, description: impl Into<String>) -> Self {
        Self { condition: condition.into(), description: Some(description.into()) }
    }

    fn read(encoded: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(encoded);
        if reader.descriptor()? != Some(0x1d) {
            return Err(DecodeError::State);
        }
        let mut fields = reader.list()?;
        let condition = fields.next()?.ok_or(DecodeError::Missing("condition"))?.symbol()?.into();
        let description = fields.next()?.map(|raw| raw.str().map(String::from)).transpose()?;
        Ok(Self { condition, description })
    }

    fn write(&self, out: &mut BytesMut) {
        put_described_list(out, 0x1d, 3, |out| {
            put_symbol(out, &self.condition);
            match &self.description {
                Some(text) => put_str(out, text),
                None => put_null(out),
            }
            put_null(out);
        });
    }
}
