//! Queues: leases, dead letters, exclusion, priority, history, overflow, times, browsing, management.

mod support;

use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::Settings;
use roadbed_core::*;
use support::*;

fn leased(seconds: u64) -> ConsumerTerms {
    ConsumerTerms { hold: Hold::Lease(Duration::from_secs(seconds)), ..queue("queues/q") }
}

fn info(delivery: &Delivery) -> &DeliveryInfo {
    delivery.info.as_ref().unwrap()
}

fn declare(client: &Client, settings: QueueSettings) {
    let declared = block_on(client.session.manage(Manage::Declare("queues/q".parse().unwrap(), settings)));
    assert!(matches!(declared, Ok(Managed::Done(0))), "{declared:?}");
}

fn describe(client: &Client, name: &str) -> NodeDescription {
    match block_on(client.session.manage(Manage::Describe(name.parse().unwrap()))).unwrap() {
        Managed::Description(description) => *description,
        other => panic!("{other:?}"),
    }
}

fn send(client: &mut Client, payloads: &[&'static str]) {
    for payload in payloads {
        assert_eq!(client.send(text("queues/q", payload), ONE).unwrap().outcome, Outcome::Accepted);
    }
}

fn annotation(message: &Message, name: &str) -> String {
    message.details().annotations.first(name).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_lease_that_passes_counts_and_gives_the_message_back() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    send(&mut client, &["x"]);
    let mut consumer = client.queue(leased(10));
    let first = receive(&mut consumer);
    assert_eq!(info(&first[0]).lease_until, Some(START + Duration::from_secs(10)));
    bench.advance(9);
    assert_eq!(step(&mut consumer, &first[0], Step::Renew).unwrap(), Settled::Renewed(START + Duration::from_secs(19)));
    bench.advance(9);
    assert_eq!(bench.counters().leases_lapsed, 0);
    bench.advance(1);
    let second = receive(&mut consumer);
    assert_eq!((info(&second[0]).count, second[0].attempt), (1, 2));
    let accepted = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    let old = DeliveryRef::Id(info(&first[0]).id);
    assert_eq!(step_at(&mut consumer, old, accepted.clone()).unwrap(), Settled::Late);
    assert_eq!(step(&mut consumer, &second[0], accepted).unwrap(), Settled::Applied);
}

#[test]
fn a_lease_is_settled_by_id_from_another_session_of_its_principal() {
    let bench = Bench::new();
    let mut alice = bench.named("one", 0);
    send(&mut alice, &["x"]);
    let got = {
        let mut consumer = alice.queue(leased(10));
        receive(&mut consumer)
    };
    let id = info(&got[0]).id;
    alice.lose();
    let step = |session: &dyn Session, outcome| {
        let step = Step::Outcome { outcome, settled: true };
        let disposition = Disposition { delivery: DeliveryRef::Id(id), cookie: None, step };
        let mut dones = block_on(session.settle(vec![disposition])).unwrap();
        dones.remove(0).result.unwrap()
    };
    let stranger = bench.anonymous();
    assert_eq!(step(&*stranger.session, Outcome::Accepted), Settled::Late);
    let again = bench.named("two", 0);
    assert_eq!(step(&*again.session, Outcome::Accepted), Settled::Applied);
    assert_eq!(step(&*again.session, Outcome::Accepted), Settled::Repeated);
    assert_eq!(step(&*again.session, Outcome::Released), Settled::Late, "only the same is a repetition");
    bench.advance(301);
    assert_eq!(step(&*again.session, Outcome::Accepted), Settled::Late, "not for ever");
}

#[test]
fn what_is_delivered_too_often_becomes_a_dead_letter() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    declare(&client, QueueSettings { deliveries_max: 2, ..QueueSettings::default() });
    send(&mut client, &["poison"]);
    let mut consumer = client.queue(queue("queues/q"));
    for _ in 0..2 {
        let got = receive(&mut consumer);
        settle(&mut consumer, &got[0], Outcome::FAILED);
    }
    assert!(receive(&mut consumer).is_empty());
    let mut dead = client.queue(queue("$dead/q"));
    let letter = receive(&mut dead).remove(0);
    assert_eq!(annotation(&letter.message, "roadbed-reason"), "delivery-count-exceeded");
    assert_eq!(annotation(&letter.message, "roadbed-source"), "queues/q");
    assert_eq!(annotation(&letter.message, "roadbed-count"), "2");
    assert_eq!(annotation(&letter.message, "roadbed-time"), START.as_millis().to_string());
    settle(&mut dead, &letter, Outcome::Accepted);
}

