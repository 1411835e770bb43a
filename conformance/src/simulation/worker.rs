//! Those who take from queues, alone or in transactions, and the one who watches the queues.

use std::sync::atomic::Ordering;
use std::time::Duration;

use roadbed_core::{
    Condition, ConsumerTerms, Delivery, ErrorKind, Hold, Manage, Managed, NodeDescription, Outcome, Qos, Result, Step,
    Transaction,
};

use super::actors::{Seat, applied};
use super::ledger::Claim;
use crate::client::{Client, Receiving};
use crate::world::{address, open};

/// Takes from queues, settles with every outcome, keeps some too long, is cut off, and comes back as somebody else.
pub(super) async fn work(mut seat: Seat, queues: Vec<String>) {
    let mut number = 0;
    while !seat.shared.stopping.load(Ordering::Relaxed) {
        number += 1;
        let client = seat.open(open(&seat.name)).await;
        let queue = seat.random.pick(&queues);
        let leased = seat.random.chance(40) || seat.is_carried();
        let link = Link { name: format!("{}#{number}", seat.name), queue, leased };
        let ended = link.work(&mut seat, &client).await;
        seat.note(format_args!("is cut: {}", ended.as_ref().err().map_or("by itself", |error| error.kind().as_str())));
        seat.cut(client);
    }
}

struct Link {
    name: String,
    queue: String,
    leased: bool,
}

impl Link {
    async fn work(&self, seat: &mut Seat, client: &Client) -> Result<()> {
        let hold = match self.leased {
            true => Hold::Lease(Duration::from_millis(500 + seat.random.below(2000))),
            false => Hold::Link,
        };
        let terms = ConsumerTerms { hold, ..ConsumerTerms::queue(address(&self.queue)) };
        let mut receiving = client.try_receive(terms).await?;
        let ended = self.receive(seat, &mut receiving).await;
        if !self.leased {
            seat.shared.ledger().lapsed(seat.shared.now(), &self.name);
        }
        seat.cut(receiving);
        ended
    }

    async fn receive(&self, seat: &mut Seat, receiving: &mut Receiving) -> Result<()> {
        let mut kept = Vec::new();
        let steps = 5 + seat.random.below(30);
        for _ in 0..steps {
            seat.sabotage();
            receiving.grant(1 + seat.random.below(4) as u32);
            for delivery in receiving.try_soon_all().await? {
                let serial = self.delivered(seat, &delivery);
                kept.extend(delivery.handle.is_some().then_some((serial, delivery)));
            }
            while kept.len() > seat.random.below(4) as usize {
                let (serial, delivery) = kept.swap_remove(seat.random.below(kept.len() as u64) as usize);
                let outcome = outcome(seat);
                self.settle(seat, receiving, serial, &delivery, outcome).await?;
            }
            if seat.random.chance(15) {
                seat.pause(600).await;
            }
        }
        Ok(())
    }

    fn delivered(&self, seat: &Seat, delivery: &Delivery) -> u64 {
        let now = seat.shared.now();
        seat.shared.ledger().delivered(now, &self.queue, &self.name, &self.name, delivery)
    }

    fn claim(&self, serial: u64, delivery: &Delivery) -> Claim<'_> {
        Claim { place: &self.queue, owner: &self.name, serial, attempt: delivery.attempt }
    }

    async fn settle(
        &self,
        seat: &Seat,
        receiving: &mut Receiving,
        serial: u64,
        delivery: &Delivery,
        outcome: Outcome,
    ) -> Result<()> {
        let claim = self.claim(serial, delivery);
        seat.shared.ledger().settling(seat.shared.now(), &claim, &outcome);
        let answer = receiving.step(delivery, Step::Outcome { outcome, settled: true }).await;
        let told = answer.as_ref().ok().copied();
        seat.shared.ledger().settled(seat.shared.now(), &claim, true, told);
        answer.map(drop)
    }
}

fn outcome(seat: &mut Seat) -> Outcome {
    let can = seat.endpoint.capabilities().outcomes;
    match seat.random.below(10) {
        0 if can.rejected => Outcome::rejected(Condition::Refused),
        1 if can.released => Outcome::Released,
        2 | 3 if can.modified => Outcome::FAILED,
        _ => Outcome::Accepted,
    }
}

/// Moves messages from one queue to another within transactions, and gives up some of them.
pub(super) async fn transact(mut seat: Seat, from: String, to: String) {
    let mut number = 0;
    while !seat.shared.stopping.load(Ordering::Relaxed) {
        number += 1;
        let client = seat.open(open(&seat.name)).await;
        let link = Link { name: format!("{}#{number}", seat.name), queue: from.clone(), leased: false };
        let ended = mover(&mut seat, &client, &link, &to).await;
        seat.note(format_args!("is cut: {}", ended.as_ref().err().map_or("by itself", |error| error.kind().as_str())));
        seat.cut(client);
    }
}

async fn mover(seat: &mut Seat, client: &Client, link: &Link, to: &str) -> Result<()> {
    let mut receiving = client.try_receive(ConsumerTerms::queue(address(&link.queue))).await?;
    let mut ended = Ok(true);
    for _ in 0..8 {
        ended = one_move(seat, client, link, &mut receiving, to).await;
        if !matches!(ended, Ok(true)) {
            break;
        }
        seat.pause(300).await;
    }
    seat.shared.ledger().lapsed(seat.shared.now(), &link.name);
    seat.cut(receiving);
    ended.map(drop)
}

