//! `POST /v1/messages/{address}`.

use bytes::Bytes;
use http::{StatusCode, request};
use http_body::Body;
use roadbed_core::{Condition, Key, Outgoing, Qos, Recovery};
use tokio::time::timeout;

use super::body;
use super::connection::Connection;
use super::reply::{Failure, Reply, empty};
use super::routes::address;
use super::transactions;
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
    let attachment = connection.attachments.get(shared, &head.headers, now).await?;
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

    let message = fields.message(address, payload, Some(attachment.origin.clone()), now);
    let sent = attachment.sender.submit(Outgoing { cookie: 0, message, qos, key, txn });
    let Ok(sent) = timeout(ms(shared.config.confirm_ms), sent).await else {
        shared.meters.unconfirmed.one();
        return Err(unconfirmed());
    };
    let confirm = sent.map_err(|error| {
        if error.recovery() != Recovery::Retry {
            connection.attachments.forget(&attachment);
        }
        Failure::of_error(&error, &shared.config)
    })?;
    if txn.is_some() && confirm.provisional.is_none() && confirm.why == Some(Condition::NotFound) {
        return Err(Failure::refused(StatusCode::NOT_FOUND, Condition::NotFound, transactions::UNKNOWN));
    }
    Failure::of_confirm(confirm, &shared.config)?;
    Ok(txn.map_or_else(|| empty(StatusCode::ACCEPTED), transactions::provisional))
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