#[test]
fn released_does_not_count_and_rejected_is_dead_at_once() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    send(&mut client, &["x"]);
    let mut consumer = client.queue(queue("queues/q"));
    for _ in 0..20 {
        let got = receive(&mut consumer);
        assert_eq!(info(&got[0]).count, 0);
        settle(&mut consumer, &got[0], Outcome::Released);
    }
    let got = receive(&mut consumer);
    let reason = Reason::new(Condition::Refused, "unreadable");
    settle(&mut consumer, &got[0], Outcome::Rejected(reason));
    let letter = receive(&mut client.queue(queue("$dead/q"))).remove(0);
    assert_eq!(annotation(&letter.message, "roadbed-reason"), "refused");
    assert_eq!(annotation(&letter.message, "roadbed-error"), "unreadable");
}

#[test]
fn undeliverable_here_excludes_the_link_and_then_is_dead() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let named = |name: &str| ConsumerTerms { name: Some(name.into()), ..queue("queues/q") };
    let (mut one, mut two) = (client.queue(named("one")), client.queue(named("two")));
    send(&mut client, &["x"]);
    let elsewhere = Outcome::Modified { delivery_failed: false, undeliverable_here: true };
    let got = receive(&mut one);
    settle(&mut one, &got[0], elsewhere.clone());
    assert!(receive(&mut one).is_empty());
    let got = receive(&mut two);
    settle(&mut two, &got[0], elsewhere);
    let letter = receive(&mut client.queue(queue("$dead/q"))).remove(0);
    assert_eq!(annotation(&letter.message, "roadbed-reason"), "undeliverable-here");
}

#[test]
fn an_excluded_link_still_hears_of_others() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let named = |name: &str| ConsumerTerms { name: Some(name.into()), ..queue("queues/q") };
    let (mut one, two) = (client.queue(named("one")), client.queue(named("two")));
    send(&mut client, &["x"]);
    let got = receive(&mut one);
    settle(&mut one, &got[0], Outcome::Modified { delivery_failed: false, undeliverable_here: true });
    let (woken, waker) = flag();
    let mut none = Vec::new();
    assert!(one.poll_receive(&mut std::task::Context::from_waker(&waker), &mut none, 9).is_pending());
    drop(two);
    send(&mut client, &["y"]);
    assert!(woken.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(payloads(&receive(&mut one)), ["y"]);
}

#[test]
fn priority_first_then_age() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    for (payload, priority) in [("low", 1), ("normal", 4), ("high", 9), ("normal 2", 4)] {
        client.send(Message::builder("queues/q".parse().unwrap(), payload).priority(priority).build(), ONE);
    }
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    assert_eq!(payloads(&got), ["high", "normal", "normal 2", "low"]);
    settle(&mut consumer, &got[2], Outcome::Released);
    settle(&mut consumer, &got[1], Outcome::Released);
    assert_eq!(payloads(&receive(&mut consumer)), ["normal", "normal 2"], "back to their places");
}

#[test]
fn history_keeps_the_last() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    declare(&client, QueueSettings { history: History::Last(2), ..QueueSettings::default() });
    send(&mut client, &["1", "2", "3"]);
    assert_eq!(payloads(&receive(&mut client.queue(queue("queues/q")))), ["2", "3"]);
    assert_eq!(bench.counters().dropped_displaced, 1);
}

#[test]
fn history_keeps_the_last_of_each_key() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    declare(&client, QueueSettings { history: History::LastByKey, ..QueueSettings::default() });
    for (group, payload) in [("a", "a1"), ("b", "b1"), ("a", "a2")] {
        let message = Message::builder("queues/q".parse().unwrap(), payload);
        client.send(message.details(|details| details.group = Some(group.into())).build(), ONE);
    }
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    assert_eq!(payloads(&got), ["b1", "a2"]);
    let newer = Message::builder("queues/q".parse().unwrap(), "a3");
    client.send(newer.details(|details| details.group = Some("a".into())).build(), ONE);
    settle(&mut consumer, &got[1], Outcome::Released);
    assert_eq!(payloads(&receive(&mut consumer)), ["a3"], "a newer one came while it was held");
}

