//! What a record does.
//!
//! Every operation is written twice: into its record with its body, and into the digest of its segment with the place of the body.
//! The digest ends the segment, so that reopening reads no bodies.

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_broker::{Facts, Holder, NewCopy, Op, Prepared, Row, StoredHold};
use roadbed_core::{CopyId, Gid, Message, Outcome, QueueId, Time};

use super::Gather;
use super::log::{APPEND, DROP, LogOp, put_log_fields, put_log_record, take_log};
use super::message::{put_message, put_time, take_time};
use super::record::HEADER;
use super::row::{
    key_bytes, put_copy_id, put_duration, put_new_copy, put_outcome, put_prepared, put_row, take_copy_id,
    take_duration, take_gid, take_new_copy, take_outcome, take_queue,
};
use super::wire::{CodecError, Put, Take};

/// Where a body lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// Before a body: its length, and a checksum of its own, so that it can be read alone.
const BODY_HEADER: usize = 8;

impl Place {
    fn header(self, crc: u32) -> [u8; BODY_HEADER] {
        (u64::from(self.len) | u64::from(crc) << 32).to_le_bytes()
    }

    /// Whether it lies between the beginning of its segment and `end`.
    fn lies_before(self, end: u64) -> bool {
        self.offset as usize >= HEADER + BODY_HEADER && u64::from(self.offset) + u64::from(self.len) <= end
    }

    /// Where its header is, and how long it is with it.
    pub(crate) const fn with_header(self) -> (u64, usize) {
        (self.offset as u64 - BODY_HEADER as u64, self.len as usize + BODY_HEADER)
    }

    /// The body, if what was read at [`with_header`](Self::with_header) is it.
    pub(crate) fn body(self, read: &Bytes) -> Option<Bytes> {
        let body = read.slice(BODY_HEADER..);
        (read[..BODY_HEADER] == self.header(crc32c::crc32c(&body))).then_some(body)
    }
}

/// One operation, without its body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    Enqueue {
        at: Time,
        facts: Facts,
        body: Place,
        copies: Vec<NewCopy>,
    },
    /// Copies that were moved here from an old segment, with all that has happened to them.
    Keep {
        at: Time,
        facts: Facts,
        body: Place,
        copies: Vec<KeptCopy>,
    },
    Hold {
        copy: CopyId,
        attempt: u32,
        slot: u16,
        holder: Option<Holder>,
    },
    Own {
        copy: CopyId,
        slot: u16,
        outcome: Outcome,
    },
    Return {
        copy: CopyId,
        count: u32,
        attempt: u32,
        excluded: Vec<ByteString>,
    },
    Retire {
        copy: CopyId,
    },
    RetireRun {
        queue: QueueId,
        first: u64,
        last: u64,
    },
    RetireQueue {
        queue: QueueId,
    },
    Put {
        key: Bytes,
        revision: u64,
        row: Place,
    },
    Delete {
        key: Bytes,
    },
    Prepare {
        gid: Gid,
        body: Place,
    },
    Resolve {
        gid: Gid,
    },
    Log(LogOp),
}

impl Entry {
    /// Whether what it names lies between the beginning of its segment and `end`.
    pub(crate) fn lies_before(&self, end: u64) -> bool {
        match self {
            Self::Enqueue { body: place, .. }
            | Self::Keep { body: place, .. }
            | Self::Prepare { body: place, .. }
            | Self::Put { row: place, .. } => place.lies_before(end),
            Self::Log(LogOp::Append { body, record, .. }) => body.lies_before(end) && *record < body.offset,
            Self::Log(LogOp::Run { run, .. }) => run.lies_before(end),
            _ => true,
        }
    }

    const fn place(&mut self) -> Option<&mut Place> {
        match self {
            Self::Enqueue { body, .. } | Self::Keep { body, .. } | Self::Prepare { body, .. } => Some(body),
            Self::Put { row, .. } => Some(row),
            Self::Log(LogOp::Append { body, .. }) => Some(body),
            _ => None,
        }
    }
}

/// A copy, and what has happened to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeptCopy {
    pub(crate) copy: NewCopy,
    pub(crate) count: u32,
    pub(crate) attempt: u32,
    pub(crate) excluded: Vec<ByteString>,
    pub(crate) held: Option<StoredHold>,
}

const ENQUEUE: u8 = 1;
const HOLD: u8 = 2;
const OWN: u8 = 3;
const RETURN: u8 = 4;
const RETIRE: u8 = 5;
const RETIRE_QUEUE: u8 = 6;
const PUT: u8 = 7;
const DELETE: u8 = 8;
const PREPARE: u8 = 9;
const RESOLVE: u8 = 10;
const KEEP: u8 = 11;
const RETIRE_RUN: u8 = 12;

