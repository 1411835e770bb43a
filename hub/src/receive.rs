//! `roadbed receive`: messages from any server, printed and settled.

use std::io::Write;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roadbed::{Client, Detach, LogStart, LogTerms, Properties, Qos, Received, Receiver, Settled, Time, Url, Value};
use serde_json::{Map, json};

use crate::cli::{self, SettleAs};
use crate::error::{Failure, Result};

/// Receives as the options say.
///
/// # Errors
/// If the server cannot be reached or refuses, or fewer messages come than were asked for.
pub(crate) async fn run(options: &cli::Receive) -> Result {
    let url: Url = options.common.url.parse()?;
    let (filter, log) = (url.filter()?, log(&url, options)?);
    let qos = Qos::from_level(options.common.qos).expect("the command line takes 0 to 2");
    let client: Client = roadbed::connect_by(&url, &options.common.route(&url)).await?;
    let receiver = match log {
        Some(log) => client.log(log, qos).await?,
        None => client.receiver(filter.as_str(), qos).await?,
    };
    let result = tokio::select! {
        result = receive(&receiver, options) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    receiver.detach(Detach::Close).await?;
    client.close().await?;
    result
}

/// How a log is to be read, if the options say that it is one.
fn log(url: &Url, options: &cli::Receive) -> Result<Option<LogTerms>> {
    let cli::Receive { from, group, epoch, .. } = options;
    if from.is_none() && group.is_none() && epoch.is_none() {
        return Ok(None);
    }
    let address = url.address().ok().filter(|address| address.log_place().is_some());
    let address = address.ok_or_else(|| {
        Failure::usage(format!(
            "--from, --group and --epoch are for logs: logs/NAME or logs/NAME/N, not `{}`",
            url.path()
        ))
    })?;
    let from = from.unwrap_or(if group.is_some() { LogStart::Checkpoint } else { LogStart::Earliest });
    Ok(Some(LogTerms { group: group.as_deref().map(Into::into), epoch: *epoch, ..LogTerms::new(address, from) }))
}

async fn receive(receiver: &Receiver, options: &cli::Receive) -> Result {
    let mut received = 0;
    while options.count.is_none_or(|count| received < count) {
        let next = tokio::time::timeout(options.timeout.unwrap_or(Duration::MAX), receiver.receive());
        let Ok(next) = next.await else { return silence(received, options) };
        let Some(message) = next? else { break };
        received += 1;
        print(&message, options)?;
        settle(message, options.settle).await?;
    }
    Ok(())
}

fn silence(received: u64, options: &cli::Receive) -> Result {
    match options.count {
        Some(count) => Err(Failure::refused(format!("{received} of {count} messages came in time"))),
        None => Ok(()),
    }
}

async fn settle(message: Received, how: SettleAs) -> Result {
    let settled = match how {
        SettleAs::Accept => message.accept().await?,
        SettleAs::Reject => message.reject("rejected by `roadbed receive`").await?,
        SettleAs::Release => message.release().await?,
        SettleAs::Abandon => message.abandon().await?,
        SettleAs::None => return Ok(()),
    };
    if settled == Settled::Late {
        tracing::warn!("the answer came too late: the message is somebody else's by now");
    }
    Ok(())
}

fn print(message: &Received, options: &cli::Receive) -> Result {
    let mut out = std::io::stdout().lock();
    let written = if options.common.json {
        writeln!(out, "{}", describe(message))
    } else {
        let address = options.verbose.then(|| format!("{} ", message.message.address()));
        out.write_all(address.unwrap_or_default().as_bytes())
            .and_then(|()| message.message.payload().segments().try_for_each(|segment| out.write_all(segment)))
            .and_then(|()| out.write_all(b"\n"))
    };
    written.and_then(|()| out.flush()).map_err(Failure::output)
}

/// All that is known of a delivery. What it does not have is left out.
fn describe(received: &Received) -> serde_json::Value {
    let (message, details) = (&received.message, received.message.details());
    let mut out = Map::new();
    let mut put = |name: &str, value: serde_json::Value| {
        if !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    };
    put("address", json!(message.address().as_str()));
    let payload = message.payload().to_bytes();
    match std::str::from_utf8(&payload) {
        Ok(text) => put("payload", json!(text)),
        Err(_) => put("payload_base64", json!(STANDARD.encode(&payload))),
    }
    put("qos", json!(received.qos.level()));
    put("retained", json!(received.retained));
    put("attempt", json!(received.attempt));
    let place = received.info.as_ref().and_then(|info| Some((info.log?, info.enqueued_at)));
    put("partition", json!(place.map(|(place, _)| place.partition)));
    put("position", json!(place.map(|(place, _)| place.position)));
    put("enqueued_ms", json!(place.map(|(_, at)| at.as_millis())));
    put("failed", json!(received.info.as_ref().map(|info| info.count)));
    put("priority", json!(message.priority()));
    put("ttl_ms", json!(message.expires_at().map(|at| at.remaining(now()).as_millis() as u64)));
    put("content_type", json!(details.content_type.as_deref()));
    put("content_encoding", json!(details.content_encoding.as_deref()));
    put("message_id", json!(details.message_id.as_ref().map(Value::to_string)));
    put("correlation_id", json!(details.correlation_id.as_ref().map(Value::to_string)));
    put("reply_to", json!(details.reply_to.as_ref().map(roadbed::Address::as_str)));
    put("subject", json!(details.subject.as_deref()));
    put("sender", json!(message.origin().map(|origin| &*origin.principal).filter(|name| !name.is_empty())));
    put("properties", pairs(&details.properties));
    put("annotations", pairs(&details.annotations));
    out.into()
}

/// Names may come twice, so that they are pairs and no object.
fn pairs(properties: &Properties) -> serde_json::Value {
    let pairs: Vec<_> = properties.iter().map(|(name, value)| json!([&**name, value.to_string()])).collect();
    if pairs.is_empty() { serde_json::Value::Null } else { pairs.into() }
}

fn now() -> Time {
    Time::ZERO + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