#[test]
fn a_full_queue_refuses_or_drops_or_pushes_back() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let bounded = |overflow| QueueSettings { messages_max: 2, overflow, ..QueueSettings::default() };
    declare(&client, bounded(Overflow::Refuse));
    send(&mut client, &["1", "2"]);
    let refused = client.send(text("queues/q", "3"), ONE).unwrap();
    assert_eq!((refused.outcome, refused.why), (Outcome::rejected(Condition::Full), Some(Condition::Full)));
    declare(&client, bounded(Overflow::DropOldest));
    send(&mut client, &["4"]);
    declare(&client, bounded(Overflow::PushBack));
    let terms = ProducerTerms { to: Some("queues/q".parse().unwrap()), ..ProducerTerms::default() };
    let (mut addressed, _) = block_on(client.session.producer(terms)).unwrap();
    assert!(addressed.poll_reserve(&mut cx(), 1, 10).is_pending());
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    assert_eq!(payloads(&got), ["2", "4"]);
    settle(&mut consumer, &got[0], Outcome::Accepted);
    assert!(matches!(addressed.poll_reserve(&mut cx(), 5, 10), std::task::Poll::Ready(Ok(1))));
}

#[test]
fn a_fan_out_is_taken_by_all_or_by_none() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    declare(&client, QueueSettings { messages_max: 1, ..QueueSettings::default() });
    let bind = |name: &str| {
        let binding = Binding::new("topic".parse().unwrap(), ONE);
        block_on(client.session.manage(Manage::Bind(name.parse().unwrap(), binding))).unwrap();
    };
    bind("queues/p");
    bind("queues/q");
    assert_eq!(client.send(text("topic", "1"), ONE).unwrap().outcome, Outcome::Accepted);
    assert_eq!(client.send(text("topic", "2"), ONE).unwrap().why, Some(Condition::Full));
    assert_eq!(describe(&client, "queues/p").available, 1);
    assert_eq!(payloads(&receive(&mut client.queue(queue("queues/q")))), ["1"]);
}

#[test]
fn times_to_live_to_come_and_to_be_done_by() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.follow("replies", ONE);
    let at = |seconds| Some(START + Duration::from_secs(seconds));
    let to = || Message::builder("queues/q".parse().unwrap(), "x");
    client.send(to().expires_at(at(5)).build(), ONE);
    client.send(to().payload("later").details(|details| details.deliver_after = at(10)).build(), ONE);
    let urgent = to().payload("urgent").details(|details| {
        (details.deadline, details.reply_to) = (at(7), Some("replies".parse().unwrap()));
        details.message_id = Some("m1".into());
    });
    client.send(urgent.build(), ONE);
    bench.advance(5);
    let letter = receive(&mut client.queue(queue("$dead/q"))).remove(0);
    assert_eq!(annotation(&letter.message, "roadbed-reason"), "expired");
    assert_eq!(describe(&client, "queues/q").scheduled, 1);
    bench.advance(2);
    let feedback = client.take().remove(0);
    assert_eq!(feedback.message.details().correlation_id, Some("m1".into()));
    assert_eq!(annotation(&feedback.message, "roadbed-reason"), "deadline-missed");
    let mut consumer = client.queue(queue("queues/q"));
    assert_eq!(payloads(&receive(&mut consumer)), ["urgent"]);
    bench.advance(3);
    assert_eq!(payloads(&receive(&mut consumer)), ["later"]);
}

#[test]
fn a_topic_message_can_be_for_later() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.follow("a", ONE);
    let later = Some(START + Duration::from_secs(10));
    let message = Message::builder("a".parse().unwrap(), "x").details(|details| details.deliver_after = later);
    assert_eq!(client.send(message.build(), ONE).unwrap().outcome, Outcome::Accepted);
    assert!(client.take().is_empty());
    bench.advance(10);
    assert_eq!(payloads(&client.take()), ["x"]);
}

#[test]
fn the_longest_time_to_live_of_a_queue_holds_for_all() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    declare(
        &client,
        QueueSettings { ttl_max: Some(Duration::from_secs(5)), dead_letters: false, ..Default::default() },
    );
    send(&mut client, &["x"]);
    bench.advance(5);
    assert!(receive(&mut client.queue(queue("queues/q"))).is_empty());
    assert_eq!(bench.counters().dropped_expired, 1);
}

