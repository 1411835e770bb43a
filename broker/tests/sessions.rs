//! Sessions: kept, resumed, taken over, lost; wills; exactly once; shared bindings.

mod support;

use std::time::Duration;

use futures::executor::block_on;
use roadbed_core::*;
use support::*;

fn keyed(message: Message, key: u32, cookie: u64) -> Outgoing {
    Outgoing { cookie, message, qos: TWO, key: Some(Key::Number(key)), txn: None }
}

#[test]
fn a_kept_session_gets_what_came_meanwhile() {
    let bench = Bench::new();
    let mut device = bench.named("device", 60);
    device.follow("a", ONE);
    device.lose();
    let mut sender = bench.anonymous();
    sender.send(text("a", "kept"), ONE);
    sender.send(text("a", "not kept"), ZERO);
    let mut device = bench.named("device", 60);
    assert!(device.session.opened().resumed);
    device.listen();
    assert_eq!(device.attached.bindings.len(), 1);
    assert_eq!(payloads(&device.take()), ["kept"]);
    assert_eq!(bench.counters().dropped_offline, 1);
}

#[test]
fn a_session_expires() {
    let bench = Bench::new();
    let mut device = bench.named("device", 60);
    device.follow("a", ONE);
    device.lose();
    bench.advance(59);
    assert_eq!(bench.counters().sessions, 1);
    bench.advance(1);
    let counters = bench.counters();
    assert_eq!((counters.sessions, counters.sessions_expired, counters.bindings), (0, 1, 0));
    assert!(!bench.named("device", 60).session.opened().resumed);
}

#[test]
fn unsettled_deliveries_come_again_in_order_with_their_slots() {
    let bench = Bench::new();
    let mut device = bench.named("device", 60);
    device.follow("a", TWO);
    for payload in ["1", "2", "3"] {
        device.send(text("a", payload), TWO);
    }
    let first = device.take();
    let consumer = device.consumer.as_mut().unwrap();
    let decided = Step::Outcome { outcome: Outcome::Accepted, settled: false };
    assert_eq!(step(consumer, &first[1], decided).unwrap(), Settled::Applied);
    device.lose();
    let mut device = bench.named("device", 60);
    device.listen();
    let unsettled = std::mem::take(&mut device.attached.unsettled);
    let handles: Vec<_> = unsettled.iter().map(|unsettled| unsettled.handle).collect();
    assert_eq!(handles, first.iter().filter_map(|delivery| delivery.handle).collect::<Vec<_>>());
    assert_eq!(unsettled[0].state, DeliveryState::InFlight);
    assert_eq!(unsettled[0].delivery.as_ref().map(|delivery| delivery.attempt), Some(2));
    assert_eq!(unsettled[1].state, DeliveryState::Decided(Outcome::Accepted));
    assert!(unsettled[1].delivery.is_none());
    assert!(device.take().is_empty(), "they are not delivered a second time by themselves");
    let consumer = device.consumer.as_mut().unwrap();
    assert_eq!(step_at(consumer, unsettled[1].handle.into(), Step::Settle).unwrap(), Settled::Applied);
}

#[test]
fn who_is_taken_over_counts_no_more() {
    let bench = Bench::new();
    let mut old = bench.named("device", 60);
    old.follow("a", ONE);
    let mut new = bench.named("device", 60);
    assert!(new.session.opened().resumed);
    assert_eq!(old.session.poll_event(&mut cx()), std::task::Poll::Ready(SessionEvent::TakenOver));
    old.producer.send(&mut vec![outgoing(text("a", "late"), ONE)]);
    let mut none = Vec::new();
    assert!(matches!(
        old.consumer.as_mut().unwrap().poll_receive(&mut cx(), &mut none, 9),
        std::task::Poll::Ready(Err(_))
    ));
    new.listen();
    old.lose();
    new.send(text("a", "x"), ONE);
    assert_eq!(payloads(&new.take()), ["x"]);
    assert_eq!(bench.counters().sessions_connected, 1);
}

#[test]
fn principals_do_not_share_names() {
    let bench = Bench::new();
    let mut alice = bench.named("device", 60);
    alice.follow("a", ONE);
    let other = Open { origin: std::sync::Arc::default(), ..kept("device", 60) };
    assert!(!bench.session(other).opened().resumed);
    alice.send(text("a", "x"), ONE);
    assert_eq!(alice.take().len(), 1);
}

fn with_will(name: &str, delay_seconds: u64) -> Open {
    let will = Will { message: text("wills", "gone"), qos: ONE, delay: Duration::from_secs(delay_seconds), ttl: None };
    Open { will: Some(will), ..kept(name, 60) }
}

#[test]
fn a_will_is_sent_once_after_its_delay() {
    let bench = Bench::new();
    let mut watcher = bench.anonymous();
    watcher.follow("wills", ONE);
    drop(bench.session(with_will("device", 10)));
    bench.advance(9);
    assert!(watcher.take().is_empty());
    bench.advance(1);
    assert_eq!(payloads(&watcher.take()), ["gone"]);
    bench.advance(1000);
    assert!(watcher.take().is_empty(), "once");
}

