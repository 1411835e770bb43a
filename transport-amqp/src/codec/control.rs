use bytes::{Bytes, BytesMut};

use super::reader::Reader;
use super::writer::{put_binary, put_bool, put_described_list, put_null};
use super::{Body, GuardLimits, sections, walk};
use crate::DecodeError;

/// What a controller asks of a transaction coordinator: the value of a message (Part 4, sections 4.5.2 and 4.5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A new transaction.
    Declare {
        /// It has a name that is known beyond this coordinator. What name is not kept: none is understood here.
        global: bool,
    },
    /// The end of one.
    Discharge {
        /// The transaction.
        txn: Bytes,
        /// It is rolled back.
        fail: bool,
    },
}

impl Control {
    const DECLARE: u64 = 0x31;
    const DISCHARGE: u64 = 0x32;

    /// Reads an encoded message.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or its value is neither.
    pub fn read(message: &Bytes, limits: &GuardLimits) -> Result<Self, DecodeError> {
        let found = sections(message, message.len(), limits)?;
        let Body::Value(value) = found.body else { return Err(DecodeError::Section) };
        walk(&message[value.clone()], 0, limits)?;
        let mut reader = Reader::new(&message[value]);
        let descriptor = reader.descriptor()?;
        let mut fields = reader.list()?;
        match descriptor {
            Some(Self::DECLARE) => Ok(Self::Declare { global: fields.encoded()?.is_some() }),
            Some(Self::DISCHARGE) => {
                let txn = fields.binary()?.ok_or(DecodeError::Missing("txn-id"))?;
                Ok(Self::Discharge { txn: message.slice_ref(txn), fail: fields.bool()? })
            }
            _ => Err(DecodeError::Section),
        }
    }

    /// Appends it as a message.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(&[0x00, 0x53, 0x77]);
        match self {
            Self::Declare { .. } => put_described_list(out, Self::DECLARE as u8, 1, put_null),
            Self::Discharge { txn, fail } => put_described_list(out, Self::DISCHARGE as u8, 2, |out| {
                put_binary(out, txn);
                put_bool(out, *fail);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let txn = Bytes::from_static(b"\0\x01txn");
        for control in [
            Control::Declare { global: false },
            Control::Discharge { txn: txn.clone(), fail: false },
            Control::Discharge { txn, fail: true },
        ] {
            let mut out = BytesMut::new();
            control.write(&mut out);
            assert_eq!(Control::read(&out.freeze(), &GuardLimits::default()), Ok(control));
        }
    }

    #[test]
    fn other_values_are_refused() {
        for message in
            [&[0x00, 0x53, 0x77, 0x40][..], &[0x00, 0x53, 0x75, 0xa0, 0], &[0x00, 0x53, 0x77, 0x00, 0x53, 0x24, 0x45]]
        {
            assert!(Control::read(&Bytes::from_static(message), &GuardLimits::default()).is_err());
        }
        let nameless = Bytes::from_static(&[0x00, 0x53, 0x77, 0x00, 0x53, 0x32, 0x45]);
        assert_eq!(Control::read(&nameless, &GuardLimits::default()), Err(DecodeError::Missing("txn-id")));
    }
}
