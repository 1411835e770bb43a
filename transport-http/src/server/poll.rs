//! `GET /v1/messages/{address}`: take messages from a queue, under a lock.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, request};
use roadbed_core::{
    Address, Consumer, ConsumerTerms, Delivery, Disposition, Grant, Handle, Hold, Losses, Node, Outcome, Qos, Step,
    Time, cloudevents,
};
use tokio::sync::OwnedSemaphorePermit;

use super::attach::Attachment;
use super::body::ResponseBody;
use super::connection::Connection;
use super::query::{Accepts, PollQuery, wait_secs};
use super::reply::{Failure, Reply, empty, json};
use super::routes::address;
use crate::codec::batch::{Item, Page};
use crate::codec::{event, names};
use crate::config::ms;
use crate::dialect::HttpMessage;

/// How long an endpoint that cannot drain may take to hand over what it has.
const UNDRAINED: Duration = Duration::from_millis(100);

pub(super) async fn poll(connection: &Connection, path: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (shared, queue) = (&*connection.shared, queue(path)?);
    let query = PollQuery::read(&head.uri)?;
    let now = shared.clock.now();
    let attachment = connection.attachments.get(shared, &connection.peer, &head.headers, now).await?;
    check_interval(connection, &attachment, &queue, now)?;

    let (accepts, max) = (Accepts::read(&head.headers), query.max.unwrap_or(1).min(shared.config.page_max.max(1)));
    // A page of events is a batch, and a batch is a page.
    let (events, paged) = (accepts.event || accepts.batch, query.max.is_some() || (accepts.batch && !accepts.event));
    let held = Held::read(connection, head);
    let consumer = attachment.session.consumer(terms(queue, query, connection)).await;
    let (consumer, _) = consumer.map_err(|error| fail(connection, &attachment, &error))?;
    let mut taken = Taken { consumer: Some(consumer), handles: Vec::new(), attachment };
    let deliveries = taken.take(connection, max, held.as_ref()).await?;

    let now = shared.clock.now();
    let mut reply = match (&deliveries[..], paged) {
        ([], _) => nothing(connection, head.version),
        ([delivery], false) => single(connection, delivery, taken, events, now),
        (page, _) if events => batch(connection, page, taken),
        (page, _) => many(connection, page, taken, now),
    };
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(held) = held {
        headers.insert(names::PREFERENCE_APPLIED, held.applied());
    }
    Ok(reply)
}

/// `HEAD`: how many messages there are. Nothing is taken; who may not poll is told so.
pub(super) async fn backlog(connection: &Connection, path: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let queue = queue(path)?;
    let attachment = connection.attachment(head).await?;
    let consumer = attachment.session.consumer(terms(queue, PollQuery::read(&head.uri)?, connection)).await;
    let (consumer, _) = consumer.map_err(|error| fail(connection, &attachment, &error))?;
    let mut reply = empty(StatusCode::OK);
    reply.headers_mut().insert(names::BACKLOG, consumer.backlog().into());
    Ok(reply)
}

/// The address of a queue; anything else has no messages to take.
pub(super) fn queue(path: &str) -> Result<Address, Failure> {
    let address = address(path)?;
    if address.queue().or(address.dead_letters()).or(address.log()).is_some() {
        return Ok(address);
    }
    Err(Failure::new(
        StatusCode::CONFLICT,
        "not-a-queue",
        "a topic keeps no messages",
        format!(
            "Only queues can be polled. Make a subscription that follows this topic, PUT /v1/subscriptions/NAME with \
             {{\"filters\":[{:?}]}}, then GET /v1/messages/queues/NAME.",
            address.as_str()
        ),
    ))
}

fn check_interval(connection: &Connection, attachment: &Attachment, queue: &Address, now: Time) -> Result<(), Failure> {
    let Some(policy) = &connection.shared.policy else { return Ok(()) };
    let mut policy = policy.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    policy.poll(now, &attachment.origin.principal, queue).map_err(|wait| {
        connection.shared.meters.polls_early.one();
        let detail = "This queue was polled a short time ago. Poll again after the time in Retry-After, or not at once but with \
                      Prefer: wait=SECONDS.";
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too-early", "polled too often", detail).retry_after(wait)
    })
}

