//! One sender, one receiver, one assurance: every message is sent, and every arrival is checked.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::StreamExt;
use roadbed::{Address, Binding, ConsumerTerms, Filter, Hold, Message, Outcome, ProducerTerms, Qos, Receiver, Sender};
use roadbed::{Client, Detach, Result, Settled};

use super::payload;

/// How many messages are under way at a time.
const IN_FLIGHT: usize = 64;
/// How long the receiver waits for the next message before it counts the rest as lost.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it listens on for messages that come twice.
const ECHO: Duration = Duration::from_millis(20);

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Distinguishes this run from all others.
    pub(super) run: usize,
    pub(super) messages: usize,
    pub(super) qos: Qos,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) refused: usize,
    pub(super) lost: usize,
    pub(super) duplicated: usize,
    pub(super) corrupted: usize,
    pub(super) strangers: usize,
    pub(super) unsettled: usize,
    /// The assurance that the deliveries had; the lowest of all.
    pub(super) qos: Option<Qos>,
    /// From the call of send to the delivery, sorted.
    pub(super) latencies: Vec<Duration>,
}

impl Plan {
    fn address(&self, n: usize) -> Address {
        format!("demo/{}/{n}", self.run).parse().expect("the address is legal")
    }

    fn filter(&self) -> Filter {
        format!("demo/{}/+", self.run).parse().expect("the filter is legal")
    }

    fn queue(&self) -> Address {
        format!("queues/demo-{}", self.run).parse().expect("the address is legal")
    }

    /// The number of a message, by its address: an empty payload has no room for it.
    fn number(&self, address: &Address) -> Option<usize> {
        let number = address.as_str().strip_prefix("demo/")?.strip_prefix(&self.run.to_string())?.strip_prefix('/')?;
        number.parse().ok().filter(|n| *n < self.messages)
    }
}

/// Sends everything from one client to the other.
pub(super) async fn run(from: &Client, to: &Client, plan: &Plan) -> Result<Tally> {
    let receiver = follow(to, plan).await?;
    let (producer, _) =
        from.session().producer(ProducerTerms { qos_max: plan.qos, ..ProducerTerms::default() }).await?;
    let sender = Sender::new(producer);
    let sent_at = Mutex::new(vec![None; plan.messages]);
    let (sent, received) = tokio::join!(send(&sender, plan, &sent_at), receive(&receiver, plan, &sent_at));
    let mut tally = received?;
    tally.refused = sent?;
    sender.detach(Detach::Close).await?;
    receiver.detach(Detach::Close).await?;
    Ok(tally)
}

/// A queue where the protocol reads queues, the session itself otherwise.
async fn follow(to: &Client, plan: &Plan) -> Result<Receiver> {
    let terms = match to.endpoint().capabilities().queues {
        true => ConsumerTerms { hold: Hold::Lease(Duration::from_secs(60)), ..ConsumerTerms::queue(plan.queue()) },
        false => ConsumerTerms { qos_max: plan.qos, ..ConsumerTerms::session() },
    };
    let (consumer, _) = to.session().consumer(terms).await?;
    let receiver = Receiver::new(consumer, IN_FLIGHT as u32);
    for granted in receiver.bind(vec![Binding::new(plan.filter(), plan.qos)]).await? {
        granted?;
    }
    Ok(receiver)
}

/// Sends all messages, in order, some at a time; answers how many were refused.
async fn send(sender: &Sender, plan: &Plan, sent_at: &Mutex<Vec<Option<Instant>>>) -> Result<usize> {
    let sends = futures::stream::iter(0..plan.messages).map(|n| async move {
        let message = Message::new(plan.address(n), payload::of(n));
        sent_at.lock().expect("no task panics with the lock")[n] = Some(Instant::now());
        sender.send(message, plan.qos).await
    });
    let mut sends = sends.buffer_unordered(IN_FLIGHT);
    let mut refused = 0;
    while let Some(confirm) = sends.next().await {
        refused += usize::from(confirm?.outcome != Outcome::Accepted);
    }
    Ok(refused)
}

/// Receives until everything has come and nothing comes twice, or nothing comes any more.
async fn receive(receiver: &Receiver, plan: &Plan, sent_at: &Mutex<Vec<Option<Instant>>>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut times = vec![0_usize; plan.messages];
    let mut missing = plan.messages;
    loop {
        let patience = if missing > 0 { SILENCE } else { ECHO };
        let Ok(received) = tokio::time::timeout(patience, receiver.receive()).await else { break };
        let Some(received) = received? else { break };
        let now = Instant::now();
        tally.qos = Some(tally.qos.map_or(received.qos, |qos| qos.min(received.qos)));
        match plan.number(received.message.address()) {
            None => tally.strangers += 1,
            Some(n) => {
                times[n] += 1;
                missing -= usize::from(times[n] == 1);
                tally.duplicated += usize::from(times[n] > 1);
                tally.corrupted += usize::from(*received.message.payload() != payload::of(n).into());
                let sent_at = sent_at.lock().expect("no task panics with the lock")[n];
                tally.latencies.extend(sent_at.map(|sent_at| now - sent_at));
            }
        }
        if !matches!(received.accept().await, Ok(Settled::Applied)) {
            tally.unsettled += 1;
        }
    }
    tally.lost = missing;
    tally.latencies.sort_unstable();
    Ok(tally)
}

impl Tally {
    /// Whether each message arrived once, intact and settled.
    pub(super) fn is_clean(&self) -> bool {
        self.faults().next().is_none()
    }

    /// What is wrong, and how often.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let all = [
            ("refused", self.refused),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("corrupted", self.corrupted),
            ("not sent by this run", self.strangers),
            ("not settled", self.unsettled),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }

    /// The latency below which this share of the messages stayed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}
