//! `POST /v1/messages/{address}`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, request};
use http_body::Body;
use roadbed_core::{Address, Condition, Key, Outgoing, Payload, Qos, Recovery, Time, TxnId, cloudevents};
use tokio::time::timeout;

use super::attach::Attachment;
use super::connection::Connection;
use super::reply::{Failure, Reply, empty};
use super::routes::address;
use super::{batch, body, transactions};
use crate::codec::event::essence;
use crate::codec::fields::{Fields, Side};
use crate::config::ms;

pub(super) async fn post<B>(
    connection: &Connection,
    path: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let (shared, address) = (&*connection.shared, address(path)?);
    let now = shared.clock.now();
    let attachment = connection.attachments.get(shared, &connection.peer, &head.headers, now).await?;
    let mut fields =
        Fields::read(&head.headers, Side::Request, now).map_err(|error| Failure::invalid(error.to_string()))?;
    let txn = transactions::enlisted(&head.headers)?;
    let (qos, key) = assurance(&mut fields, shared.endpoint.capabilities().qos_in)?;
    if txn.is_some() && qos == Qos::AtMostOnce {
        return Err(Failure::invalid("What a transaction sends is confirmed: leave out roadbed-qos: 0."));
    }
    let bytes_max = attachment.bytes_max;
    let payload = body::read(body, bytes_max, &shared.config).await;
    let payload = payload.map_err(|error| shared.body_failed(&error, bytes_max))?;
    let fields = fields.believe(&head.headers, shared.config.sidecar_bytes_max);
    let sending = Sending { connection, attachment: &attachment, address, qos, txn, now };
    match Mode::of(&head.headers) {
        Mode::Plain => sending.one(fields, payload, key).await?,
        Mode::Event => sending.event(fields, &payload.to_bytes(), key).await?,
        Mode::Batch => return batch::send(&sending, &fields, &payload.to_bytes(), key).await,
    }
    Ok(sending.taken())
}

/// What the body is: a payload, or CloudEvents in JSON (HTTP binding, sections 3.2 and 3.3).
enum Mode {
    Plain,
    Event,
    Batch,
}

impl Mode {
    fn of(headers: &HeaderMap) -> Self {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map_or("", essence);
        match media_type {
            _ if media_type.eq_ignore_ascii_case(cloudevents::JSON) => Self::Event,
            _ if media_type.eq_ignore_ascii_case(cloudevents::BATCH) => Self::Batch,
            _ => Self::Plain,
        }
    }
}

/// How all messages of one request are sent.
pub(super) struct Sending<'a> {
    pub(super) connection: &'a Connection,
    attachment: &'a Arc<Attachment>,
    address: Address,
    qos: Qos,
    txn: Option<TxnId>,
    now: Time,
}

impl Sending<'_> {
    /// Sends a message, and waits for its confirm.
    async fn one(&self, fields: Fields, payload: Payload, key: Option<Key>) -> Result<(), Failure> {
        let (shared, origin) = (&*self.connection.shared, self.attachment.origin.clone());
        let message = fields.message(self.address.clone(), payload, Some(origin), self.now);
        let outgoing = Outgoing { cookie: 0, message, qos: self.qos, key, txn: self.txn };
        let Ok(sent) = timeout(ms(shared.config.confirm_ms), self.attachment.sender.submit(outgoing)).await else {
            shared.meters.unconfirmed.one();
            return Err(unconfirmed());
        };
        let confirm = sent.map_err(|error| {
            if error.recovery() != Recovery::Retry {
                self.connection.attachments.forget(self.attachment);
            }
            Failure::of_error(&error, &shared.config)
        })?;
        if self.txn.is_some() && confirm.provisional.is_none() && confirm.why == Some(Condition::NotFound) {
            return Err(Failure::refused(StatusCode::NOT_FOUND, Condition::NotFound, transactions::UNKNOWN));
        }
        Failure::of_confirm(confirm, &shared.config)
    }

    /// Sends an event in JSON.
    pub(super) async fn event(&self, mut fields: Fields, json: &Bytes, key: Option<Key>) -> Result<(), Failure> {
        let payload = fields.take_event(json).map_err(|error| {
            Failure::refused(StatusCode::BAD_REQUEST, Condition::InvalidPayload, format!("The event is none: {error}."))
        })?;
        self.one(fields, payload, key).await
    }

    /// All were taken.
    pub(super) fn taken(&self) -> Reply {
        self.txn.map_or_else(|| empty(StatusCode::ACCEPTED), transactions::provisional)
    }
}

/// At least once, unless the request says otherwise; a key makes it exactly once.
fn assurance(fields: &mut Fields, qos_max: Qos) -> Result<(Qos, Option<Key>), Failure> {
    const NEEDS_KEY: &str =
        "roadbed-qos: 2 needs an Idempotency-Key, which stays the same when the request is sent again.";
    let key = fields.key.take().map(Key::Name);
    let qos = match (fields.qos, &key) {
        (None, None) => Qos::AtLeastOnce,
        (None | Some(Qos::AtLeastOnce | Qos::ExactlyOnce), Some(_)) => Qos::ExactlyOnce,
        (Some(Qos::AtMostOnce), Some(_)) => {
            return Err(Failure::invalid("An Idempotency-Key makes it exactly once: leave out roadbed-qos: 0."));
        }
        (Some(Qos::ExactlyOnce), None) => return Err(Failure::invalid(NEEDS_KEY)),
        (Some(qos), None) => qos,
    };
    if qos == Qos::ExactlyOnce && qos_max < Qos::ExactlyOnce {
        return Err(Failure::invalid(
            "The route cannot carry exactly once: leave out Idempotency-Key and roadbed-qos.",
        ));
    }
    Ok((qos, key))
}

fn unconfirmed() -> Failure {
    Failure::new(
        StatusCode::GATEWAY_TIMEOUT,
        "unconfirmed",
        "not confirmed in time",
        "Whether the message was taken is not known. Send it again, with the same Idempotency-Key if it had one.",
    )
}
