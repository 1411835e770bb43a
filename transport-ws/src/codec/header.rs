use super::Violation;

/// The most bytes that a frame has before its payload.
pub const HEADER_BYTES_MAX: usize = 14;
/// The most bytes of payload that a control frame has (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message before it.
    Continuation = 0,
    /// A message of text, or its beginning.
    Text = 1,
    /// A message of bytes, or its beginning.
    Binary = 2,
    /// The last frame of a direction.
    Close = 8,
    /// Is to be answered with a [`Pong`](Opcode::Pong) of the same payload.
    Ping = 9,
    /// An answer to a [`Ping`](Opcode::Ping), or a sign of life.
    Pong = 10,
}

impl Opcode {
    /// Whether frames of this kind may stand within a fragmented message.
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }

    const fn read(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(Violation::Opcode(other)),
        })
    }
}

/// How a frame begins (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether its message ends with it.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// What its payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// How many bytes of payload follow.
    pub len: u64,
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// Lengths from here on stand behind the second byte: in two bytes, or in eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

impl Header {
    /// The header that `bytes` begins with, and how long it is; `None` if it has not come whole.
    ///
    /// # Errors
    /// What can be seen of it breaks the standard.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBit);
        }
        let (fin, opcode) = (first & FIN != 0, Opcode::read(first & OPCODE)?);
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let short = second & !MASKED;
        if opcode.is_control() && (!fin || usize::from(short) > CONTROL_BYTES_MAX) {
            return Err(Violation::Control);
        }
        let Some((len, at)) = length(short, bytes)? else { return Ok(None) };
        if second & MASKED == 0 {
            return Ok(Some((Self { fin, opcode, mask: None, len }, at)));
        }
        let Some(key) = bytes[at..].first_chunk() else { return Ok(None) };
        Ok(Some((Self { fin, opcode, mask: Some(*key), len }, at + key.len())))
    }

    /// Writes it to the beginning of `out`; how long it is.
    pub fn encode(&self, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
        out[0] = self.opcode as u8 | if self.fin { FIN } else { 0 };
        let (short, mut at) = match self.len {
            0..=125 => (self.len as u8, 2),
            126..=0xffff => {
                out[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
                (LENGTH_16, 4)
            }
            _ => {
                out[2..10].copy_from_slice(&self.len.to_be_bytes());
                (LENGTH_64, 10)
            }
        };
        out[1] = short | if self.mask.is_some() { MASKED } else { 0 };
        if let Some(key) = self.mask {
            out[at..at + key.len()].copy_from_slice(&key);
            at += key.len();
        }
        at
    }
}

/// The length of the payload, and where what follows it begins.
fn length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let (len, at, shortest) = match short {
        LENGTH_16 => match bytes[2..].first_chunk() {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 4, 126),
            None => return Ok(None),
        },
        LENGTH_64 => match bytes[2..].first_chunk() {
            Some(len) => (u64::from_be_bytes(*len), 10, 0x1_0000),
            None => return Ok(None),
        },
        len => (u64::from(len), 2, 0),
    };
    if len < shortest || len > i64::MAX as u64 {
        return Err(Violation::Length);
    }
    Ok(Some((len, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_no_byte_less_is_enough() {
        for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, i64::MAX as u64] {
            for mask in [None, Some([1, 2, 3, 4])] {
                for (fin, opcode) in [(true, Opcode::Binary), (false, Opcode::Text), (true, Opcode::Continuation)] {
                    let header = Header { fin, opcode, mask, len };
                    let mut bytes = [0; HEADER_BYTES_MAX];
                    let written = header.encode(&mut bytes);
                    assert_eq!(Header::decode(&bytes), Ok(Some((header, written))));
                    for cut in 0..written {
                        assert_eq!(Header::decode(&bytes[..cut]), Ok(None), "{header:?} without its end");
                    }
                }
            }
        }
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        let hello = Header { fin: true, opcode: Opcode::Text, mask: None, len: 5 };
        assert_eq!(Header::decode(&[0x81, 0x05]), Ok(Some((hello, 2))));
        let masked = Header { mask: Some([0x37, 0xfa, 0x21, 0x3d]), ..hello };
        assert_eq!(Header::decode(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]), Ok(Some((masked, 6))));
        let long = Header { opcode: Opcode::Binary, len: 256, ..hello };
        assert_eq!(Header::decode(&[0x82, 0x7e, 0x01, 0x00]), Ok(Some((long, 4))));
    }

    #[test]
    fn what_the_standard_forbids_is_refused_as_soon_as_it_is_seen() {
        for (bytes, violation) in [
            (&[0x91][..], Violation::ReservedBit),
            (&[0xc2], Violation::ReservedBit),
            (&[0x83], Violation::Opcode(3)),
            (&[0x8f], Violation::Opcode(15)),
            (&[0x09, 0], Violation::Control),
            (&[0x89, 126], Violation::Control),
            (&[0x88, 0xff], Violation::Control),
            (&[0x82, 126, 0, 125], Violation::Length),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::Length),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::Length),
        ] {
            assert_eq!(Header::decode(bytes), Err(violation), "{bytes:x?}");
        }
    }
}
