use crate::DecodeError;

/// The eight bytes with which each layer begins (Part 2, section 2.2; Part 5, sections 5.2.1 and 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// AMQP itself.
    Amqp,
    /// TLS within the connection; not spoken here.
    Tls,
    /// SASL before AMQP.
    Sasl,
}

impl ProtocolHeader {
    /// Its length, in bytes.
    pub const LEN: usize = 8;

    /// Its form on the wire.
    pub const fn bytes(self) -> [u8; Self::LEN] {
        let id = match self {
            Self::Amqp => 0,
            Self::Tls => 2,
            Self::Sasl => 3,
        };
        [b'A', b'M', b'Q', b'P', id, 1, 0, 0]
    }

    /// Reads the header that `bytes` begins with; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError::ProtocolHeader`] as soon as it can be no header of AMQP 1.0.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let fits = |header: &Self| {
            let len = bytes.len().min(Self::LEN);
            header.bytes()[..len] == bytes[..len]
        };
        let candidates = [Self::Amqp, Self::Tls, Self::Sasl];
        let found = candidates.into_iter().find(fits).ok_or(DecodeError::ProtocolHeader)?;
        Ok((bytes.len() >= Self::LEN).then_some(found))
    }
}