fn terms(queue: Address, query: PollQuery, connection: &Connection) -> ConsumerTerms {
    let config = &connection.shared.config;
    let lock_ms = query.lock_secs.map_or(config.lock_ms, |secs| secs.saturating_mul(1000)).min(config.lock_ms_max);
    ConsumerTerms {
        node: Node::Address(queue),
        name: query.link,
        hold: Hold::Lease(ms(lock_ms)),
        // A lock is settled once: HTTP has no second half.
        qos_max: Qos::AtLeastOnce,
        info: true,
        ..ConsumerTerms::default()
    }
}

pub(super) fn fail(connection: &Connection, attachment: &Arc<Attachment>, error: &roadbed_core::Error) -> Failure {
    use roadbed_core::ErrorKind as K;
    if matches!(error.kind(), K::Closed | K::Disconnected | K::Failed | K::Protocol) {
        connection.attachments.forget(attachment);
    }
    Failure::of_error(error, &connection.shared.config)
}

/// A long poll: how long it may be held, and its place among all that are.
pub(super) struct Held {
    pub(super) wait: Duration,
    _place: OwnedSemaphorePermit,
}

impl Held {
    fn read(connection: &Connection, head: &request::Parts) -> Option<Self> {
        Self::new(connection, wait_secs(&head.headers)?)
    }

    /// For so many seconds, if there is a place.
    pub(super) fn new(connection: &Connection, seconds: u64) -> Option<Self> {
        let shared = &connection.shared;
        let asked = Duration::from_secs(seconds);
        let wait = asked.min(ms(shared.config.long_poll_ms_max));
        match shared.polls.clone().try_acquire_owned() {
            Ok(place) => Some(Self { wait, _place: place }),
            Err(_) => {
                shared.meters.polls_unheld.one();
                None
            }
        }
    }

    pub(super) fn applied(&self) -> HeaderValue {
        HeaderValue::try_from(format!("wait={}", self.wait.as_secs())).expect("digits are ASCII")
    }
}

/// Deliveries on their way into a response. Dropped before the response was written, they go back to their queue as if
/// nothing had been tried.
pub(super) struct Taken {
    consumer: Option<Box<dyn Consumer>>,
    handles: Vec<Handle>,
    attachment: Arc<Attachment>,
}

impl Taken {
    /// The response is being written: from here the locks stand.
    pub(super) fn written(mut self) {
        self.handles.clear();
    }

    /// Takes what there is, or, held, waits for the first.
    async fn take(&mut self, connection: &Connection, max: u32, held: Option<&Held>) -> Result<Vec<Delivery>, Failure> {
        let mut page = Vec::new();
        let Some(consumer) = &mut self.consumer else { return Ok(page) };
        let drain = held.is_none() && connection.shared.endpoint.capabilities().drain;
        consumer.grant(Grant { credit: max, drain, txn: None });
        let wait = held.map_or(UNDRAINED, |held| held.wait);
        let received = {
            let receive = poll_fn(|cx| consumer.poll_receive(cx, &mut page, max as usize));
            tokio::select! {
                biased;
                received = receive => received.map(drop),
                () = connection.shared.draining.cancelled(), if held.is_some() => Ok(()),
                () = tokio::time::sleep(wait), if !drain => Ok(()),
            }
        };
        self.handles.extend(page.iter().filter_map(|delivery| delivery.handle));
        received.map_err(|error| fail(connection, &self.attachment, &error))?;
        self.shorten(&mut page, connection.shared.config.page_bytes_max);
        Ok(page)
    }

