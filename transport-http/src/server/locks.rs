//! `/v1/locks/{token}`: settling.

use bytes::Bytes;
use http::{StatusCode, request};
use http_body::Body;
use roadbed_core::{Condition, Disposition, ErrorKind, Reason, Settled, Step};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::body;
use super::connection::Connection;
use super::reply::{Failure, Reply, empty};
use super::transactions;
use crate::codec::fields::TRUE;
use crate::codec::names;
use crate::dialect::{LockVerb, condition};
use crate::machine::TokenError;

/// The body of `POST /v1/locks/{token}/reject`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectDoc {
    /// Words for a person.
    #[serde(default)]
    reason: Option<String>,
    /// The kind of fault; `refused` if there is none.
    #[serde(default)]
    condition: Option<String>,
}

/// The body of `POST /v1/locks/{token}/abandon`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AbandonDoc {
    failed: bool,
    undeliverable_here: bool,
}

impl Default for AbandonDoc {
    fn default() -> Self {
        Self { failed: true, undeliverable_here: false }
    }
}

pub(super) async fn complete(connection: &Connection, token: &str, head: &request::Parts) -> Result<Reply, Failure> {
    settle(connection, token, head, LockVerb::Complete).await
}

pub(super) async fn verb<B>(
    connection: &Connection,
    token: &str,
    verb: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let verb = match verb {
        "abandon" => {
            let doc: AbandonDoc = document(connection, body).await?.unwrap_or_default();
            LockVerb::Abandon { failed: doc.failed, undeliverable_here: doc.undeliverable_here }
        }
        "reject" => LockVerb::Reject(reason(document(connection, body).await?.unwrap_or_default())?),
        "release" => LockVerb::Release,
        "renew" => LockVerb::Renew,
        _ => {
            let detail = "A lock has POST abandon, reject, release and renew, and DELETE to complete it.";
            return Err(Failure::new(StatusCode::NOT_FOUND, "no-such-verb", "there is no such verb", detail));
        }
    };
    settle(connection, token, head, verb).await
}

/// A JSON body; `None` if it is empty.
pub(super) async fn document<T, B>(connection: &Connection, body: B) -> Result<Option<T>, Failure>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
{
    let config = &connection.shared.config;
    let bytes = body::read(body, config.json_bytes_max, config).await;
    let bytes = bytes.map_err(|error| connection.shared.body_failed(&error, config.json_bytes_max))?.to_bytes();
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(&bytes);
    parsed
        .map(Some)
        .map_err(|error| Failure::invalid(format!("The body is not the JSON document expected here: {error}.")))
}

fn reason(doc: RejectDoc) -> Result<Reason, Failure> {
    let condition = match doc.condition {
        None => Condition::Refused,
        Some(name) => condition(&name).ok_or_else(|| Failure::invalid(format!("{name:?} is no condition")))?,
    };
    Ok(doc.reason.map_or(Reason::from(condition), |text| Reason::new(condition, text)))
}

async fn settle(connection: &Connection, token: &str, head: &request::Parts, verb: LockVerb) -> Result<Reply, Failure> {
    let shared = &*connection.shared;
    let attachment = connection.attachment(head).await?;
    let id = shared.tokens.open(token, &attachment.origin.principal).map_err(|error| match error {
        TokenError::Foreign => lost(),
        TokenError::Malformed => Failure::invalid("This is no lock token: take it from ETag without its quotes."),
    })?;
    let txn = transactions::enlisted(&head.headers)?;
    let step = match (txn, verb.step()) {
        (Some(txn), Step::Outcome { outcome, .. }) => {
            let settled = head.headers.get(names::SETTLED).is_some_and(|value| *value == TRUE);
            Step::Enlist { txn, outcome, settled }
        }
        (Some(_), _) => return Err(Failure::invalid("A renewal takes no part in a transaction.")),
        (None, step) => step,
    };
    let disposition = Disposition { delivery: id.into(), cookie: Some(0), step };
    let done = attachment.session.settle(vec![disposition]).await;
    let result = done.and_then(|done| {
        let missing = || roadbed_core::Error::new(ErrorKind::Failed, "settle");
        done.into_iter().next().ok_or_else(missing)?.result
    });
    match result {
        Ok(Settled::Applied) => Ok(txn.map_or_else(|| empty(StatusCode::NO_CONTENT), transactions::provisional)),
        Ok(Settled::Repeated) => {
            let mut reply = empty(StatusCode::NO_CONTENT);
            reply.headers_mut().insert(names::REPEATED, TRUE);
            Ok(reply)
        }
        Ok(Settled::Renewed(until)) => {
            let mut reply = empty(StatusCode::NO_CONTENT);
            reply.headers_mut().insert(names::LOCK_UNTIL_MS, until.as_millis().into());
            Ok(reply)
        }
        Ok(Settled::Late) => Err(lost()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(match txn {
            Some(_) => transactions::unknown(),
            None => lost(),
        }),
        Err(error) => Err(Failure::of_error(&error, &shared.config)),
    }
}

/// 412: the condition of the request, that the lock still stands, is false (RFC 9110, section 15.5.13).
fn lost() -> Failure {
    Failure::new(
        StatusCode::PRECONDITION_FAILED,
        "lock-lost",
        "the lock is lost",
        "It has expired, was settled otherwise, or is another's. The message may be delivered again: poll the queue.",
    )
}