/// Who holds a copy: the session whose own queue it is in, a link, or a principal by a lease.
const BY_SESSION: u8 = 0;
const BY_LINK: u8 = 1;
const BY_LEASE: u8 = 2;

/// What lies in the body of an operation.
#[derive(Debug)]
pub(crate) enum Body {
    Message(Message),
    Row(Box<Row>),
    Prepared(Box<Prepared>),
    /// As it was written before.
    Again(Bytes),
}

/// Takes an operation of the broker apart. `revision` is the one that a row gets. `None`: the broker is newer than this store.
pub(crate) fn split(op: Op, revision: impl FnOnce(&Bytes) -> u64) -> Option<(Entry, Option<Body>)> {
    let place = Place::default();
    Some(match op {
        Op::Enqueue { message, at, copies } => {
            let facts = Facts::of(&message);
            (Entry::Enqueue { at, facts, body: place, copies }, Some(Body::Message(message)))
        }
        Op::Hold { copy, attempt, slot, holder } if is_known(holder.as_ref()) => {
            (Entry::Hold { copy, attempt, slot, holder }, None)
        }
        Op::Own { copy, slot, outcome } => (Entry::Own { copy, slot, outcome }, None),
        Op::Return { copy, count, attempt, excluded } => (Entry::Return { copy, count, attempt, excluded }, None),
        Op::Retire { copy } => (Entry::Retire { copy }, None),
        Op::RetireRun { queue, first, last } => (Entry::RetireRun { queue, first, last }, None),
        Op::RetireQueue { queue } => (Entry::RetireQueue { queue }, None),
        Op::Append { message, at, partitions } => {
            // Positions are given as the unit is committed.
            let places = partitions.into_iter().map(|partition| (partition, 0)).collect();
            (Entry::Log(LogOp::Append { at, places, body: place, record: 0 }), Some(Body::Message(message)))
        }
        Op::TrimLog { partition, before } => (Entry::Log(LogOp::Trim { partition, before }), None),
        Op::DropLog { partition } => (Entry::Log(LogOp::Drop { partition }), None),
        Op::Put(key, row) if knows(&row) => {
            let key = key_bytes(&key);
            let revision = revision(&key);
            (Entry::Put { key, revision, row: place }, Some(Body::Row(Box::new(row))))
        }
        Op::Delete(key) => (Entry::Delete { key: key_bytes(&key) }, None),
        Op::Prepare(gid, prepared) => (Entry::Prepare { gid, body: place }, Some(Body::Prepared(Box::new(prepared)))),
        Op::Resolve(gid) => (Entry::Resolve { gid }, None),
        _ => return None,
    })
}

const fn is_known(holder: Option<&Holder>) -> bool {
    matches!(holder, None | Some(Holder::Link { .. } | Holder::Lease { .. }))
}

const fn knows(row: &Row) -> bool {
    matches!(
        row,
        Row::Broker { .. }
            | Row::Session(_)
            | Row::Key { .. }
            | Row::Queue(_)
            | Row::Retained(..)
            | Row::Coordinator { .. }
            | Row::Decision { .. }
            | Row::Tombstone { .. }
            | Row::Log(_)
            | Row::Checkpoint(_)
            | Row::GroupEpoch(_)
            | Row::Will(..)
    )
}

/// Appends an operation to a record. `base` is what stands in the segment before what is in `out`.
pub(crate) fn put_entry(out: &mut Gather, base: usize, entry: &mut Entry, body: Option<&Body>) {
    put_fields(out, entry);
    let (Some(place), Some(body)) = (entry.place(), body) else { return };
    let head = out.mark();
    out.put(&[0; BODY_HEADER]);
    let start = out.mark();
    let offset = (base + out.len()) as u32;
    match body {
        Body::Message(message) => put_message(out, message),
        Body::Row(row) => put_row(out, row),
        Body::Prepared(prepared) => put_prepared(out, prepared),
        Body::Again(bytes) => out.share(bytes),
    }
    *place = Place { offset, len: out.since(start) as u32 };
    let crc = out.pieces(start).fold(0, crc32c::crc32c_append);
    out.patch(head, &place.header(crc));
}

/// Appends an operation to a digest.
pub(crate) fn put_digest(out: &mut Vec<u8>, entry: &mut Entry) {
    put_fields(out, entry);
    if let Some(place) = entry.place() {
        out.number(place.offset.into());
        out.number(place.len.into());
    }
    if let Entry::Log(op) = entry {
        put_log_record(out, op);
    }
}

