//! `roadbed send`: messages to any server, and what became of them.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use roadbed::{Address, Confirm, Detach, Message, Outcome, Qos, Sender, Time, Url};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::cli;
use crate::error::{Failure, Result};
use crate::output::say;

/// How many messages wait for their outcome at a time.
const IN_FLIGHT: usize = 64;

/// Sends what the options say.
///
/// # Errors
/// If the server cannot be reached in time, or a message is refused.
pub(crate) async fn run(options: &cli::Send) -> Result {
    let url: Url = options.common.url.parse()?;
    let address = url.address()?;
    let client = within(options.timeout, roadbed::connect_by(&url, &options.common.route(&url))).await?;
    let sender = within(options.timeout, client.sender_to(address.clone(), qos(options))).await?;
    let tally = send_all(&sender, &address, options).await?;
    within(options.timeout, async {
        sender.detach(Detach::Close).await?;
        client.close().await
    })
    .await?;
    tally.report(options)
}

async fn send_all(sender: &Sender, address: &Address, options: &cli::Send) -> Result<Tally> {
    let qos = qos(options);
    let mut tally = Tally::default();
    let payloads = payloads(options).await?;
    let mut confirms = payloads
        .map_ok(|payload| {
            let message = message(address, payload, options);
            async move {
                let start = Instant::now();
                Ok((within(options.timeout, sender.send(message, qos)).await?, start.elapsed()))
            }
        })
        .try_buffered(IN_FLIGHT);
    while let Some((confirm, time)) = confirms.try_next().await? {
        tally.add(&confirm, time, options)?;
    }
    Ok(tally)
}

fn qos(options: &cli::Send) -> Qos {
    Qos::from_level(options.common.qos).expect("the command line takes 0 to 2")
}

async fn within<T>(patience: Duration, done: impl Future<Output = roadbed::Result<T>>) -> Result<T> {
    match tokio::time::timeout(patience, done).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failure::unavailable(format!("no answer within {} s", patience.as_secs_f64()))
            .help("--timeout waits longer")),
    }
}

fn message(address: &Address, payload: Bytes, options: &cli::Send) -> Message {
    let mut message = Message::builder(address.clone(), payload).retain(options.retain);
    if let Some(ttl) = options.ttl {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        message = message.expires_at(Time::ZERO + now + ttl);
    }
    if let Some(priority) = options.priority {
        message = message.priority(priority);
    }
    if let Some(content_type) = &options.content_type {
        message = message.details(|details| details.content_type = Some(content_type.as_str().into()));
    }
    for (name, value) in &options.property {
        message = message.property(name.as_str(), value.as_str());
    }
    message.build()
}

type Payloads = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes>>>>;

async fn payloads(options: &cli::Send) -> Result<Payloads> {
    if options.lines {
        return Ok(Box::pin(lines()));
    }
    let payload = match options.payload.as_deref() {
        Some("-") => {
            let mut bytes = Vec::new();
            tokio::io::stdin().read_to_end(&mut bytes).await.map_err(unreadable)?;
            bytes.into()
        }
        Some(text) => Bytes::copy_from_slice(text.as_bytes()),
        None => Bytes::new(),
    };
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    Ok(Box::pin(stream::iter(std::iter::repeat_n(payload, count).map(Ok))))
}

/// The lines of standard input, which need not be text.
fn lines() -> impl Stream<Item = Result<Bytes>> {
    stream::try_unfold(BufReader::new(tokio::io::stdin()), |mut stdin| async {
        let mut line = Vec::new();
        if stdin.read_until(b'\n', &mut line).await.map_err(unreadable)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some((Bytes::from(line), stdin)))
    })
}

#[allow(clippy::needless_pass_by_value)] // the signature that `map_err` wants
fn unreadable(error: std::io::Error) -> Failure {
    Failure::unavailable(format!("cannot read standard input: {error}"))
}

/// What became of the messages.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    refused: u64,
    time: Duration,
    last: String,
}

impl Tally {
    fn add(&mut self, confirm: &Confirm, time: Duration, options: &cli::Send) -> Result {
        self.sent += 1;
        self.time = self.time.max(time);
        let refused = confirm.outcome != Outcome::Accepted;
        self.refused += u64::from(refused);
        self.last = match confirm.why {
            Some(why) if !matches!(confirm.outcome, Outcome::Rejected(_)) => {
                format!("{} ({})", confirm.outcome, why.as_str())
            }
            _ => confirm.outcome.to_string(),
        };
        if options.common.json {
            let line = json!({
                "n": self.sent,
                "outcome": confirm.outcome.as_str(),
                "why": confirm.why.map(|why| why.as_str()),
                "text": refused.then_some(&self.last),
                "ms": time.as_secs_f64() * 1000.0,
            });
            say(line)?;
        } else if refused {
            eprintln!("message {}: {}", self.sent, self.last);
        }
        Ok(())
    }

    fn report(&self, options: &cli::Send) -> Result {
        if !options.common.json {
            let (sent, answered) = (self.sent, self.sent - self.refused);
            match (options.common.qos, sent) {
                (0, _) => say(format_args!("{sent} sent; at QoS 0 nothing is answered"))?,
                (_, 1) => say(format_args!("{}", self.last))?,
                _ => say(format_args!(
                    "{answered} of {sent} accepted; the slowest after {:.1} ms",
                    self.time.as_secs_f64() * 1e3
                ))?,
            }
        }
        match self.refused {
            0 => Ok(()),
            refused => Err(Failure::refused(format!("{refused} of {} refused", self.sent))),
        }
    }
}
