//! One sender, one receiver, one assurance: every message is sent, and every arrival is checked.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use roadbed::{Address, Binding, ConsumerTerms, Filter, Hold, Message, Outcome, ProducerTerms, Qos, Receiver, Sender};
use roadbed::{Client, Detach, Error, ErrorKind, Received, Result, Settled};

/// How many messages are under way at a time.
const IN_FLIGHT: usize = 64;
/// How long the receiver waits for the next message before it counts the rest as lost.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it listens on for messages that come twice.
const ECHO: Duration = Duration::from_millis(20);

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Distinguishes this run from all others.
    pub(super) run: usize,
    pub(super) qos: Qos,
    pub(super) payloads: Arc<[Bytes]>,
}

/// When each message was sent.
type SentAt = Arc<Mutex<Vec<Option<Instant>>>>;

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
        number.parse().ok().filter(|n| *n < self.payloads.len())
    }
}

/// Sends everything from one client to the other.
pub(super) async fn run(from: &Client, to: &Client, plan: &Plan) -> Result<Tally> {
    let receiver = follow(to, plan).await?;
    let (producer, _) =
        from.session().producer(ProducerTerms { qos_max: plan.qos, ..ProducerTerms::default() }).await?;
    let sender = Sender::new(producer);
    let sent_at = SentAt::new(Mutex::new(vec![None; plan.payloads.len()]));
    let receiving = tokio::spawn(receive(receiver.clone(), plan.clone(), sent_at.clone()));
    let sent = send(&sender, plan, &sent_at).await;
    let received = receiving.await.map_err(|error| Error::new(ErrorKind::Failed, "receive").because(error))?;
    let mut tally = received?;
    tally.refused = sent?;
    sender.detach(Detach::Close).await?;
    receiver.detach(Detach::Close).await?;
    Ok(tally)
}

/// A queue where the protocol reads queues, the session itself otherwise.
async fn follow(to: &Client, plan: &Plan) -> Result<Receiver> {
    let capabilities = to.endpoint().capabilities();
    let hold = if capabilities.leases { Hold::Lease(Duration::from_secs(60)) } else { Hold::default() };
    let terms = match capabilities.queues {
        true => ConsumerTerms { hold, qos_max: plan.qos, ..ConsumerTerms::queue(plan.queue()) },
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
async fn send(sender: &Sender, plan: &Plan, sent_at: &SentAt) -> Result<usize> {
    let sends = futures::stream::iter(plan.payloads.iter().enumerate()).map(|(n, payload)| async move {
        let message = Message::new(plan.address(n), payload.clone());
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
async fn receive(receiver: Receiver, plan: Plan, sent_at: SentAt) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut times = vec![0_usize; plan.payloads.len()];
    let mut settling = FuturesUnordered::new();
    loop {
        let missing = times.iter().filter(|times| **times == 0).count();
        let patience = if missing > 0 { SILENCE } else { ECHO };
        tokio::select! {
            received = tokio::time::timeout(patience, receiver.receive()) => {
                let Some(received) = received.unwrap_or(Ok(None))? else { break };
                tally.look_at(&received, &plan, &mut times, &sent_at);
                settling.push(received.accept());
            }
            Some(settled) = settling.next() => tally.unsettled += usize::from(!matches!(settled, Ok(Settled::Applied))),
        }
    }
    while let Some(settled) = settling.next().await {
        tally.unsettled += usize::from(!matches!(settled, Ok(Settled::Applied)));
    }
    tally.lost = times.iter().filter(|times| **times == 0).count();
    tally.latencies.sort_unstable();
    Ok(tally)
}

impl Tally {
    /// Checks one arrival.
    fn look_at(&mut self, received: &Received, plan: &Plan, times: &mut [usize], sent_at: &SentAt) {
        let now = Instant::now();
        self.qos = Some(self.qos.map_or(received.qos, |qos| qos.min(received.qos)));
        let Some(n) = plan.number(received.message.address()) else {
            self.strangers += 1;
            return;
        };
        times[n] += 1;
        self.duplicated += usize::from(times[n] > 1);
        self.corrupted += usize::from(received.message.payload().to_bytes() != plan.payloads[n]);
        let sent_at = sent_at.lock().expect("no task panics with the lock")[n];
        self.latencies.extend(sent_at.map(|sent_at| now - sent_at));
    }

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