#[test]
fn a_session_that_comes_back_cancels_its_will() {
    let bench = Bench::new();
    let mut watcher = bench.anonymous();
    watcher.follow("wills", ONE);
    drop(bench.session(with_will("device", 10)));
    let back = bench.named("device", 60);
    bench.advance(20);
    back.close();
    bench.advance(100);
    assert!(watcher.take().is_empty());
}

#[test]
fn a_will_is_sent_when_its_session_ends_at_the_latest() {
    let bench = Bench::new();
    let mut watcher = bench.anonymous();
    watcher.follow("wills", ONE);
    drop(bench.session(with_will("device", 1000)));
    bench.advance(60);
    assert_eq!(watcher.take().len(), 1);
    let open = Open { expiry: Duration::ZERO, ..with_will("other", 1000) };
    drop(bench.session(open));
    assert_eq!(watcher.take().len(), 1, "a session that is not kept ends at once");
}

#[test]
fn closing_in_good_order_sends_no_will_unless_asked() {
    let bench = Bench::new();
    let mut watcher = bench.anonymous();
    watcher.follow("wills", ONE);
    block_on(bench.session(with_will("one", 0)).close(Close::default())).unwrap();
    assert!(watcher.take().is_empty());
    block_on(bench.session(with_will("two", 0)).close(Close { will: true, expiry: None })).unwrap();
    assert_eq!(watcher.take().len(), 1);
}

#[test]
fn starting_afresh_sends_the_will_of_the_old_connection() {
    let bench = Bench::new();
    let mut watcher = bench.anonymous();
    watcher.follow("wills", ONE);
    let old = bench.session(with_will("device", 30));
    let new = bench.session(Open { resume: false, ..kept("device", 60) });
    assert_eq!(watcher.take().len(), 1, "its session has ended");
    drop((old, new));
    bench.advance(100);
    assert!(watcher.take().is_empty());
}

#[test]
fn linger_keeps_a_session_connected() {
    let bench = Bench::new();
    let mut device = Client::new(bench.session(Open { linger: Duration::from_secs(5), ..Open::default() }));
    device.follow("a", ONE);
    device.lose();
    assert_eq!(bench.counters().sessions_connected, 1);
    bench.advance(5);
    assert_eq!((bench.counters().sessions_connected, bench.counters().sessions), (0, 0));
}

#[test]
fn a_repeated_key_gets_the_first_outcome() {
    let bench = Bench::new();
    let mut device = bench.named("device", 60);
    device.follow("a", TWO);
    assert_eq!(device.send_as(keyed(text("a", "1"), 7, 1)).unwrap().why, None);
    let again = device.send_as(keyed(text("a", "1"), 7, 2)).unwrap();
    assert_eq!((again.outcome, again.why, again.cookie), (Outcome::Accepted, Some(Condition::Duplicate), 2));
    assert_eq!(device.take().len(), 1);
    device.lose();
    let mut device = bench.named("device", 60);
    assert_eq!(device.session.opened().in_doubt, [(Key::Number(7), Some(Outcome::Accepted))]);
    let again = device.send_as(keyed(text("a", "1"), 7, 3)).unwrap();
    assert_eq!(again.why, Some(Condition::Duplicate));
    device.producer.forget(&mut vec![Key::Number(7), Key::Number(8)]);
    assert_eq!(device.send_as(keyed(text("a", "2"), 7, 4)).unwrap().why, None);
}

#[test]
fn a_refused_key_is_free_again() {
    let bench = Bench::new();
    let mut device = bench.named("device", 60);
    let refused = device.send_as(keyed(text("$dead/x", "1"), 7, 1)).unwrap();
    assert!(matches!(refused.outcome, Outcome::Rejected(_)));
    assert_eq!(device.send_as(keyed(text("a", "2"), 7, 1)).unwrap().why, Some(Condition::NoRoute));
}

#[test]
fn idempotency_names_work_across_sessions_for_a_while() {
    let bench = Bench::new();
    let mut reader = bench.anonymous();
    reader.follow("a", ONE);
    let name = |payload| Outgoing { key: Some(Key::Name("order-1".into())), ..outgoing(text("a", payload), ONE) };
    let first = bench.anonymous().send_as(name("1")).unwrap();
    assert_eq!(first.why, None);
    let again = bench.anonymous().send_as(name("2")).unwrap();
    assert_eq!((again.outcome, again.why), (Outcome::Accepted, Some(Condition::Duplicate)));
    bench.advance(301);
    assert_eq!(bench.anonymous().send_as(name("3")).unwrap().why, None);
    assert_eq!(payloads(&reader.take()), ["1", "3"]);
}

#[test]
fn a_group_shares_what_comes() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.anonymous(), bench.anonymous());
    one.share("g", "a/+", ONE);
    two.share("g", "a/+", ONE);
    let mut sender = bench.anonymous();
    for payload in ["1", "2", "3", "4"] {
        sender.send(text("a/b", payload), ONE);
    }
    assert_eq!(
        (payloads(&one.take()), payloads(&two.take())),
        (vec!["1".to_owned(), "3".to_owned()], vec!["2".to_owned(), "4".to_owned()])
    );
}

