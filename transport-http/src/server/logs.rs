//! `/v1/logs`: declaring, describing, reading and trimming logs, and the checkpoints of their groups.
//!
//! Reading settles nothing: whoever reads for a group says how far it has come with `PUT /v1/logs/{name}/groups/{group}/{partition}`.

use std::future::poll_fn;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, Uri, request};
use http_body::Body;
use roadbed_core::cloudevents;
use roadbed_core::{
    Address, Checkpoint, Consumer, ConsumerTerms, Delivery, Error, ErrorKind, Grant, LogDescription, LogSettings,
    LogStart, LogTerms, Losses, Manage, Managed, Node, PartitionDescription, Qos,
};

use super::body::ResponseBody;
use super::connection::Connection;
use super::locks::document;
use super::managing::Managing;
use super::nodes;
use super::poll::{Held, fail};
use super::query::{Accepts, given_name, pairs, positive};
use super::reply::{Failure, Reply, empty, json};
use crate::codec::batch::Item;
use crate::codec::fields::digits;
use crate::codec::logs::{CheckpointDoc, LogDescriptionDoc, LogDoc, LogPage};
use crate::codec::{event, names, text};
use crate::dialect::HttpMessage;

/// Logs of an endpoint, for one principal.
struct Logs<'a>(Managing<'a>);

/// `PUT /v1/logs/{name}`: the log exists with these settings, and follows these filters if any are named.
pub(super) async fn declare<B>(
    connection: &Connection,
    name: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let doc: LogDoc = document(connection, body).await?.unwrap_or_default();
    let bindings = doc.bindings().map_err(|error| Failure::invalid(error.to_string()))?;
    let (log, logs) = (address(name, None)?, Logs::of(connection, head).await?);
    let before = logs.find(&log).await?;
    let old = before.as_ref().map_or_else(LogSettings::default, |log| log.settings);
    logs.0.manage(Manage::DeclareLog(log.clone(), doc.log.over(old))).await?;
    if let Some(bindings) = bindings {
        let before = before.as_ref().map_or(&[][..], |log| &log.bindings);
        logs.0.follow(&log, before, bindings).await?;
    }
    let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &LogDescriptionDoc::new(&logs.describe(&log).await?)))
}

/// `GET /v1/logs/{name}`.
pub(super) async fn describe(connection: &Connection, name: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (log, logs) = (address(name, None)?, Logs::of(connection, head).await?);
    Ok(json(StatusCode::OK, &LogDescriptionDoc::new(&logs.describe(&log).await?)))
}

/// `POST /v1/logs/{name}`: some filters come, others go.
pub(super) async fn follow<B>(
    connection: &Connection,
    name: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    nodes::follow(connection, address(name, None)?, Qos::ExactlyOnce, head, body).await
}

/// `DELETE /v1/logs/{name}`.
pub(super) async fn delete(connection: &Connection, name: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (log, logs) = (address(name, None)?, Logs::of(connection, head).await?);
    logs.0.removed(Manage::Delete(log)).await
}

/// `DELETE /v1/logs/{name}/{partition}?before=POSITION`; without a position, everything that is there now.
pub(super) async fn trim(
    connection: &Connection,
    name: &str,
    partition: &str,
    head: &request::Parts,
) -> Result<Reply, Failure> {
    let mut before = u64::MAX;
    for (name, value) in pairs(&head.uri) {
        match name {
            "before" => before = digits(value).ok_or_else(|| Failure::invalid("before is a position"))?,
            _ => return Err(unknown(name, "before")),
        }
    }
    let (partition, logs) = (address(name, Some(partition))?, Logs::of(connection, head).await?);
    logs.0.removed(Manage::Trim(partition, before)).await
}

/// `GET /v1/logs/{name}/{partition}?from=&max=&wait=`.
pub(super) async fn read(
    connection: &Connection,
    name: &str,
    partition: &str,
    head: &request::Parts,
) -> Result<Reply, Failure> {
    let query = Query::read(&head.uri)?;
    let (partition, logs) = (address(name, Some(partition))?, Logs::of(connection, head).await?);
    let found = logs.partition(&partition).await?;
    let start = query.start(&found);
    let mut consumer = logs.reader(&partition, start).await?;
    let max = query.max.unwrap_or(connection.shared.config.page_max).clamp(1, connection.shared.config.page_max.max(1));
    let held = query.wait.and_then(|seconds| Held::new(connection, seconds));
    let page = logs.take(&mut *consumer, max as usize, held.as_ref()).await?;
    drop(consumer);
    let next = match (page.last().and_then(place), start) {
        (Some(last), _) => last + 1,
        (None, LogStart::Position(position)) => position.clamp(found.first, found.next.max(found.first)),
        (None, _) => found.next,
    };
    let mut reply = written(connection, &page, next, Accepts::read(&head.headers));
    reply.headers_mut().insert(names::NEXT, next.into());
    if let Some(held) = held {
        reply.headers_mut().insert(names::PREFERENCE_APPLIED, held.applied());
    }
    Ok(reply)
}