/// Whether to go on.
async fn one_move(seat: &mut Seat, client: &Client, link: &Link, receiving: &mut Receiving, to: &str) -> Result<bool> {
    receiving.grant(1);
    let Some(delivery) = receiving.try_soon().await? else { return Ok(true) };
    let serial = link.delivered(seat, &delivery);
    if delivery.handle.is_none() {
        return Ok(true);
    }
    let transaction = client.transaction().await?;
    let txn = transaction.id();
    let mut sender = client.try_sender_to(None).await?;
    let mut sent = Vec::new();
    for _ in 0..1 + seat.random.below(3) {
        let (serial, message) = seat.write(to, Qos::AtLeastOnce, true);
        sent.push(serial);
        let cookie = sender.try_submit(message, Qos::AtLeastOnce, None, Some(txn)).await?;
        sender.try_confirm(cookie).await?;
    }
    let step = Step::Enlist { txn, outcome: Outcome::Accepted, settled: false };
    if receiving.step(&delivery, step).await.is_err() {
        seat.shared.ledger().discharged(&sent, Some(false));
        return Ok(false);
    }
    seat.pause(100).await;
    seat.shared.ledger().unseen(seat.shared.now(), &link.name, to, &sent);
    discharge(seat, link, receiving, (serial, &delivery), (transaction, sent)).await
}

async fn discharge(
    seat: &mut Seat,
    link: &Link,
    receiving: &mut Receiving,
    (serial, delivery): (u64, &Delivery),
    (transaction, sent): (Box<dyn Transaction>, Vec<u64>),
) -> Result<bool> {
    let choice = seat.random.below(10);
    seat.note(format_args!("discharges {serial} with {sent:?}: {choice}"));
    match choice {
        0 => {
            // Cut off in the middle of it all.
            seat.shared.ledger().discharged(&sent, Some(false));
            return Ok(false);
        }
        1 | 2 => {
            let rolled_back = transaction.rollback().await;
            seat.shared.ledger().discharged(&sent, rolled_back.is_ok().then_some(false));
            rolled_back?;
            link.settle(seat, receiving, serial, delivery, Outcome::Released).await?;
        }
        _ => {
            let claim = link.claim(serial, delivery);
            seat.shared.ledger().settling(seat.shared.now(), &claim, &Outcome::Accepted);
            let committed = transaction.commit().await;
            seat.shared.ledger().discharged(&sent, committed.is_ok().then_some(true));
            committed?;
            let answer = receiving.step(delivery, Step::Settle).await;
            let told = applied(&answer).then_some(roadbed_core::Settled::Applied);
            seat.shared.ledger().settled(seat.shared.now(), &claim, true, told);
            answer?;
        }
    }
    Ok(true)
}

/// Where the dead letters of a queue are.
pub(super) fn dead_letters_of(queue: &str) -> String {
    queue.replacen("queues/", "$dead/", 1)
}

/// Looks at the queues from time to time: what senders and receivers know must be there is there, and no more.
pub(super) async fn watch(mut seat: Seat, queues: Vec<String>) {
    while !seat.shared.stopping.load(Ordering::Relaxed) {
        let client = seat.open(open(&seat.name)).await;
        let ended = look(&mut seat, &client, &queues).await;
        seat.note(format_args!("is cut: {}", ended.as_ref().err().map_or("by itself", |error| error.kind().as_str())));
    }
}

async fn look(seat: &mut Seat, client: &Client, queues: &[String]) -> Result<()> {
    while !seat.shared.stopping.load(Ordering::Relaxed) {
        for queue in queues {
            let before = seat.shared.ledger().bounds(seat.shared.now(), queue);
            let there = describe(client, queue).await?;
            let dead = describe(client, &dead_letters_of(queue)).await;
            if dead.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotFound) {
                return dead.map(drop);
            }
            let dead = dead.map_or(0, |dead| copies(&dead));
            let (now, live, name) = (seat.shared.now(), copies(&there), &seat.name);
            let mut ledger = seat.shared.ledger();
            let after = ledger.bounds(now, queue);
            let (sure, may, count) = (before.0.min(after.0), before.1.max(after.1), live + dead);
            let seen = format!("{live} copies in {queue}, {} B, {dead} dead; {sure} to {may} expected", there.bytes);
            ledger.note(now, name, format_args!("sees {seen}"));
            if count < sure || count > may {
                ledger.violated(now, name, format_args!("I1: {seen}"));
            }
            if (there.bytes == 0) != (live == 0) {
                ledger.violated(now, name, format_args!("I7: {seen}"));
            }
        }
        seat.pause(200).await;
    }
    Ok(())
}

async fn describe(client: &Client, queue: &str) -> Result<NodeDescription> {
    match client.manage(Manage::Describe(address(queue))).await? {
        Managed::Description(description) => Ok(*description),
        other => panic!("{queue} is described as {other:?}"),
    }
}

fn copies(node: &NodeDescription) -> u64 {
    node.available + node.held + node.scheduled
}
