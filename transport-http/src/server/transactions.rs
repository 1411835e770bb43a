//! `/v1/transactions`: sends and settlements of several requests that happen together or not at all.
//!
//! A transaction belongs to its principal, not to a connection, which over HTTP says nothing about who speaks (RFC 9110,
//! section 3.3). So nobody in particular has none.

mod table;

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode, request};
use roadbed_core::TxnId;

use super::connection::Connection;
use super::reply::{Failure, Reply, empty, json};
use crate::codec::fields::TRUE;
use crate::codec::names;
use crate::codec::transactions::{TransactionDoc, read_id, write_id};
use crate::config::ms;

pub(super) use table::Table;
use table::{End, Known};

/// `POST /v1/transactions`.
pub(super) async fn declare(connection: &Connection, head: &request::Parts) -> Result<Reply, Failure> {
    let (shared, now) = (&*connection.shared, connection.shared.clock.now());
    let attachment = connection.attachments.get(shared, &connection.peer, &head.headers, now).await?;
    let principal = attachment.origin.principal.clone();
    if principal.is_empty() {
        return Err(Failure::unauthenticated());
    }
    let failed = |error| Failure::of_error(&error, &shared.config);
    let transaction = attachment.session.transaction().await.map_err(failed)?;
    let limit = ms(shared.config.transaction_ms_max);
    let expires_in = transaction.expires_at().map_or(limit, |at| at.remaining(now)).min(limit);
    let elsewhere = attachment.session.discharged(transaction.id());
    let bounds = (shared.config.transactions_max, ms(shared.config.transaction_window_ms));
    let id = shared.transactions.insert(principal, transaction, expires_in, elsewhere, bounds).map_err(failed)?;
    let mut reply = json(StatusCode::CREATED, &document(id, &Known { expires_in, end: None }));
    let location = format!("/v1/transactions/{}", write_id(id));
    reply.headers_mut().insert(LOCATION, HeaderValue::try_from(location).expect("digits are ASCII"));
    Ok(reply)
}

/// `GET /v1/transactions/{id}`.
pub(super) async fn describe(connection: &Connection, id: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let shared = &*connection.shared;
    let attachment = connection.attachment(head).await?;
    let id = known(id)?;
    let known = shared.transactions.find(id, &attachment.origin.principal).ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &document(id, &known)))
}

/// `POST /v1/transactions/{id}/commit` and `/rollback`.
pub(super) async fn discharge(
    connection: &Connection,
    id: &str,
    verb: &str,
    head: &request::Parts,
) -> Result<Reply, Failure> {
    let shared = &*connection.shared;
    let attachment = connection.attachment(head).await?;
    let commit = match verb {
        "commit" => true,
        "rollback" => false,
        _ => {
            let detail = "A transaction has POST commit and POST rollback.";
            return Err(Failure::new(StatusCode::NOT_FOUND, "no-such-verb", "there is no such verb", detail));
        }
    };
    let ended = shared.transactions.end(known(id)?, &attachment.origin.principal, commit).await;
    let (end, now) = ended.ok_or_else(unknown)?;
    match (end, commit) {
        (End::Committed, true) | (End::RolledBack | End::Failed(_), false) => Ok(done(now)),
        (End::Failed(error), true) => Err(Failure::of_error(&error, &shared.config)),
        (End::RolledBack, true) => {
            Err(conflict("rolled-back", "the transaction was rolled back", "Do the whole transaction again."))
        }
        (End::Committed, false) => {
            Err(conflict("committed", "the transaction was committed", "What it did can only be undone by hand."))
        }
    }
}

/// The transaction that a request is to be part of.
pub(super) fn enlisted(headers: &HeaderMap) -> Result<Option<TxnId>, Failure> {
    let mut named = headers.get_all(names::TRANSACTION).iter();
    let Some(value) = named.next() else { return Ok(None) };
    let id = value.to_str().ok().and_then(read_id).filter(|_| named.next().is_none());
    let detail = "roadbed-transaction is the id of one transaction: 16 hexadecimal digits.";
    id.map(Some).ok_or_else(|| Failure::invalid(detail))
}

/// 202: it happens if the transaction is committed, and not before. The answer is not withheld until then: on a connection of
/// HTTP/1.1 it would stand before the answer to the commit.
pub(super) fn provisional(id: TxnId) -> Reply {
    let mut reply = empty(StatusCode::ACCEPTED);
    let value = HeaderValue::try_from(write_id(id)).expect("digits are ASCII");
    reply.headers_mut().insert(names::TRANSACTION, value);
    reply
}

pub(super) const UNKNOWN: &str = "The transaction was never declared, is another's, has ended, or has been forgotten since. Declare one with POST \
                                  /v1/transactions.";

/// 404, for a stranger's, too: who may not use a transaction does not learn that there is one.
pub(super) fn unknown() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "no-such-transaction", "there is no such transaction", UNKNOWN)
}

fn known(id: &str) -> Result<TxnId, Failure> {
    read_id(id).ok_or_else(unknown)
}

fn document(id: TxnId, known: &Known) -> TransactionDoc {
    let state = match &known.end {
        None => "open",
        Some(End::Committed) => "committed",
        Some(End::RolledBack | End::Failed(_)) => "rolled-back",
    };
    let open = known.end.is_none();
    let timeout_ms = open.then(|| u64::try_from(known.expires_in.as_millis()).unwrap_or(u64::MAX));
    TransactionDoc { id: write_id(id), state: state.into(), timeout_ms }
}

fn done(now: bool) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    if !now {
        reply.headers_mut().insert(names::REPEATED, TRUE);
    }
    reply
}

fn conflict(kind: &'static str, title: &'static str, detail: &'static str) -> Failure {
    Failure::new(StatusCode::CONFLICT, kind, title, detail)
}