/// `GET /v1/logs/{name}/groups/{group}/{partition}`.
pub(super) async fn checkpoint(
    connection: &Connection,
    place: (&str, &str, &str),
    head: &request::Parts,
) -> Result<Reply, Failure> {
    Logs::of(connection, head).await?.checkpoint(place, None, false).await
}

/// `PUT /v1/logs/{name}/groups/{group}/{partition}`: forward, or with `force` also back.
pub(super) async fn set_checkpoint<B>(
    connection: &Connection,
    place: (&str, &str, &str),
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let doc: Option<CheckpointDoc> = document(connection, body).await?;
    let doc = doc.ok_or_else(|| Failure::invalid("The body says where the group goes on: {\"next\":POSITION}."))?;
    Logs::of(connection, head).await?.checkpoint(place, Some(doc.next), doc.force).await
}

/// The log, or a partition of it.
fn address(name: &str, partition: Option<&str>) -> Result<Address, Failure> {
    let address = match partition {
        None => super::routes::address(&format!("logs/{name}"))?,
        Some(partition) => super::routes::address(&format!("logs/{name}/{partition}"))?,
    };
    match address.log_place() {
        Some((_, found)) if found.is_some() == partition.is_some() => Ok(address),
        _ => Err(Failure::invalid("The name of a log has no slash, and a partition is a number from 0.")),
    }
}

/// What a read asks for.
#[derive(Debug, Default)]
struct Query {
    from: Option<LogStart>,
    max: Option<u32>,
    wait: Option<u64>,
    group: Option<ByteString>,
}

impl Query {
    fn read(uri: &Uri) -> Result<Self, Failure> {
        let mut query = Self::default();
        for (name, value) in pairs(uri) {
            match name {
                "from" => query.from = Some(from(value)?),
                "group" => query.group = Some(group(value)?),
                "max" => query.max = Some(positive(value, "max is the number of messages of a page, 1 or more")?),
                "wait" => {
                    query.wait = Some(digits(value).ok_or_else(|| Failure::invalid("wait is a number of seconds"))?);
                }
                _ => return Err(unknown(name, "from, group, max and wait")),
            }
        }
        Ok(query)
    }

    /// Where it begins, as a position if that is known, so that what comes meanwhile is not missed.
    fn start(&self, found: &PartitionDescription) -> LogStart {
        let checkpoint = || {
            let group = self.group.as_ref()?;
            found.groups.iter().find(|(name, _)| name == group).map(|(_, position)| *position)
        };
        match self.from {
            None | Some(LogStart::Checkpoint) => LogStart::Position(checkpoint().unwrap_or(found.first)),
            Some(LogStart::Earliest) => LogStart::Position(found.first),
            Some(LogStart::Latest) => LogStart::Position(found.next),
            Some(start) => start,
        }
    }
}

fn from(value: &str) -> Result<LogStart, Failure> {
    let text = text::decode(value.as_bytes()).ok();
    let start = text.and_then(|text| text.parse().ok()).filter(|start| *start != LogStart::Checkpoint);
    start
        .ok_or_else(|| Failure::invalid("from is a position, earliest, latest, or a time such as 2026-01-31T12:00:00Z"))
}

fn group(text: &str) -> Result<ByteString, Failure> {
    given_name(text, "a group is a name of 1 to 255 bytes, percent-encoded")
}

fn unknown(name: &str, known: &str) -> Failure {
    Failure::invalid(format!("{name:?} is unknown: there is {known}"))
}

impl<'a> Logs<'a> {
    async fn of(connection: &'a Connection, head: &request::Parts) -> Result<Self, Failure> {
        Managing::of(connection, head).await.map(Self)
    }

    fn missing(&self, operation: &'static str, words: String) -> Failure {
        self.0.failed(&Error::new(ErrorKind::NotFound, operation).detail(words))
    }

