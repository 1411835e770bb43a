use bytes::{BufMut, Bytes, BytesMut};

use crate::DecodeError;

/// The smallest frame: its header alone (Part 2, section 2.3).
pub const FRAME_BYTES_MIN: usize = 8;

/// Which layer a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameType {
    /// AMQP (Part 2, section 2.3).
    Amqp,
    /// SASL (Part 5, section 5.3.1).
    Sasl,
}

/// A frame without its header and extended header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its layer.
    pub kind: FrameType,
    /// Its channel; without meaning in SASL.
    pub channel: u16,
    /// What follows the headers: empty for a heartbeat, or a performative and its payload.
    pub body: Bytes,
}

/// The length of the frame that `bytes` begins with, once its size is there.
///
/// # Errors
/// [`DecodeError`] for a size below 8, or above `bytes_max`.
pub fn frame_bytes(bytes: &[u8], bytes_max: u32) -> Result<Option<usize>, DecodeError> {
    let Some(size) = bytes.first_chunk::<4>() else { return Ok(None) };
    match u32::from_be_bytes(*size) {
        bytes @ 0..8 => Err(DecodeError::FrameTooSmall(bytes)),
        bytes if bytes > bytes_max => Err(DecodeError::FrameTooLarge { bytes, bytes_max }),
        bytes => Ok(Some(bytes as usize)),
    }
}

/// Takes the frame at `*at` of `chunk`; `None` if it is not there whole. Nothing is copied.
///
/// # Errors
/// [`DecodeError`] for a size or a data offset that cannot be, or a type that is not known.
pub fn frame(chunk: &Bytes, at: &mut usize, bytes_max: u32) -> Result<Option<Frame>, DecodeError> {
    let rest = &chunk[*at..];
    let Some(size) = frame_bytes(rest, bytes_max)? else { return Ok(None) };
    let Some(header) = rest.first_chunk::<FRAME_BYTES_MIN>() else { return Ok(None) };
    let (doff, channel) = (header[4], u16::from_be_bytes([header[6], header[7]]));
    let body = usize::from(doff) * 4;
    if doff < 2 || body > size {
        return Err(DecodeError::DataOffset(doff));
    }
    let kind = match header[5] {
        0 => FrameType::Amqp,
        1 => FrameType::Sasl,
        other => return Err(DecodeError::FrameType(other)),
    };
    if rest.len() < size {
        return Ok(None);
    }
    let body = chunk.slice(*at + body..*at + size);
    *at += size;
    Ok(Some(Frame { kind, channel, body }))
}

/// Writes a frame whose body `write` appends.
pub(crate) fn put_frame(out: &mut BytesMut, kind: FrameType, channel: u16, write: impl FnOnce(&mut BytesMut)) {
    let start = put_frame_head(out, kind, channel);
    write(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a frame header whose size is to be filled in at the returned position.
pub(crate) fn put_frame_head(out: &mut BytesMut, kind: FrameType, channel: u16) -> usize {
    let start = out.len();
    out.put_slice(&[0, 0, 0, 0, 2, u8::from(kind == FrameType::Sasl)]);
    out.put_u16(channel);
    start
}

/// Writes a frame without a body: a heartbeat (Part 2, section 2.4.5).
pub(crate) fn put_empty_frame(out: &mut BytesMut) {
    put_frame(out, FrameType::Amqp, 0, |_| {});
}
