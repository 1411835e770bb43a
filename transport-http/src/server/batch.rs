//! A batch of events (HTTP binding of CloudEvents, section 3.3).

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use http::StatusCode;
use roadbed_core::{Condition, Details, Key};
use serde::Serialize;

use super::post::Sending;
use super::reply::{Failure, Reply, json};
use crate::codec::event;
use crate::codec::fields::Fields;
use crate::problem::Problem;

/// What became of the events, in their order.
#[derive(Serialize)]
struct Results {
    results: Vec<Item>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Taken { status: u16 },
    Refused(Problem),
}

/// Sends every event of a batch, if all of them can be read; else none. It is not atomic beyond that: each event is taken or refused on its own, unless a
/// transaction holds them together.
pub(super) async fn send(
    sending: &Sending<'_>,
    fields: &Fields,
    batch: &Bytes,
    key: Option<Key>,
) -> Result<Reply, Failure> {
    let events_max = sending.connection.shared.config.batch_max;
    let events = event::split(batch, events_max).map_err(|error| unreadable(&error.to_string()))?;
    for (n, event) in events.iter().enumerate() {
        let read = event::read(event, &mut Details::default());
        read.map_err(|error| unreadable(&format!("of event {n}, {error}")))?;
    }
    let each = events.iter().enumerate();
    let results = join_all(each.map(|(n, event)| sending.event(fields.clone(), event, of_event(&key, n)))).await;
    if results.iter().all(Result::is_ok) {
        return Ok(sending.taken());
    }
    let item = |result: Result<(), Failure>| match result {
        Ok(()) => Item::Taken { status: StatusCode::ACCEPTED.as_u16() },
        Err(failure) => Item::Refused(failure.into_problem()),
    };
    Ok(json(StatusCode::MULTI_STATUS, &Results { results: results.into_iter().map(item).collect() }))
}

/// The key of one event: the batch sent again names the same.
fn of_event(key: &Option<Key>, n: usize) -> Option<Key> {
    let Some(Key::Name(name)) = key else { return None };
    let mut own = BytesMut::from(&name[..]);
    own.put_slice(format!("/{n}").as_bytes());
    Some(Key::Name(own.freeze()))
}

fn unreadable(why: &str) -> Failure {
    let detail = format!("The batch is none, and nothing of it was sent: {why}.");
    Failure::refused(StatusCode::BAD_REQUEST, Condition::InvalidPayload, detail)
}