    async fn find(&self, log: &Address) -> Result<Option<LogDescription>, Failure> {
        Ok(match self.0.find(log).await? {
            Some(Managed::Log(log)) => Some(*log),
            _ => None,
        })
    }

    async fn describe(&self, log: &Address) -> Result<LogDescription, Failure> {
        let missing = || self.missing("describe", format!("there is no log {log}: make it with PUT /v1/logs/NAME"));
        self.find(log).await?.ok_or_else(missing)
    }

    async fn partition(&self, partition: &Address) -> Result<PartitionDescription, Failure> {
        let mut log = self.describe(partition).await?;
        let number = partition.log_place().and_then(|(_, number)| number).map_or(usize::MAX, |number| number as usize);
        if number < log.partitions.len() {
            return Ok(log.partitions.swap_remove(number));
        }
        Err(self.missing("read", format!("there is no {partition}")))
    }

    async fn reader(&self, partition: &Address, start: LogStart) -> Result<Box<dyn Consumer>, Failure> {
        let node = Node::Log(Box::new(LogTerms::new(partition.clone(), start)));
        let terms = ConsumerTerms { node, qos_max: Qos::AtMostOnce, info: true, ..ConsumerTerms::default() };
        let attached = self.0.attachment.session.consumer(terms).await;
        attached.map(|(consumer, _)| consumer).map_err(|error| fail(self.0.connection, &self.0.attachment, &error))
    }

    /// Takes what there is, up to a page; held, waits for the first.
    async fn take(
        &self,
        consumer: &mut dyn Consumer,
        max: usize,
        held: Option<&Held>,
    ) -> Result<Vec<Delivery>, Failure> {
        let (mut page, mut bytes, bytes_max) = (Vec::new(), 0, self.0.connection.shared.config.page_bytes_max);
        while page.len() < max && bytes < bytes_max {
            let waits = held.filter(|_| page.is_empty());
            consumer.grant(Grant { credit: (max - page.len()) as u32, drain: waits.is_none(), txn: None });
            let before = page.len();
            let receive = poll_fn(|cx| consumer.poll_receive(cx, &mut page, max - before));
            let received = tokio::select! {
                biased;
                received = receive => received,
                () = self.0.connection.shared.draining.cancelled(), if waits.is_some() => Ok(0),
                () = tokio::time::sleep(waits.map_or_else(Default::default, |held| held.wait)), if waits.is_some() => Ok(0),
            };
            if received.map_err(|error| fail(self.0.connection, &self.0.attachment, &error))? == 0 {
                break;
            }
            bytes += page[before..].iter().map(|delivery| delivery.message.cost()).sum::<usize>();
        }
        let mut bytes = 0_usize;
        let fits = page.iter().take_while(|delivery| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(delivery.message.cost());
            first || bytes <= bytes_max
        });
        page.truncate(fits.count());
        Ok(page)
    }

    async fn checkpoint(
        &self,
        (name, partition, of): (&str, &str, &str),
        set: Option<u64>,
        force: bool,
    ) -> Result<Reply, Failure> {
        let asked = Checkpoint { partition: address(name, Some(partition))?, group: group(of)?, set, force };
        match self.0.manage(Manage::Checkpoint(asked)).await? {
            Managed::Checkpoint(Some(next)) => Ok(json(StatusCode::OK, &CheckpointDoc { next, force: false })),
            _ => Err(self.missing("checkpoint", "the group has no checkpoint in this partition".into())),
        }
    }
}

fn place(delivery: &Delivery) -> Option<u64> {
    Some(delivery.info.as_ref()?.log?.position)
}

fn written(connection: &Connection, page: &[Delivery], next: u64, accepts: Accepts) -> Reply {
    if page.is_empty() {
        return empty(StatusCode::NO_CONTENT);
    }
    if accepts.batch || accepts.event {
        let events: Vec<_> = page.iter().map(|found| event::write(found, None, &mut Losses::default())).collect();
        let mut reply = Response::new(ResponseBody::from(Bytes::from(format!("[{}]", events.join(",")))));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(cloudevents::BATCH));
        return reply;
    }
    let now = connection.shared.clock.now();
    let item = |found| Item::new(&HttpMessage::delivery(found, now, usize::MAX, &mut Losses::default()), None);
    json(StatusCode::OK, &LogPage { messages: page.iter().map(item).collect(), next })
}
