//! Nobody gets more than its ration, and what one has used up costs no other.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use roadbed_core::*;
use support::*;
use tower_layer::Layer;

fn endpoint(bench: &Bench, rations: Rations) -> (Arc<dyn Endpoint>, Arc<RationMeter>) {
    let meter = Arc::new(RationMeter::default());
    let layer = RationedLayer::new(rations, bench.clock.clone(), meter.clone());
    (Arc::new(layer.layer(bench.broker.clone())), meter)
}

fn open(endpoint: &Arc<dyn Endpoint>, principal: &str) -> Result<Client> {
    let origin = Arc::new(Origin { principal: String::from(principal).into(), protocol: "test" });
    block_on(endpoint.open(Open { origin, ..Open::default() })).map(Client::new)
}

#[test]
fn a_principal_has_so_many_sessions() {
    let bench = Bench::new();
    let (endpoint, meter) = endpoint(&bench, Rations { sessions_max: 2, ..Rations::default() });
    let (one, _two) = (open(&endpoint, "alice").unwrap(), open(&endpoint, "alice").unwrap());
    assert_eq!(open(&endpoint, "alice").err().unwrap().kind(), ErrorKind::Exhausted);
    assert!(open(&endpoint, "bob").is_ok());
    one.close();
    assert!(open(&endpoint, "alice").is_ok());
    assert_eq!(meter.refused(), (1, 0));
}

#[test]
fn a_principal_sends_so_many_messages_a_second_over_all_its_sessions() {
    let bench = Bench::new();
    let (endpoint, meter) = endpoint(&bench, Rations { messages_per_second: 10, burst: 20, ..Rations::default() });
    let (mut one, mut two) = (open(&endpoint, "alice").unwrap(), open(&endpoint, "alice").unwrap());
    let mut bob = open(&endpoint, "bob").unwrap();
    let refused = Outcome::rejected(Condition::Full);
    let sent = |client: &mut Client| client.send(text("a", "x"), ONE).unwrap().outcome != refused;
    assert_eq!((0..15).filter(|_| sent(&mut one)).count(), 15);
    assert_eq!((0..15).filter(|_| sent(&mut two)).count(), 5);
    assert!(sent(&mut bob));
    bench.clock.advance(Duration::from_millis(500));
    assert_eq!((0..15).filter(|_| sent(&mut one)).count(), 5);
    assert_eq!(meter.refused(), (0, 20));
    // Coming back is no way around.
    drop((one, two));
    let mut again = open(&endpoint, "alice").unwrap();
    assert!(!sent(&mut again));
}

#[tokio::test(start_paused = true)]
async fn a_producer_with_an_address_waits() {
    let bench = Bench::new();
    let (endpoint, _) = endpoint(&bench, Rations { messages_per_second: 10, burst: 1, ..Rations::default() });
    let client = open(&endpoint, "alice").unwrap();
    let terms = ProducerTerms { to: Some("queues/q".parse().unwrap()), ..ProducerTerms::default() };
    let (mut producer, _) = client.session.producer(terms).await.unwrap();
    assert!(producer.poll_reserve(&mut cx(), 1, 1).is_ready());
    producer.send(&mut vec![outgoing(text("queues/q", "x"), ONE)]);
    assert!(producer.poll_reserve(&mut cx(), 1, 1).is_pending());
    bench.clock.advance(Duration::from_millis(100));
    assert!(producer.poll_reserve(&mut cx(), 1, 1).is_ready());
}