fn put_fields(out: &mut impl Put, entry: &Entry) {
    match entry {
        Entry::Enqueue { at, facts, copies, .. } => {
            out.byte(ENQUEUE);
            put_time(out, *at);
            put_facts(out, facts);
            out.list(copies.iter(), put_new_copy);
        }
        Entry::Keep { at, facts, copies, .. } => {
            out.byte(KEEP);
            put_time(out, *at);
            put_facts(out, facts);
            out.list(copies.iter(), put_kept);
        }
        Entry::Hold { copy, attempt, slot, holder } => {
            out.byte(HOLD);
            put_copy_id(out, *copy);
            out.number((*attempt).into());
            out.number((*slot).into());
            put_holder(out, holder.as_ref());
        }
        Entry::Own { copy, slot, outcome } => {
            out.byte(OWN);
            put_copy_id(out, *copy);
            out.number((*slot).into());
            put_outcome(out, outcome);
        }
        Entry::Return { copy, count, attempt, excluded } => {
            out.byte(RETURN);
            put_copy_id(out, *copy);
            put_history(out, *count, *attempt, excluded);
        }
        Entry::Retire { copy } => {
            out.byte(RETIRE);
            put_copy_id(out, *copy);
        }
        Entry::RetireRun { queue, first, last } => {
            out.byte(RETIRE_RUN);
            out.number(queue.0.into());
            out.number(*first);
            out.number(*last);
        }
        Entry::RetireQueue { queue } => {
            out.byte(RETIRE_QUEUE);
            out.number(queue.0.into());
        }
        Entry::Put { key, revision, .. } => {
            out.byte(PUT);
            out.bytes(key);
            out.number(*revision);
        }
        Entry::Delete { key } => {
            out.byte(DELETE);
            out.bytes(key);
        }
        Entry::Prepare { gid, .. } => {
            out.byte(PREPARE);
            out.bytes(&gid.0);
        }
        Entry::Resolve { gid } => {
            out.byte(RESOLVE);
            out.bytes(&gid.0);
        }
        Entry::Log(op) => put_log_fields(out, op),
    }
}

const EXPIRES: u8 = 1;
const DELIVER_AFTER: u8 = 2;
const DEADLINE: u8 = 4;

fn put_facts(out: &mut impl Put, facts: &Facts) {
    let Facts { cost, priority, expires_at, deliver_after, deadline } = *facts;
    let times = [(EXPIRES, expires_at), (DELIVER_AFTER, deliver_after), (DEADLINE, deadline)];
    out.number(cost.into());
    out.byte(priority);
    out.byte(times.iter().map(|(flag, time)| if time.is_some() { *flag } else { 0 }).sum());
    times.iter().filter_map(|(_, time)| *time).for_each(|time| put_time(out, time));
}

fn take_facts(from: &mut Take) -> Result<Facts, CodecError> {
    let (cost, priority, flags) = (from.small("cost")?, from.byte()?, from.byte()?);
    let time = |from: &mut Take, flag| if flags & flag == 0 { Ok(None) } else { take_time(from).map(Some) };
    let (expires_at, deliver_after) = (time(from, EXPIRES)?, time(from, DELIVER_AFTER)?);
    Ok(Facts { cost, priority, expires_at, deliver_after, deadline: time(from, DEADLINE)? })
}

fn put_kept(out: &mut impl Put, kept: &KeptCopy) {
    put_new_copy(out, &kept.copy);
    put_history(out, kept.count, kept.attempt, &kept.excluded);
    out.flag(kept.held.is_some());
    if let Some(StoredHold { slot, holder, outcome }) = &kept.held {
        out.number((*slot).into());
        put_holder(out, holder.as_ref());
        out.flag(outcome.is_some());
        if let Some(outcome) = outcome {
            put_outcome(out, outcome);
        }
    }
}

fn put_holder(out: &mut impl Put, holder: Option<&Holder>) {
    match holder {
        Some(Holder::Link { principal, session, link }) => {
            out.byte(BY_LINK);
            [principal, session, link].into_iter().for_each(|text| out.bytes(text.as_bytes()));
        }
        Some(Holder::Lease { principal, link, epoch, lease }) => {
            out.byte(BY_LEASE);
            out.bytes(principal.as_bytes());
            out.option(link.as_ref(), |out, link| out.bytes(link.as_bytes()));
            out.number((*epoch).into());
            put_duration(out, *lease);
        }
        // Those of a broker that is newer than this store: refused when they are submitted.
        _ => out.byte(BY_SESSION),
    }
}