    /// Releases what is too much for one page; at most once cannot be given back, and stays.
    fn shorten(&mut self, page: &mut Vec<Delivery>, bytes_max: usize) {
        let mut bytes = 0_usize;
        let mut fits = |delivery: &Delivery| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(delivery.message.cost());
            first || bytes <= bytes_max
        };
        let keep: Vec<bool> = page.iter().map(|delivery| fits(delivery) || delivery.handle.is_none()).collect();
        let mut kept = keep.iter();
        let excess = page.extract_if(.., |_| !kept.next().is_some_and(|kept| *kept));
        let excess: Vec<Handle> = excess.filter_map(|delivery| delivery.handle).collect();
        self.handles.retain(|handle| !excess.contains(handle));
        self.release(excess);
    }

    fn release(&mut self, handles: Vec<Handle>) {
        let step = Step::Outcome { outcome: Outcome::Released, settled: true };
        let release = |handle: Handle| Disposition { delivery: handle.into(), cookie: None, step: step.clone() };
        let mut batch: Vec<_> = handles.into_iter().map(release).collect();
        if let Some(consumer) = self.consumer.as_mut().filter(|_| !batch.is_empty()) {
            consumer.settle(&mut batch);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let handles = std::mem::take(&mut self.handles);
        self.release(handles);
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").field("handles", &self.handles).finish_non_exhaustive()
    }
}

fn nothing(connection: &Connection, version: Version) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    if connection.shared.draining.is_cancelled() && version < Version::HTTP_2 {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn single(connection: &Connection, delivery: &Delivery, taken: Taken, event: bool, now: Time) -> Reply {
    let mut losses = Losses::default();
    let message = HttpMessage::write_beside(delivery, now, connection.shared.config.sidecar_bytes_max, &mut losses);
    let token = token(connection, delivery, &taken);
    let backlog = taken.consumer.as_ref().map_or(0, |consumer| consumer.backlog());
    let mut headers = message.headers;
    let body = match event {
        false => ResponseBody::payload(&message.payload),
        true => {
            // What the event says is not said twice, and what no event can say is in the headers.
            structured(&mut headers);
            ResponseBody::from(Bytes::from(event::write(delivery, None, &mut Losses::default())))
        }
    };
    let mut reply = Response::new(body.taken(taken));
    headers.insert(names::BACKLOG, backlog.into());
    if let Some(token) = token {
        let etag = HeaderValue::try_from(format!("\"{token}\"")).expect("base64url is ASCII");
        headers.insert(ETAG, etag);
    }
    for (loss, _) in losses.iter() {
        // Named, so that it can be had: a page has no limits of headers.
        headers.append(names::LOST, HeaderValue::from_static(loss.what));
    }
    *reply.headers_mut() = headers;
    reply
}

/// The headers of a message as those of an event in JSON.
fn structured(headers: &mut HeaderMap) {
    let cloud = headers.keys().filter(|name| name.as_str().starts_with(names::CLOUD)).cloned().collect::<Vec<_>>();
    cloud.iter().for_each(|name| drop(headers.remove(name)));
    headers.remove(CONTENT_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(cloudevents::JSON));
}

/// A page as a batch of events; the lock of each is its attribute `roadbedlock`.
fn batch(connection: &Connection, page: &[Delivery], taken: Taken) -> Reply {
    let write = |delivery: &Delivery| {
        let token = token(connection, delivery, &taken);
        event::write(delivery, token.as_deref(), &mut Losses::default())
    };
    let events: Vec<_> = page.iter().map(write).collect();
    let body = Bytes::from(format!("[{}]", events.join(",")));
    let mut reply = Response::new(ResponseBody::from(body).taken(taken));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(cloudevents::BATCH));
    reply
}

fn many(connection: &Connection, page: &[Delivery], taken: Taken, now: Time) -> Reply {
    let item = |delivery: &Delivery| {
        let message = HttpMessage::delivery(delivery, now, usize::MAX, &mut Losses::default());
        Item::new(&message, token(connection, delivery, &taken))
    };
    let page = Page { messages: page.iter().map(item).collect() };
    json(StatusCode::OK, &page).map(|body| body.taken(taken))
}

fn token(connection: &Connection, delivery: &Delivery, taken: &Taken) -> Option<String> {
    delivery.handle?;
    let id = delivery.info.as_ref()?.id;
    Some(connection.shared.tokens.sign(id, &taken.attachment.origin.principal))
}
