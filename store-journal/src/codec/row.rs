//! Rows, their names, and what else the broker keeps beside messages.

use core::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_broker::{LogRow, NewCopy, Prepared, PreparedPost, QueueRow, Row, RowKey, SessionRow};
use roadbed_core::{
    Binding, Condition, CopyId, DeliveryId, Filter, Gid, History, Key, LogSettings, Outcome, Overflow, QueueId,
    QueueSettings, Reason, RetainHandling, Will,
};

use super::Gather;
use super::message::{put_message, put_time, qos, qos_code, take_address, take_message, take_time};
use super::wire::{CodecError, Put, Take};

type Taken<T> = Result<T, CodecError>;

/// The name of a row as bytes: what the index knows it by.
pub(crate) fn key_bytes(key: &RowKey) -> Bytes {
    let mut out = Vec::new();
    let texts = |out: &mut Vec<u8>, tag: u8, texts: &[&ByteString]| {
        out.byte(tag);
        texts.iter().for_each(|text| out.bytes(text.as_bytes()));
    };
    match key {
        RowKey::Session(principal, name) => texts(&mut out, 1, &[principal, name]),
        RowKey::SessionKey(principal, name, key) => {
            texts(&mut out, 2, &[principal, name]);
            put_key(&mut out, key);
        }
        RowKey::Name(principal, name) => {
            texts(&mut out, 3, &[principal]);
            out.bytes(name);
        }
        RowKey::Queue(address) => {
            out.byte(4);
            out.bytes(address.as_str().as_bytes());
        }
        RowKey::Retained(address) => {
            out.byte(5);
            out.bytes(address.as_str().as_bytes());
        }
        RowKey::Coordinator => out.byte(6),
        RowKey::Decision(gid) => {
            out.byte(7);
            out.bytes(&gid.0);
        }
        RowKey::Tombstone(delivery) => {
            out.byte(8);
            out.raw(&delivery.to_bytes());
        }
        RowKey::Log(address) => {
            out.byte(9);
            out.bytes(address.as_str().as_bytes());
        }
        RowKey::Checkpoint(partition, group) => {
            out.byte(10);
            out.number(u64::from(partition.0));
            out.bytes(group.as_bytes());
        }
        RowKey::GroupEpoch(partition, group) => {
            out.byte(11);
            out.number(u64::from(partition.0));
            out.bytes(group.as_bytes());
        }
        RowKey::Will(epoch, session) => {
            out.byte(12);
            out.number(u64::from(*epoch));
            out.number(*session);
        }
        _ => out.byte(0),
    }
    out.into()
}

/// The name of a row, from its bytes.
pub(crate) fn take_row_key(from: &mut Take) -> Taken<RowKey> {
    Ok(match from.byte()? {
        0 => RowKey::Broker,
        1 => RowKey::Session(from.text()?, from.text()?),
        2 => RowKey::SessionKey(from.text()?, from.text()?, take_key(from)?),
        3 => RowKey::Name(from.text()?, from.bytes()?),
        4 => RowKey::Queue(take_address(from)?),
        5 => RowKey::Retained(take_address(from)?),
        6 => RowKey::Coordinator,
        7 => RowKey::Decision(take_gid(from)?),
        8 => {
            let delivery = DeliveryId::from_bytes(&from.raw(DeliveryId::LEN)?);
            RowKey::Tombstone(delivery.ok_or(CodecError::Field("delivery"))?)
        }
        9 => RowKey::Log(take_address(from)?),
        10 => RowKey::Checkpoint(take_queue(from)?, from.text()?),
        11 => RowKey::GroupEpoch(take_queue(from)?, from.text()?),
        12 => RowKey::Will(from.small("epoch")?, from.number()?),
        _ => return Err(CodecError::Field("row key")),
    })
}

fn put_key(out: &mut impl Put, key: &Key) {
    match key {
        Key::Number(number) => {
            out.byte(0);
            out.number(u64::from(*number));
        }
        Key::Name(name) => {
            out.byte(1);
            out.bytes(name);
        }
    }
}

