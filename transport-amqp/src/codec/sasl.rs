use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::reader::Reader;
use super::writer::{put_binary, put_described_list, put_null, put_str, put_symbol};
use super::{GuardLimits, walk};
use crate::DecodeError;

/// What a SASL frame says (Part 5, section 5.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslFrame {
    /// The server's mechanisms.
    Mechanisms(Vec<String>),
    /// The client's choice.
    Init {
        /// The mechanism.
        mechanism: String,
        /// What the client says first.
        response: Option<Bytes>,
        /// The host that the client wants to reach.
        hostname: Option<String>,
    },
    /// The server's question.
    Challenge(Bytes),
    /// The client's answer.
    Response(Bytes),
    /// How it ended.
    Outcome {
        /// The code.
        code: SaslCode,
        /// What the mechanism says last.
        data: Option<Bytes>,
    },
}

/// How SASL ended (section 5.3.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SaslCode {
    /// The client is let in.
    Ok = 0,
    /// Its credentials are wrong.
    Auth = 1,
    /// The server could not tell.
    Sys = 2,
    /// The server will not be able to tell until somebody mends it.
    SysPerm = 3,
    /// The server cannot tell now.
    SysTemp = 4,
}

impl SaslCode {
    fn read(code: u32) -> Result<Self, DecodeError> {
        const ALL: [SaslCode; 5] = [SaslCode::Ok, SaslCode::Auth, SaslCode::Sys, SaslCode::SysPerm, SaslCode::SysTemp];
        ALL.get(code as usize).copied().ok_or(DecodeError::Field("code"))
    }
}

impl core::fmt::Display for SaslCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Auth => "auth",
            Self::Sys => "sys",
            Self::SysPerm => "sys-perm",
            Self::SysTemp => "sys-temp",
        })
    }
}

impl SaslFrame {
    /// Reads the frame's body.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none of these.
    pub fn decode(frame: &Bytes, limits: &GuardLimits) -> Result<Self, DecodeError> {
        if walk(frame, 0, limits)? != frame.len() {
            return Err(DecodeError::Trailing);
        }
        let mut reader = Reader::new(frame);
        let descriptor = reader.descriptor()?.ok_or(DecodeError::Performative)?;
        let mut fields = reader.list()?;
        let needed = |bytes: Option<&[u8]>, name| bytes.map(|b| frame.slice_ref(b)).ok_or(DecodeError::Missing(name));
        Ok(match descriptor {
            0x40 => {
                Self::Mechanisms(mechanisms(fields.encoded()?.ok_or(DecodeError::Missing("sasl-server-mechanisms"))?)?)
            }
            0x41 => Self::Init {
                mechanism: fields.next()?.ok_or(DecodeError::Missing("mechanism"))?.symbol()?.into(),
                response: fields.binary()?.map(|bytes| frame.slice_ref(bytes)),
                hostname: fields.next()?.map(|raw| raw.str().map(String::from)).transpose()?,
            },
            0x42 => Self::Challenge(needed(fields.binary()?, "challenge")?),
            0x43 => Self::Response(needed(fields.binary()?, "response")?),
            0x44 => Self::Outcome {
                code: SaslCode::read(fields.u32()?.ok_or(DecodeError::Missing("code"))?)?,
                data: fields.binary()?.map(|bytes| frame.slice_ref(bytes)),
            },
            _ => return Err(DecodeError::Performative),
        })
    }
}

/// Appends the body of a SASL frame.
pub fn put_sasl(out: &mut BytesMut, frame: &SaslFrame) {
    match frame {
        SaslFrame::Mechanisms(names) => put_described_list(out, 0x40, 1, |out| put_symbols(out, names)),
        SaslFrame::Init { mechanism, response, hostname } => put_described_list(out, 0x41, 3, |out| {
            put_symbol(out, mechanism);
            match response {
                Some(response) => put_binary(out, response),
                None => put_null(out),
            }
            match hostname {
                Some(hostname) => put_str(out, hostname),
                None => put_null(out),
            }
        }),
        SaslFrame::Challenge(data) => put_described_list(out, 0x42, 1, |out| put_binary(out, data)),
        SaslFrame::Response(data) => put_described_list(out, 0x43, 1, |out| put_binary(out, data)),
        SaslFrame::Outcome { code, data } => put_described_list(out, 0x44, 2, |out| {
            out.put_slice(&[0x50, *code as u8]);
            match data {
                Some(data) => put_binary(out, data),
                None => put_null(out),
            }
        }),
    }
}

/// An array of symbols in its long form, which every peer reads.
fn put_symbols(out: &mut BytesMut, names: &[String]) {
    let size: usize = names.iter().map(|name| 4 + name.len()).sum();
    out.put_u8(0xf0);
    out.put_u32(size as u32 + 5);
    out.put_u32(names.len() as u32);
    out.put_u8(0xb3);
    for name in names {
        out.put_u32(name.len() as u32);
        out.put_slice(name.as_bytes());
    }
}

/// One symbol or an array of them.
fn mechanisms(encoded: &[u8]) -> Result<Vec<String>, DecodeError> {
    let raw = Reader::new(encoded).raw()?;
    if !matches!(raw.code, 0xe0 | 0xf0) {
        return Ok(alloc::vec![raw.symbol()?.into()]);
    }
    let head = if raw.code == 0xf0 { 4 } else { 1 };
    let (count, rest) = raw.bytes.split_at_checked(head).ok_or(DecodeError::Truncated)?;
    let count = count.iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte));
    let (&code, mut rest) = rest.split_first().ok_or(DecodeError::Truncated)?;
    let wide = match code {
        0xa3 => 1,
        0xb3 => 4,
        _ => return Err(DecodeError::Type(code)),
    };
    let mut names = Vec::new();
    for _ in 0..count {
        let (len, tail) = rest.split_at_checked(wide).ok_or(DecodeError::Truncated)?;
        let len = len.iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte));
        let (name, tail) = tail.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        names.push(String::from_utf8(name.into()).map_err(|_| DecodeError::Utf8)?);
        rest = tail;
    }
    Ok(names)
}