#[test]
fn browsing_takes_nothing() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    send(&mut client, &["1", "2"]);
    let mut browser = client.queue(ConsumerTerms { mode: Mode::Browse, ..queue("queues/q") });
    let seen = receive(&mut browser);
    assert_eq!((payloads(&seen), seen[0].handle), (vec!["1".into(), "2".into()], None));
    assert!(receive(&mut browser).is_empty());
    send(&mut client, &["3"]);
    assert_eq!(payloads(&receive(&mut browser)), ["3"]);
    assert_eq!(receive(&mut client.queue(queue("queues/q"))).len(), 3);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let bench = Bench::new();
    let client = bench.anonymous();
    let exclusive = || ConsumerTerms { exclusive: true, ..queue("queues/q") };
    let first = client.queue(exclusive());
    for terms in [exclusive(), queue("queues/q")] {
        assert_eq!(block_on(client.session.consumer(terms)).err().unwrap().kind(), ErrorKind::Conflict);
    }
    drop(first);
    client.queue(exclusive());
}

#[test]
fn managing_queues() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    send(&mut client, &["1", "2"]);
    let mut consumer = client.queue(queue("queues/q"));
    consumer.grant(Grant::credit(1));
    let held = receive(&mut consumer);
    let description = describe(&client, "queues/q");
    assert_eq!((description.available, description.held, description.consumers), (1, 1, 1));
    let purge = block_on(client.session.manage(Manage::Purge("queues/q".parse().unwrap())));
    assert!(matches!(purge, Ok(Managed::Done(1))));
    settle(&mut consumer, &held[0], Outcome::Released);
    assert_eq!(describe(&client, "queues/q").bytes, held[0].message.cost() as u64);
    let gone = block_on(client.session.manage(Manage::Delete("queues/q".parse().unwrap())));
    assert!(matches!(gone, Ok(Managed::Done(1))));
    let mut none = Vec::new();
    let polled = consumer.poll_receive(&mut cx(), &mut none, 1);
    assert!(matches!(polled, std::task::Poll::Ready(Err(error)) if error.kind() == ErrorKind::NotFound));
    let missing = block_on(client.session.manage(Manage::Describe("queues/q".parse().unwrap()))).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn a_queue_follows_filters_and_competes_like_any_other() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let mut consumer = client.queue(queue("queues/q"));
    let granted = block_on(consumer.bind(vec![Binding::new("a/+".parse().unwrap(), ONE)])).unwrap();
    assert!(!granted[0].as_ref().unwrap().replaced);
    client.send(text("a/b", "x"), TWO);
    let got = receive(&mut consumer);
    assert_eq!((payloads(&got), got[0].qos), (vec!["x".into()], ONE));
    let unbind = Unbind { filter: "a/+".parse().unwrap(), share: None };
    assert!(matches!(&block_on(consumer.unbind(vec![unbind])).unwrap()[..], [Ok(true)]));
    assert_eq!(client.send(text("a/b", "y"), ONE).unwrap().why, Some(Condition::NoRoute));
}

#[test]
fn a_consumer_of_a_topic_has_a_queue_of_its_own() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let terms = ConsumerTerms { node: Node::Address("a/b".parse().unwrap()), ..ConsumerTerms::default() };
    let mut consumer = client.queue(terms.clone());
    client.send(text("a/b", "x"), ONE);
    assert_eq!(payloads(&receive(&mut consumer)), ["x"]);
    drop(consumer);
    assert_eq!((bench.counters().queues, bench.counters().bindings), (0, 0));
    let mut settings = Settings::default();
    settings.topic_consumers = false;
    let strict = Bench::with(settings).anonymous();
    assert_eq!(block_on(strict.session.consumer(terms)).err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_dynamic_queue_lives_as_long_as_its_link() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let terms = ConsumerTerms { node: Node::Dynamic, ..ConsumerTerms::default() };
    let (mut consumer, attached) = block_on(client.session.consumer(terms)).unwrap();
    consumer.grant(Grant::credit(1));
    let address = attached.address.unwrap();
    assert!(address.queue().is_some());
    client.send(Message::new(address.clone(), "reply"), ONE);
    assert_eq!(payloads(&receive(&mut consumer)), ["reply"]);
    block_on(consumer.detach(Detach::Close)).unwrap();
    assert_eq!(bench.counters().queues, 0);
    assert_eq!(client.send(Message::new(address, "late"), ONE).unwrap().why, Some(Condition::NotFound));
    assert_eq!(bench.counters().queues, 0, "an address that was once given leaves no queue behind");
}