#[test]
fn shared_copies_move_on_when_a_session_ends_unless_sent_exactly_once() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.anonymous(), bench.anonymous());
    one.share("g", "a", TWO);
    let mut sender = bench.anonymous();
    sender.send(text("a", "once"), ONE);
    sender.send(text("a", "exactly"), TWO);
    assert_eq!(one.take().len(), 2);
    two.share("g", "a", TWO);
    one.lose();
    assert_eq!(payloads(&two.take()), ["once"]);
}

#[test]
fn a_rejected_shared_copy_goes_to_nobody_else() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.anonymous(), bench.anonymous());
    one.share("g", "a", ONE);
    bench.anonymous().send(text("a", "x"), ONE);
    let got = one.take();
    two.share("g", "a", ONE);
    settle(one.consumer.as_mut().unwrap(), &got[0], Outcome::rejected(Condition::Refused));
    assert!(one.take().is_empty() && two.take().is_empty());
}

#[test]
fn a_group_prefers_who_is_connected() {
    let bench = Bench::new();
    let mut away = bench.named("away", 60);
    away.share("g", "a", ONE);
    away.lose();
    let mut here = bench.anonymous();
    here.share("g", "a", ONE);
    let mut sender = bench.anonymous();
    sender.send(text("a", "1"), ONE);
    sender.send(text("a", "2"), ONE);
    assert_eq!(here.take().len(), 2);
}

#[test]
fn the_offline_queue_is_bounded() {
    let mut settings = roadbed_broker::Settings::default();
    settings.session_messages_max = 2;
    let bench = Bench::with(settings);
    let mut device = bench.named("device", 60);
    device.follow("a", ONE);
    device.lose();
    let mut sender = bench.anonymous();
    for payload in ["1", "2", "3"] {
        assert_eq!(sender.send(text("a", payload), ONE).unwrap().outcome, Outcome::Accepted);
    }
    let mut device = bench.named("device", 60);
    assert_eq!(payloads(&device.listen().take()), ["2", "3"]);
    assert_eq!(bench.counters().dropped_full, 1);
}

#[test]
fn retained_values_come_with_a_binding() {
    let bench = Bench::new();
    let mut sender = bench.anonymous();
    let retained = |address: &str, payload| Message::builder(address.parse().unwrap(), payload).retain(true).build();
    sender.send(retained("a/1", "one"), ONE);
    sender.send(retained("a", "parent"), ZERO);
    sender.send(retained("b", "other"), ONE);
    let mut reader = bench.anonymous();
    reader.follow("a/#", ONE);
    let got = reader.take();
    assert_eq!(payloads(&got), ["parent", "one"]);
    assert!(got.iter().all(|delivery| delivery.retained));
    sender.send(retained("a/1", "two"), ONE);
    assert!(!reader.take()[0].retained, "a live one is not marked, unless asked");
    sender.send(retained("a/1", ""), ONE);
    reader.take();
    let again = Binding { retain_handling: RetainHandling::IfNew, ..Binding::new("a/#".parse().unwrap(), ONE) };
    assert!(reader.bind(again).replaced);
    assert!(reader.take().is_empty());
    let mut all = bench.anonymous();
    all.follow("#", ONE);
    assert_eq!(payloads(&all.take()), ["parent", "other"]);
    assert_eq!(bench.counters().retained, 2);
}

#[test]
fn live_messages_are_for_those_who_are_there() {
    let bench = Bench::new();
    let live = || Message::builder("a".parse().unwrap(), "now").live(true).build();
    let mut sender = bench.anonymous();
    let nobody = sender.send(live(), ONE).unwrap();
    assert_eq!((nobody.outcome, nobody.why), (Outcome::Released, Some(Condition::NoConsumer)));
    let mut device = bench.named("device", 60);
    device.follow("a", ONE);
    device.consumer.as_mut().unwrap().grant(Grant::credit(0));
    assert_eq!(sender.send(live(), ONE).unwrap().why, Some(Condition::Busy));
    device.consumer.as_mut().unwrap().grant(Grant::credit(1));
    assert_eq!(sender.send(live(), ONE).unwrap().outcome, Outcome::Accepted);
    assert_eq!(device.take()[0].qos, ZERO, "never sent twice");
}

#[test]
fn an_expired_message_is_not_handed_over() {
    let bench = Bench::new();
    let mut device = bench.named("device", 600);
    device.follow("a", ONE);
    device.lose();
    let at = START + Duration::from_secs(10);
    let message = Message::builder("a".parse().unwrap(), "x").expires_at(at).build();
    bench.anonymous().send(message, ONE);
    bench.advance(10);
    let mut device = bench.named("device", 600);
    assert!(device.listen().take().is_empty());
    assert_eq!(bench.counters().dropped_expired, 1);
}

#[test]
fn draining_tells_everybody_and_opens_no_more() {
    let bench = Bench::new();
    let client = bench.anonymous();
    bench.broker.drain();
    assert_eq!(client.session.poll_event(&mut cx()), std::task::Poll::Ready(SessionEvent::Draining));
    let refused = block_on(bench.broker.open(Open::default())).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}
