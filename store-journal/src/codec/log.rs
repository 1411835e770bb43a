//! What is done to logs.

use roadbed_core::{QueueId, Time};

use super::entry::Place;
use super::message::{put_time, take_time};
use super::record::HEADER;
use super::row::take_queue;
use super::wire::{CodecError, Put, Take};

/// One operation on partitions of logs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LogOp {
    /// One message, with its position in each of its partitions.
    Append { at: Time, places: Vec<(QueueId, u64)>, body: Place, record: u32 },
    /// What stands in a digest in place of appends that lie close to each other.
    Run { partition: QueueId, run: Run },
    /// Everything before a position has come to its end.
    Trim { partition: QueueId, before: u64 },
    /// The partition is no more.
    Drop { partition: QueueId },
}

/// Messages of one partition without a gap, in records that lie close to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// When the first and the last one were enqueued.
    pub(crate) from: Time,
    pub(crate) to: Time,
    /// Where the first record begins, and where the last body ends.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// The bodies, in bytes.
    pub(crate) bytes: u64,
}

impl Run {
    /// One message.
    pub(crate) const fn one(position: u64, at: Time, record: u32, body: Place) -> Self {
        let (end, bytes) = (body.offset + body.len, body.len as u64);
        Self { first: position, count: 1, from: at, to: at, start: record, end, bytes }
    }

    /// Whether it lies between the beginning of its segment and `end`.
    pub(crate) fn lies_before(&self, end: u64) -> bool {
        u64::from(self.end) <= end
    }

    /// The position after the last.
    pub(crate) const fn next(&self) -> u64 {
        self.first + self.count
    }
}

pub(super) const APPEND: u8 = 13;
const RUN: u8 = 14;
const TRIM: u8 = 15;
pub(super) const DROP: u8 = 16;

pub(super) fn put_log_fields(out: &mut impl Put, op: &LogOp) {
    match op {
        LogOp::Append { at, places, .. } => {
            out.byte(APPEND);
            put_time(out, *at);
            out.list(places.iter(), |out, (partition, position)| {
                out.number(partition.0.into());
                out.number(*position);
            });
        }
        LogOp::Run { partition, run } => {
            out.byte(RUN);
            out.number(partition.0.into());
            out.number(run.first);
            out.number(run.count);
            put_time(out, run.from);
            put_time(out, run.to);
            out.number(run.start.into());
            out.number(run.end.into());
            out.number(run.bytes);
        }
        LogOp::Trim { partition, before } => {
            out.byte(TRIM);
            out.number(partition.0.into());
            out.number(*before);
        }
        LogOp::Drop { partition } => {
            out.byte(DROP);
            out.number(partition.0.into());
        }
    }
}

/// Appends what a digest says beside the fields: where the record begins.
pub(super) fn put_log_record(out: &mut impl Put, op: &LogOp) {
    if let LogOp::Append { record, .. } = op {
        out.number((*record).into());
    }
}

/// A position, which always has a next one.
fn take_position(from: &mut Take) -> Result<u64, CodecError> {
    Some(from.number()?).filter(|position| *position < u64::MAX).ok_or(CodecError::Field("position"))
}

/// Takes an operation; `offset` is where the content of its record begins, unless it is taken from a digest.
pub(super) fn take_log(
    tag: u8,
    from: &mut Take,
    offset: Option<u32>,
    body: impl FnOnce(&mut Take) -> Result<Place, CodecError>,
) -> Result<LogOp, CodecError> {
    Ok(match tag {
        APPEND => {
            let at = take_time(from)?;
            let places = from.list(|from| Ok((take_queue(from)?, take_position(from)?)))?;
            let body = body(from)?;
            let record = match offset {
                Some(offset) => offset.saturating_sub(HEADER as u32),
                None => from.small("record")?,
            };
            LogOp::Append { at, places, body, record }
        }
        RUN => {
            let partition = take_queue(from)?;
            let (first, count) = (from.number()?, from.number()?);
            let (begun, ended) = (take_time(from)?, take_time(from)?);
            let (start, end, bytes) = (from.small("start")?, from.small("end")?, from.number()?);
            if count == 0 || first.checked_add(count).is_none() || start > end {
                return Err(CodecError::Field("run"));
            }
            LogOp::Run { partition, run: Run { first, count, from: begun, to: ended, start, end, bytes } }
        }
        TRIM => LogOp::Trim { partition: take_queue(from)?, before: from.number()? },
        DROP => LogOp::Drop { partition: take_queue(from)? },
        _ => return Err(CodecError::Field("operation")),
    })
}