fn take_key(from: &mut Take) -> Taken<Key> {
    match from.byte()? {
        0 => Ok(Key::Number(from.small("key")?)),
        1 => Ok(Key::Name(from.bytes()?)),
        _ => Err(CodecError::Field("key")),
    }
}

/// Writes the content of a row.
pub(crate) fn put_row(out: &mut Gather, row: &Row) {
    match row {
        Row::Broker { epoch, positions } => {
            out.byte(0);
            out.number(u64::from(*epoch));
            out.number(*positions);
        }
        Row::Session(row) => {
            out.byte(1);
            put_session(out, row);
        }
        Row::Key { outcome, order, until } => {
            out.byte(2);
            put_outcome(out, outcome);
            out.number(*order);
            out.option(*until, put_time);
        }
        Row::Queue(row) => {
            out.byte(3);
            out.number(u64::from(row.queue.0));
            put_settings(out, &row.settings);
            out.list(row.bindings.iter(), put_binding);
        }
        Row::Retained(message, qos) => {
            out.byte(4);
            out.byte(qos_code(*qos));
            put_message(out, message);
        }
        Row::Coordinator { epoch } => {
            out.byte(5);
            out.number(u64::from(*epoch));
        }
        Row::Decision { participants, commit } => {
            out.byte(6);
            out.list(participants.iter(), |out, name| out.bytes(name.as_bytes()));
            out.flag(*commit);
        }
        Row::Tombstone { outcome, until } => {
            out.byte(7);
            put_outcome(out, outcome);
            put_time(out, *until);
        }
        Row::Log(row) => {
            out.byte(8);
            out.list(row.partitions.iter(), |out, id| out.number(u64::from(id.0)));
            let LogSettings { partitions, retention, bytes_max } = row.settings;
            out.number(u64::from(partitions));
            out.option(retention, put_duration);
            out.number(bytes_max);
            out.list(row.bindings.iter(), put_binding);
        }
        Row::Checkpoint(position) => {
            out.byte(9);
            out.number(*position);
        }
        Row::GroupEpoch(epoch) => {
            out.byte(10);
            out.number(*epoch);
        }
        Row::Will(principal, will) => {
            out.byte(11);
            out.bytes(principal.as_bytes());
            put_will(out, will);
        }
        // Rows of a broker that is newer than this store: refused when they are submitted.
        _ => out.byte(u8::MAX),
    }
}

/// The content of a row.
pub(crate) fn take_row(from: &mut Take) -> Taken<Row> {
    Ok(match from.byte()? {
        0 => Row::Broker { epoch: from.small("epoch")?, positions: from.number()? },
        1 => Row::Session(take_session(from)?),
        2 => Row::Key { outcome: take_outcome(from)?, order: from.number()?, until: from.option(take_time)? },
        3 => {
            let queue = take_queue(from)?;
            Row::Queue(QueueRow { queue, settings: take_settings(from)?, bindings: from.list(take_binding)? })
        }
        4 => {
            let qos = qos(from.byte()?)?;
            Row::Retained(take_message(from)?, qos)
        }
        5 => Row::Coordinator { epoch: from.small("epoch")? },
        8 => {
            let ids: Vec<_> = from.list(take_queue)?;
            let (partitions, retention) = (from.small("partitions")?, from.option(take_duration)?);
            let settings = LogSettings { partitions, retention, bytes_max: from.number()? };
            Row::Log(LogRow { partitions: ids, settings, bindings: from.list(take_binding)? })
        }
        9 => Row::Checkpoint(from.number()?),
        10 => Row::GroupEpoch(from.number()?),
        11 => Row::Will(from.text()?, take_will(from)?),
        6 => Row::Decision { participants: from.list(Take::text)?, commit: from.flag()? },
        7 => Row::Tombstone { outcome: take_outcome(from)?, until: take_time(from)? },
        _ => return Err(CodecError::Field("row")),
    })
}

fn put_session(out: &mut Gather, row: &SessionRow) {
    out.number(u64::from(row.queue.0));
    out.list(row.bindings.iter(), put_binding);
    put_duration(out, row.expiry);
    out.option(row.disconnected_at, put_time);
    out.option(row.will.as_ref(), put_will);
}

