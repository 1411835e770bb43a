//! What comes and what goes, without the stream below: frames are taken apart in place, and answers are kept until there is room for them.

use core::ops::Range;

use crate::codec::{CONTROL_BYTES_MAX, CloseFrame, HEADER_BYTES_MAX, Header, Opcode, Violation, mask};

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has opened the connection, and masks what it sends.
    Client,
    /// It was connected to.
    Server,
}

impl Role {
    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What the peer has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Nothing that is whole, or of interest.
    Nothing,
    /// A part of a message; where it lies, without its mask.
    Data {
        /// Where, in the bytes that were given.
        at: Range<usize>,
        /// It is text.
        text: bool,
        /// The message ends with it.
        last: bool,
    },
    /// A ping, to be answered.
    Ping(Control),
    /// An answer to a ping.
    Pong(Control),
    /// Nothing more comes.
    Close(Option<CloseFrame>),
}

/// Takes frames apart as they come, in pieces of any size. It keeps a few bytes, whatever lengths are announced.
#[derive(Debug)]
pub struct Reader {
    peer: Role,
    head: [u8; HEADER_BYTES_MAX],
    head_len: u8,
    frame: Option<Frame>,
    /// The message that is under way is text, or it is not.
    message: Option<bool>,
    control: Control,
}

/// A frame whose payload comes.
#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    left: u64,
}

impl Reader {
    /// Reads what `peer` sends.
    pub const fn new(peer: Role) -> Self {
        let (head, control) = ([0; HEADER_BYTES_MAX], Control::EMPTY);
        Self { peer, head, head_len: 0, frame: None, message: None, control }
    }

    /// One step: takes a frame's head, or what there is of its payload, from the beginning of `bytes`. How many bytes that were, and what they say. Not to be called
    /// without bytes, after an error, or after [`Item::Close`].
    ///
    /// # Errors
    /// What the peer has sent breaks the standard.
    pub fn step(&mut self, bytes: &mut [u8]) -> Result<(usize, Item), Violation> {
        match self.frame {
            Some(frame) => self.payload(frame, bytes, 0),
            None => {
                let Some(taken) = self.begin(bytes)? else { return Ok((bytes.len(), Item::Nothing)) };
                match self.frame {
                    Some(frame) => self.payload(frame, bytes, taken),
                    None => Ok((taken, Item::Nothing)),
                }
            }
        }
    }

    /// Takes the head of a frame; how many bytes of it are among `bytes`, if it is whole now.
    fn begin(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let had = usize::from(self.head_len);
        let decoded = if had == 0 {
            Header::decode(bytes)?
        } else {
            let more = bytes.len().min(HEADER_BYTES_MAX - had);
            self.head[had..had + more].copy_from_slice(&bytes[..more]);
            Header::decode(&self.head[..had + more])?
        };
        let Some((header, len)) = decoded else {
            // It is shorter than the longest head, or it would be whole.
            self.head[had..had + bytes.len()].copy_from_slice(bytes);
            self.head_len += bytes.len() as u8;
            return Ok(None);
        };
        self.head_len = 0;
        self.admit(header)?;
        self.frame = Some(Frame { header, left: header.len });
        Ok(Some(len - had))
    }

    /// Whether a frame may come now.
    fn admit(&mut self, header: Header) -> Result<(), Violation> {
        if header.mask.is_some() != (self.peer == Role::Client) {
            return Err(Violation::Mask);
        }
        match (header.opcode, self.message) {
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => Err(Violation::Fragments),
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(header.opcode == Opcode::Text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes what there is of a payload, from `from` on.
    fn payload(&mut self, frame: Frame, bytes: &mut [u8], from: usize) -> Result<(usize, Item), Violation> {
        let Frame { header, left } = frame;
        let there = (bytes.len() - from).min(usize::try_from(left).unwrap_or(usize::MAX));
        let to = from + there;
        if let Some(key) = header.mask {
            mask(&mut bytes[from..to], key, ((header.len - left) % 4) as usize);
        }
        let left = left - there as u64;
        self.frame = (left > 0).then_some(Frame { header, left });
        if header.opcode.is_control() {
            return Ok((to, self.controlled(header.opcode, &bytes[from..to], left == 0)?));
        }
        let (text, last) = (self.message == Some(true), left == 0 && header.fin);
        if last {
            self.message = None;
        }
        Ok((to, Item::Data { at: from..to, text, last }))
    }

    fn controlled(&mut self, opcode: Opcode, payload: &[u8], whole: bool) -> Result<Item, Violation> {
        self.control.push(payload);
        if !whole {
            return Ok(Item::Nothing);
        }
        let control = core::mem::replace(&mut self.control, Control::EMPTY);
        Ok(match opcode {
            Opcode::Ping => Item::Ping(control),
            Opcode::Pong => Item::Pong(control),
            _ => Item::Close(CloseFrame::decode(control.payload())?),
        })
    }
}

/// The payload of a control frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Control {
    bytes: [u8; CONTROL_BYTES_MAX],
    len: u8,
}

impl Control {
    const EMPTY: Self = Self { bytes: [0; CONTROL_BYTES_MAX], len: 0 };

    /// Its bytes.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, more: &[u8]) {
        // The head was refused if there are more than fit.
        let at = usize::from(self.len);
        self.bytes[at..at + more.len()].copy_from_slice(more);
        self.len += more.len() as u8;
    }
}

impl core::fmt::Debug for Control {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Control({:02x?})", self.payload())
    }
}
