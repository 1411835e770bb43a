//! What cannot be done is refused, never swallowed.

use std::time::Duration;

use roadbed_core::{
    Condition, Confirm, ConsumerTerms, DeliveryId, DeliveryRef, Error, ErrorKind, Hold, Limit, Manage, Mode, Outcome,
    Qos, QueueSettings, Result, Settled, Step, Transactions,
};

use crate::client::Client;
use crate::world::{World, message, named, open};

/// A message that goes nowhere is told so.
pub(super) async fn no_route_is_told(world: World) {
    let mut sender = world.client().await.sender().await;
    let confirm = sender.send(message("nobody/follows/this", "x"), Qos::AtLeastOnce).await;
    assert_eq!(condition(&confirm), Some(Condition::NoRoute), "{confirm:?}");
}

/// A queue that is full refuses, keeps what it has, and takes again when there is room.
pub(super) async fn full_queue_refuses(world: World) {
    let queue = world.queue("small", QueueSettings { messages_max: 2, ..QueueSettings::default() }).await;
    let mut sender = world.client().await.sender().await;
    for payload in ["1", "2"] {
        sender.accepted(message(queue.as_str(), payload), Qos::AtLeastOnce).await;
    }
    for _ in 0..3 {
        let confirm = sender.send(message(queue.as_str(), "3"), Qos::AtLeastOnce).await;
        assert_ne!(confirm.outcome, Outcome::Accepted, "no positive signal for what was not kept");
        assert_eq!(condition(&confirm), Some(Condition::Full), "{confirm:?}");
    }
    let mut receiving = world.peer().await.receive_queue(&queue).await;
    receiving.grant(1);
    let first = receiving.next().await;
    receiving.accept(&first).await;
    sender.accepted(message(queue.as_str(), "4"), Qos::AtLeastOnce).await;
    assert_eq!(receiving.drain().await, ["2", "4"]);
}

fn condition(confirm: &Confirm) -> Option<Condition> {
    match &confirm.outcome {
        Outcome::Rejected(reason) => Some(reason.condition),
        _ => confirm.why,
    }
}

/// A capability that is declared is there; one that is lacking is refused as not supported.
pub(super) async fn unsupported_is_an_error(world: World) {
    let (can, client) = (world.can().clone(), world.client().await);
    let queue = world.queue("node", QueueSettings::default()).await;
    let terms = ConsumerTerms::queue(queue.clone());

    judge("bind", can.bind, client.try_receive(ConsumerTerms::session()).await);
    judge("queues", can.queues, client.try_receive(terms.clone()).await);
    if can.queues {
        let leased = ConsumerTerms { hold: Hold::Lease(Duration::from_secs(5)), ..terms.clone() };
        judge("leases", can.leases, client.try_receive(leased).await);
        judge("browse", can.browse, client.try_receive(ConsumerTerms { mode: Mode::Browse, ..terms }).await);
    }
    judge("transactions", can.transactions > Transactions::None, client.transaction().await);
    judge("manage", can.manage, client.manage(Manage::Describe(queue)).await);
    judge("settle_by_id", can.settle_by_id, settle_unknown(&client).await);
    judge("wills", can.wills, with_will(&world).await);
    judge("resume", can.resume, kept(&world).await);
    more_consumers(&client, can.consumers_per_session, can.bind).await;
    weaker_assurance(&world, &client).await;
}

fn judge<T>(what: &str, can: bool, tried: Result<T>) {
    match (can, tried.map(drop)) {
        (true, Ok(())) => {}
        (true, Err(error)) => panic!("{what} is declared, but: {error}"),
        (false, Ok(())) => panic!("{what} is lacking, and nobody says so"),
        (false, Err(error)) => assert_eq!(error.kind(), ErrorKind::NotSupported, "{what} is lacking, but: {error}"),
    }
}

async fn settle_unknown(client: &Client) -> Result<()> {
    let id = DeliveryId::from_bytes(&[0xee; DeliveryId::LEN]).expect("as many bytes as an id has");
    let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    match client.settle(DeliveryRef::Id(id), step).await {
        Ok(Settled::Late) => Ok(()),
        Ok(other) => panic!("a delivery that never was is answered {other:?}"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

async fn with_will(world: &World) -> Result<Client> {
    let will =
        roadbed_core::Will { message: message("w", "w"), qos: Qos::AtMostOnce, ttl: None, delay: Duration::ZERO };
    world.try_open(roadbed_core::Open { will: Some(will), ..open("will") }).await
}

/// A name that cannot be kept is refused, or granted without being kept.
async fn kept(world: &World) -> Result<()> {
    match world.try_open(named("kept")).await {
        Ok(client) if client.opened().expiry.is_zero() => Err(Error::new(ErrorKind::NotSupported, "open")),
        other => other.map(drop),
    }
}

async fn more_consumers(client: &Client, limit: Limit, bind: bool) {
    let (Limit::AtMost(limit), true) = (limit, bind) else { return };
    let mut attached = Vec::new();
    loop {
        match client.try_receive(ConsumerTerms::session()).await {
            Ok(one) => attached.push(one),
            Err(error) => {
                let told = matches!(error.kind(), ErrorKind::NotSupported | ErrorKind::Exhausted | ErrorKind::Conflict);
                assert!(told, "one too many is refused as such: {error}");
                return;
            }
        }
        assert!(attached.len() <= limit as usize, "more consumers than the {limit} declared");
    }
}

/// Where an assurance cannot be given, less is granted, in so many words.
async fn weaker_assurance(world: &World, client: &Client) {
    let can = world.can();
    assert!(client.opened().qos_max <= can.qos_in, "no more is promised than declared");
    if can.bind && can.qos_out < Qos::ExactlyOnce && can.consumers_per_session == Limit::Unlimited {
        let mut receiving = client.receive_session().await;
        let binding = roadbed_core::Binding::new(crate::world::filter_of("t"), Qos::ExactlyOnce);
        let granted = receiving.try_bind(vec![binding]).await.expect("a link that lives can bind").remove(0);
        assert!(granted.is_err() || granted.is_ok_and(|granted| granted.qos <= can.qos_out), "less is granted");
    }
}
