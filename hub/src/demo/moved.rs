//! Messages of MQTT and of HTTP are moved from one queue to another in one AMQP transaction: rolled back, nothing has happened; committed,
//! all of it has. After each, the hub is ended and started again on the same journal: everything is where it was.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use roadbed::{
    Address, Client, ConsumerTerms, Detach, Error, ErrorKind, Manage, Managed, Message, Outcome, Qos, Receiver, Result,
    Sender,
};

use super::Site;
use super::report::Moved;
use crate::output::say;

/// How many messages come by each protocol.
const EACH: usize = 10;
/// How long the next message may take.
const SILENCE: Duration = Duration::from_secs(10);

/// Who sends, who moves, and who looks.
#[derive(Clone, Copy)]
pub(super) struct Parties<'a> {
    pub(super) mqtt: &'a Client,
    pub(super) amqp: &'a Client,
    pub(super) http: &'a Client,
}

/// Moves them twice, and tells what is in the queues at each step, up to the first that is not as it has to be; answers how many are not. The hub's
/// journal is in `data`.
pub(super) async fn run(mut site: Site, data: &Path) -> crate::error::Result<usize> {
    let sent = send(site.parties()).await?;
    say(Moved::head(EACH))?;
    for (step, commit, wanted) in [("rolled back", false, (sent.len(), 0)), ("committed", true, (0, sent.len()))] {
        if !move_all(site.parties(), (step, commit, wanted), sent.len()).await? {
            return Ok(1);
        }
        site.stop().await?;
        site = Site::start(data, None).await?;
        if !check("after a restart", counts(site.parties().http).await?, wanted)? {
            return Ok(1);
        }
    }
    let got = receive(site.parties().http, sent.len()).await?;
    let fine = check("read by HTTP", (0, got.intersection(&sent).count()), (0, sent.len()))?;
    site.stop().await?;
    Ok(usize::from(!fine))
}

/// Moves all `messages` in one transaction; whether everything was as it has to be.
async fn move_all(
    parties: Parties<'_>,
    (step, commit, wanted): (&str, bool, (usize, usize)),
    messages: usize,
) -> crate::error::Result<bool> {
    let orders = parties.amqp.attach(ConsumerTerms::queue(orders())).await?;
    let invoices = parties.amqp.sender().await?;
    let transaction = parties.amqp.transaction().await?;
    for _ in 0..messages {
        let order = next(&orders).await?;
        let invoice = Message::new(queue("invoices"), order.message.payload().clone());
        invoices.send_in(transaction.id(), invoice, Qos::AtLeastOnce).await?;
        order.settle_in(transaction.id(), Outcome::Accepted).await?;
    }
    let fine = check("before the end", counts(parties.http).await?, (messages, 0))?;
    match commit {
        true => transaction.commit().await?,
        false => transaction.rollback().await?,
    }
    let fine = check(step, counts(parties.http).await?, wanted)? && fine;
    orders.detach(Detach::Close).await?;
    invoices.detach(Detach::Close).await?;
    Ok(fine)
}

/// Tells what is in the two queues; answers whether that is what has to be there.
fn check(step: &str, found: (usize, usize), wanted: (usize, usize)) -> crate::error::Result<bool> {
    say(Moved { step, found, wanted })?;
    Ok(found == wanted)
}

fn queue(name: &str) -> Address {
    format!("queues/demo-{name}").parse().expect("the address is legal")
}

fn orders() -> Address {
    queue("orders")
}

/// The payloads that were sent, by both protocols in turn.
async fn send(parties: Parties<'_>) -> Result<BTreeSet<String>> {
    let (by_mqtt, by_http) = (parties.mqtt.sender().await?, parties.http.sender().await?);
    let mut sent = BTreeSet::new();
    for n in 0..EACH {
        for (sender, protocol) in [(&by_mqtt, "MQTT"), (&by_http, "HTTP")] {
            let payload = format!("order {n} by {protocol}");
            put(sender, &payload).await?;
            sent.insert(payload);
        }
    }
    Ok(sent)
}

async fn put(sender: &Sender, payload: &str) -> Result<()> {
    let message = Message::new(orders(), payload.to_owned());
    match sender.send(message, Qos::AtLeastOnce).await?.outcome {
        Outcome::Accepted => Ok(()),
        other => Err(Error::new(ErrorKind::Failed, "send").detail(other)),
    }
}

async fn next(receiver: &Receiver) -> Result<roadbed::Received> {
    let lost = |what: &str| Error::new(ErrorKind::TimedOut, "receive").detail(what);
    let received = tokio::time::timeout(SILENCE, receiver.receive()).await.map_err(|_| lost("a message is lost"))??;
    received.ok_or_else(|| lost("the link has ended"))
}

/// How many messages are in the two queues, held ones included.
async fn counts(client: &Client) -> Result<(usize, usize)> {
    Ok((count(client, orders()).await?, count(client, queue("invoices")).await?))
}

async fn count(client: &Client, queue: Address) -> Result<usize> {
    match client.session().manage(Manage::Describe(queue)).await {
        Ok(Managed::Description(node)) => Ok((node.available + node.held) as usize),
        Ok(_) => Ok(0),
        // Nothing has ever been in it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

async fn receive(client: &Client, messages: usize) -> Result<BTreeSet<String>> {
    let receiver = client.attach(ConsumerTerms::queue(queue("invoices"))).await?;
    let mut got = BTreeSet::new();
    for _ in 0..messages {
        let received = next(&receiver).await?;
        got.insert(String::from_utf8_lossy(&received.message.payload().to_bytes()).into_owned());
        received.accept().await?;
    }
    receiver.detach(Detach::Close).await?;
    Ok(got)
}