fn put_will(out: &mut Gather, will: &Will) {
    out.byte(qos_code(will.qos));
    put_duration(out, will.delay);
    out.option(will.ttl, put_duration);
    put_message(out, &will.message);
}

fn take_will(from: &mut Take) -> Taken<Will> {
    let qos = qos(from.byte()?)?;
    let (delay, ttl) = (take_duration(from)?, from.option(take_duration)?);
    Ok(Will { message: take_message(from)?, qos, delay, ttl })
}

fn take_session(from: &mut Take) -> Taken<SessionRow> {
    Ok(SessionRow {
        queue: take_queue(from)?,
        bindings: from.list(take_binding)?,
        expiry: take_duration(from)?,
        disconnected_at: from.option(take_time)?,
        will: from.option(take_will)?,
    })
}

fn put_binding(out: &mut Gather, binding: &Binding) {
    out.bytes(binding.filter.as_str().as_bytes());
    out.option(binding.share.as_ref(), |out, share| out.bytes(share.as_bytes()));
    out.byte(qos_code(binding.qos_max));
    out.flag(binding.no_local);
    out.byte(match binding.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::IfNew => 1,
        RetainHandling::Never => 2,
    });
    out.flag(binding.retain_as_published);
    out.option(binding.id, |out, id| out.number(u64::from(id)));
}

fn take_binding(from: &mut Take) -> Taken<Binding> {
    Ok(Binding {
        filter: Filter::new(from.text()?).map_err(|_| CodecError::Field("filter"))?,
        share: from.option(Take::text)?,
        qos_max: qos(from.byte()?)?,
        no_local: from.flag()?,
        retain_handling: match from.byte()? {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(CodecError::Field("retain handling")),
        },
        retain_as_published: from.flag()?,
        id: from.option(|from| from.small("binding id"))?,
    })
}

fn put_settings(out: &mut Gather, settings: &QueueSettings) {
    out.number(settings.messages_max as u64);
    out.number(settings.bytes_max as u64);
    out.byte(match settings.overflow {
        Overflow::Refuse => 0,
        Overflow::DropOldest => 1,
        Overflow::PushBack => 2,
    });
    match settings.history {
        History::All => out.byte(0),
        History::Last(count) => {
            out.byte(1);
            out.number(count as u64);
        }
        History::LastByKey => out.byte(2),
    }
    out.number(u64::from(settings.deliveries_max));
    out.option(settings.ttl_max, put_duration);
    let flags = [settings.durable, settings.dead_letters, settings.priorities, settings.exclusive];
    flags.into_iter().for_each(|flag| out.flag(flag));
    out.option(settings.expires, put_duration);
}

fn take_settings(from: &mut Take) -> Taken<QueueSettings> {
    Ok(QueueSettings {
        messages_max: from.small("messages")?,
        bytes_max: from.small("bytes")?,
        overflow: match from.byte()? {
            0 => Overflow::Refuse,
            1 => Overflow::DropOldest,
            2 => Overflow::PushBack,
            _ => return Err(CodecError::Field("overflow")),
        },
        history: match from.byte()? {
            0 => History::All,
            1 => History::Last(from.small("history")?),
            2 => History::LastByKey,
            _ => return Err(CodecError::Field("history")),
        },
        deliveries_max: from.small("deliveries")?,
        ttl_max: from.option(take_duration)?,
        durable: from.flag()?,
        dead_letters: from.flag()?,
        priorities: from.flag()?,
        exclusive: from.flag()?,
        expires: from.option(take_duration)?,
    })
}

pub(crate) fn put_outcome(out: &mut impl Put, outcome: &Outcome) {
    match outcome {
        Outcome::Accepted => out.byte(0),
        Outcome::Rejected(reason) => {
            out.byte(1);
            out.bytes(reason.condition.as_str().as_bytes());
            out.bytes(reason.text.as_ref().map_or(&[][..], |text| text.as_bytes()));
        }
        Outcome::Modified { delivery_failed, undeliverable_here } => {
            out.byte(3);
            out.flag(*delivery_failed);
            out.flag(*undeliverable_here);
        }
        _ => out.byte(2),
    }
}