#[test]
fn a_queue_without_consumers_goes_in_time() {
    let bench = Bench::new();
    let client = bench.anonymous();
    declare(&client, QueueSettings { expires: Some(Duration::from_secs(5)), ..QueueSettings::default() });
    drop(client.queue(queue("queues/q")));
    bench.advance(3);
    let again = client.queue(queue("queues/q"));
    bench.advance(3);
    assert_eq!(bench.counters().queues, 1);
    drop(again);
    bench.advance(5);
    assert_eq!(bench.counters().queues, 0);
}

#[test]
fn nothing_is_made_by_itself_if_the_policy_says_so() {
    let mut settings = Settings::default();
    settings.queue_on_first_use = false;
    let bench = Bench::with(settings);
    let mut client = bench.anonymous();
    assert_eq!(client.send(text("queues/q", "x"), ONE).unwrap().why, Some(Condition::NotFound));
    declare(&client, QueueSettings::default());
    send(&mut client, &["x"]);
}

#[test]
fn a_drain_ends() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    send(&mut client, &["1"]);
    let mut consumer = client.queue(queue("queues/q"));
    consumer.grant(Grant { credit: 5, drain: true, txn: None });
    assert_eq!(receive(&mut consumer).len(), 1);
    let mut none = Vec::new();
    assert!(matches!(consumer.poll_receive(&mut cx(), &mut none, 9), std::task::Poll::Ready(Ok(0))));
    send(&mut client, &["2"]);
    assert!(receive(&mut consumer).is_empty(), "the rest of the credit has lapsed");
}

#[test]
fn bytes_charged_are_bytes_held() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    send(&mut client, &["1", "2", "3"]);
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    settle(&mut consumer, &got[0], Outcome::Accepted);
    settle(&mut consumer, &got[1], Outcome::Released);
    assert_eq!(describe(&client, "queues/q").bytes, 2 * got[0].message.cost() as u64);
    let got = receive(&mut consumer);
    settle(&mut consumer, &got[0], Outcome::Accepted);
    drop(consumer);
    bench.anonymous();
    let rest = receive(&mut client.queue(queue("queues/q")));
    assert_eq!(describe(&client, "queues/q").bytes, rest[0].message.cost() as u64);
}

#[test]
fn a_competitor_that_cannot_take_leaves_it_to_the_others() {
    let bench = Bench::new();
    let mut away = bench.named("away", 60);
    away.follow("queues/q", ONE);
    assert!(away.take().is_empty());
    let client = bench.anonymous();
    let mut blocked = client.queue(queue("queues/q"));
    let mut ready = client.queue(queue("queues/q"));
    assert!(receive(&mut blocked).is_empty() && receive(&mut ready).is_empty());
    let (woken, waker) = flag();
    let mut none = Vec::new();
    assert!(ready.poll_receive(&mut std::task::Context::from_waker(&waker), &mut none, 9).is_pending());
    away.lose();
    blocked.grant(Grant::credit(0));
    assert!(receive(&mut blocked).is_empty());
    let mut sender = bench.anonymous();
    send(&mut sender, &["x"]);
    assert!(woken.load(std::sync::atomic::Ordering::Relaxed), "the one that can take is told");
    assert_eq!(payloads(&receive(&mut ready)), ["x"]);
    send(&mut sender, &["y"]);
    drop((blocked, ready));
    let mut back = bench.named("away", 60);
    assert_eq!(payloads(&back.listen().take()).len(), 2, "and the session competes again when it is back");
}

#[test]
fn a_queue_refuses_a_binding_that_is_for_sessions() {
    let client = Bench::new().anonymous();
    declare(&client, QueueSettings::default());
    for change in
        [|binding: &mut Binding| binding.share = Some("group".into()), |binding: &mut Binding| binding.no_local = true]
    {
        let mut binding = Binding::new("orders/#".parse().unwrap(), ONE);
        change(&mut binding);
        let refused = block_on(client.session.manage(Manage::Bind("queues/q".parse().unwrap(), binding))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
}