fn take_holder(from: &mut Take) -> Result<Option<Holder>, CodecError> {
    Ok(Some(match from.byte()? {
        BY_SESSION => return Ok(None),
        BY_LINK => Holder::Link { principal: from.text()?, session: from.text()?, link: from.text()? },
        BY_LEASE => {
            let (principal, link) = (from.text()?, from.option(Take::text)?);
            Holder::Lease { principal, link, epoch: from.small("epoch")?, lease: take_duration(from)? }
        }
        _ => return Err(CodecError::Field("holder")),
    }))
}

fn put_history(out: &mut impl Put, count: u32, attempt: u32, excluded: &[ByteString]) {
    out.number(count.into());
    out.number(attempt.into());
    out.number(excluded.len() as u64);
    excluded.iter().for_each(|link| out.bytes(link.as_bytes()));
}

/// What the content of a record does; `offset` is where it begins in the segment.
pub(crate) fn record_entries(content: Bytes, offset: u32) -> impl Iterator<Item = Result<Entry, CodecError>> {
    entries(content, Some(offset))
}

/// What a digest says.
pub(crate) fn digest_entries(digest: Bytes) -> impl Iterator<Item = Result<Entry, CodecError>> {
    entries(digest, None)
}

fn entries(bytes: Bytes, offset: Option<u32>) -> impl Iterator<Item = Result<Entry, CodecError>> {
    let mut from = Take::new(bytes);
    let mut failed = false;
    core::iter::from_fn(move || {
        if failed || from.is_empty() {
            return None;
        }
        let entry = take_entry(&mut from, offset);
        failed = entry.is_err();
        Some(entry)
    })
}

fn take_entry(from: &mut Take, offset: Option<u32>) -> Result<Entry, CodecError> {
    let body = |from: &mut Take| -> Result<Place, CodecError> {
        let Some(offset) = offset else {
            return Ok(Place { offset: from.small("offset")?, len: from.small("length")? });
        };
        let header = from.raw(BODY_HEADER)?;
        let len = u32::from_le_bytes(header[..4].try_into().map_err(|_| CodecError::Truncated)?);
        let place = Place { offset: offset + from.at() as u32, len };
        from.skip(len as usize)?;
        Ok(place)
    };
    Ok(match from.byte()? {
        ENQUEUE => {
            let (at, facts, copies) = (take_time(from)?, take_facts(from)?, from.list(take_new_copy)?);
            Entry::Enqueue { at, facts, body: body(from)?, copies }
        }
        KEEP => {
            let (at, facts, copies) = (take_time(from)?, take_facts(from)?, from.list(take_kept)?);
            Entry::Keep { at, facts, body: body(from)?, copies }
        }
        HOLD => {
            let copy = take_copy_id(from)?;
            let (attempt, slot) = (from.small("attempt")?, from.small("slot")?);
            Entry::Hold { copy, attempt, slot, holder: take_holder(from)? }
        }
        OWN => {
            let copy = take_copy_id(from)?;
            Entry::Own { copy, slot: from.small("slot")?, outcome: take_outcome(from)? }
        }
        RETURN => {
            let copy = take_copy_id(from)?;
            let (count, attempt, excluded) = take_history(from)?;
            Entry::Return { copy, count, attempt, excluded }
        }
        RETIRE => Entry::Retire { copy: take_copy_id(from)? },
        RETIRE_RUN => {
            let (queue, first, last) = (take_queue(from)?, from.number()?, from.number()?);
            if first > last {
                return Err(CodecError::Field("run"));
            }
            Entry::RetireRun { queue, first, last }
        }
        RETIRE_QUEUE => Entry::RetireQueue { queue: take_queue(from)? },
        PUT => {
            let (key, revision) = (from.bytes()?, from.number()?);
            Entry::Put { key, revision, row: body(from)? }
        }
        DELETE => Entry::Delete { key: from.bytes()? },
        PREPARE => {
            let gid = take_gid(from)?;
            Entry::Prepare { gid, body: body(from)? }
        }
        RESOLVE => Entry::Resolve { gid: take_gid(from)? },
        tag @ APPEND..=DROP => Entry::Log(take_log(tag, from, offset, body)?),
        _ => return Err(CodecError::Field("operation")),
    })
}

fn take_history(from: &mut Take) -> Result<(u32, u32, Vec<ByteString>), CodecError> {
    Ok((from.small("count")?, from.small("attempt")?, from.list(Take::text)?))
}

fn take_kept(from: &mut Take) -> Result<KeptCopy, CodecError> {
    let copy = take_new_copy(from)?;
    let (count, attempt, excluded) = take_history(from)?;
    let held = from.option(|from| {
        let (slot, holder) = (from.small("slot")?, take_holder(from)?);
        Ok(StoredHold { slot, holder, outcome: from.option(take_outcome)? })
    })?;
    Ok(KeptCopy { copy, count, attempt, excluded, held })
}