pub(crate) fn take_outcome(from: &mut Take) -> Taken<Outcome> {
    Ok(match from.byte()? {
        0 => Outcome::Accepted,
        1 => {
            let name = from.text()?;
            let known = Condition::ALL.iter().find(|condition| condition.as_str() == &*name);
            let condition = *known.ok_or(CodecError::Field("condition"))?;
            let text = from.text()?;
            let reason = if text.is_empty() { condition.into() } else { Reason::new(condition, String::from(&*text)) };
            Outcome::Rejected(reason)
        }
        2 => Outcome::Released,
        3 => Outcome::Modified { delivery_failed: from.flag()?, undeliverable_here: from.flag()? },
        _ => return Err(CodecError::Field("outcome")),
    })
}

pub(crate) fn put_copy_id(out: &mut impl Put, copy: CopyId) {
    out.number(u64::from(copy.queue.0));
    out.number(copy.seq);
}

pub(crate) fn take_copy_id(from: &mut Take) -> Taken<CopyId> {
    Ok(CopyId { queue: take_queue(from)?, seq: from.number()? })
}

pub(crate) fn take_queue(from: &mut Take) -> Taken<QueueId> {
    Ok(QueueId(from.small("queue")?))
}

pub(crate) fn put_new_copy(out: &mut impl Put, copy: &NewCopy) {
    put_copy_id(out, copy.copy);
    out.byte(qos_code(copy.qos) | u8::from(copy.retained) << 4 | u8::from(!copy.bindings.is_empty()) << 5);
    if !copy.bindings.is_empty() {
        out.number(copy.bindings.len() as u64);
        copy.bindings.iter().for_each(|id| out.number(u64::from(*id)));
    }
}

pub(crate) fn take_new_copy(from: &mut Take) -> Taken<NewCopy> {
    let copy = take_copy_id(from)?;
    let flags = from.byte()?;
    let bindings = match flags & 0x20 {
        0 => Vec::new(),
        _ => from.list(|from| from.small("binding id"))?,
    };
    Ok(NewCopy { copy, qos: qos(flags & 0xf)?, retained: flags & 0x10 != 0, bindings })
}

/// Writes what a prepared transaction does.
pub(crate) fn put_prepared(out: &mut Gather, prepared: &Prepared) {
    out.list(prepared.posts.iter(), |out, post| {
        out.byte(qos_code(post.qos));
        out.option(post.key.as_ref(), |out, key| out.bytes(&key_bytes(key)));
        put_message(out, &post.message);
    });
    out.list(prepared.retires.iter(), |out, (copy, outcome)| {
        put_copy_id(out, *copy);
        put_outcome(out, outcome);
    });
}

/// What a prepared transaction does.
pub(crate) fn take_prepared(from: &mut Take) -> Taken<Prepared> {
    let mut prepared = Prepared::default();
    prepared.posts = from.list(|from| {
        let qos = qos(from.byte()?)?;
        let key = from.option(|from| take_row_key(&mut Take::new(from.bytes()?)))?;
        Ok(PreparedPost { message: take_message(from)?, qos, key })
    })?;
    prepared.retires = from.list(|from| Ok((take_copy_id(from)?, take_outcome(from)?)))?;
    Ok(prepared)
}

pub(crate) fn take_gid(from: &mut Take) -> Taken<Gid> {
    from.bytes().map(Gid)
}

pub(crate) fn put_duration(out: &mut impl Put, duration: Duration) {
    out.number(duration.as_secs());
    out.number(u64::from(duration.subsec_nanos()));
}

pub(crate) fn take_duration(from: &mut Take) -> Taken<Duration> {
    let (seconds, nanos) = (from.number()?, from.small("nanoseconds")?);
    if nanos >= 1_000_000_000 {
        return Err(CodecError::Field("nanoseconds"));
    }
    Ok(Duration::new(seconds, nanos))
}
