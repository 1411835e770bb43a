//! What a principal may not do is refused wherever it could be done: at send, bind and attach, and again at delivery.

mod support;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::executor::block_on;
use roadbed_auth::{Allow, Policy, PolicyAuthorizer};
use roadbed_core::*;
use support::*;
use tower_layer::Layer;

/// A broker behind a policy.
struct Plant {
    bench: Bench,
    policy: Arc<PolicyAuthorizer>,
    refusals: Arc<Refusals>,
    endpoint: Arc<dyn Endpoint>,
}

impl Plant {
    fn new() -> Self {
        let (bench, refusals) = (Bench::new(), Arc::new(Refusals::default()));
        let policy = Arc::new(PolicyAuthorizer::new(&rules(true)).unwrap());
        let layer = AuthorizedLayer::new(policy.clone(), refusals.clone());
        let endpoint = Arc::new(layer.layer(bench.broker.clone()));
        Self { bench, policy, refusals, endpoint }
    }

    fn open(&self, principal: &str, open: Open) -> Result<Client> {
        let origin = Arc::new(Origin { principal: String::from(principal).into(), protocol: "test" });
        block_on(self.endpoint.open(Open { origin, ..open })).map(Client::new)
    }

    fn client(&self, principal: &str) -> Client {
        self.open(principal, Open::default()).unwrap()
    }

    fn kept(&self, principal: &str) -> Client {
        self.open(principal, kept("session", 600)).unwrap()
    }

    /// From now on nobody has the secrets.
    fn take_secrets_away(&self) {
        self.policy.replace(&rules(false)).unwrap();
    }
}

fn rules(secrets: bool) -> Policy {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let device = Allow {
        who: texts(&["d*"]),
        send: texts(&["devices/{id}/#", "queues/orders"]),
        receive: texts(&["devices/{id}/#", "news/+", "logs/news/#"]),
        ..Allow::default()
    };
    let secret = Allow {
        who: texts(&["d1"]),
        send: texts(&["secrets/#"]),
        receive: texts(&["secrets/#", "queues/secrets"]),
        ..Allow::default()
    };
    let boss = Allow {
        who: texts(&["boss"]),
        send: texts(&["#", "queues/#", "logs/#"]),
        receive: texts(&["#", "queues/#", "$dead/#"]),
        manage: texts(&["queues/#", "logs/#"]),
        reply: true,
    };
    Policy { allow: [Some(device), secrets.then_some(secret), Some(boss)].into_iter().flatten().collect() }
}

fn bound(client: &mut Client, filter: &str, share: Option<&'static str>) -> Result<Granted> {
    if client.consumer.is_none() {
        client.listen();
    }
    let binding = Binding { share: share.map(Into::into), ..Binding::new(filter.parse().unwrap(), ONE) };
    block_on(client.consumer.as_mut().unwrap().bind(vec![binding])).unwrap().remove(0)
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("refused").kind()
}

#[test]
fn a_message_to_where_one_may_not_send_is_refused_and_the_others_of_its_batch_go() {
    let plant = Plant::new();
    let (mut d1, mut boss) = (plant.client("d1"), plant.client("boss"));
    boss.follow("#", ONE);
    let addresses = ["devices/d1/a", "devices/d2/a", "news/x", "devices/d1/b", "devices/d1/a"];
    let mut batch: Vec<_> =
        (0..).zip(addresses).map(|(cookie, to)| Outgoing { cookie, ..outgoing(text(to, "x"), ONE) }).collect();
    batch.push(outgoing(text("devices/d2/a", "at most once"), ZERO));
    d1.producer.send(&mut batch);
    assert!(batch.is_empty());
    let mut confirms = d1.confirms();
    confirms.sort_by_key(|confirm| confirm.cookie);
    let accepted: Vec<_> = confirms.iter().map(|confirm| confirm.outcome == Outcome::Accepted).collect();
    assert_eq!(accepted, [true, false, false, true, true]);
    assert_eq!(confirms[1].why, Some(Condition::Unauthorized));
    assert_eq!(boss.take().len(), 3);
    assert_eq!(plant.refusals.snapshot().sends, 3);
}

/// The broker would send there itself when the deadline is missed, and it may everything.
#[test]
fn a_deadline_does_not_carry_a_message_to_where_its_sender_may_not_send() {
    let plant = Plant::new();
    let (mut d1, mut boss) = (plant.client("d1"), plant.client("boss"));
    boss.follow("#", ONE);
    let late = |to: &str, reply_to: &str| {
        let deadline = Some(plant.bench.clock.now() + Duration::from_millis(50));
        let details = |details: &mut Details| {
            (details.deadline, details.reply_to) = (deadline, Some(reply_to.parse().unwrap()));
        };
        Message::builder(to.parse().unwrap(), "x").details(details).build()
    };
    let refused = Outcome::rejected(Condition::Unauthorized);
    assert_eq!(d1.send(late("queues/orders", "devices/d2/reboot"), ONE).unwrap().outcome, refused);
    assert_eq!(d1.send(late("queues/orders", "devices/d1/late"), ONE).unwrap().outcome, Outcome::Accepted);
    let will =
        Will { message: late("queues/orders", "devices/d2/reboot"), qos: ONE, delay: Default::default(), ttl: None };
    assert_eq!(kind(plant.open("d1", Open { will: Some(will), ..Open::default() })), ErrorKind::Unauthorized);
    plant.bench.advance(1);
    let told: Vec<_> = boss.take().iter().map(|delivery| delivery.message.address().to_string()).collect();
    assert_eq!(told, ["devices/d1/late"]);
}

#[test]
fn a_filter_that_reaches_further_than_the_right_is_refused_shared_or_not() {
    let plant = Plant::new();
    let mut d1 = plant.client("d1");
    for share in [None, Some("group")] {
        for wider in ["#", "devices/#", "devices/+/a", "news/#", "devices/d2/a", "+/+", "$SYS/#"] {
            assert_eq!(kind(bound(&mut d1, wider, share)), ErrorKind::Unauthorized, "{wider}");
        }
        assert!(bound(&mut d1, "devices/d1/+", share).is_ok() && bound(&mut d1, "news/+", share).is_ok());
    }
    assert_eq!(plant.bench.counters().bindings, 4);
}

#[test]
fn several_filters_at_once_are_answered_each_in_its_place() {
    let plant = Plant::new();
    let mut d1 = plant.client("d1");
    d1.listen();
    let all = ["news/+", "#", "devices/d1/x", "devices/d2/x"].map(|filter| Binding::new(filter.parse().unwrap(), ONE));
    let answers = block_on(d1.consumer.as_mut().unwrap().bind(all.to_vec())).unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
}

#[test]
fn queues_are_attached_to_and_managed_by_those_who_may() {
    let plant = Plant::new();
    let (d1, boss) = (plant.client("d1"), plant.client("boss"));
    let queue: Address = "queues/orders".parse().unwrap();
    assert_eq!(kind(block_on(d1.session.consumer(support::queue("queues/orders")))), ErrorKind::Unauthorized);
    let to = |to: &str| ProducerTerms { to: Some(to.parse().unwrap()), ..ProducerTerms::default() };
    assert_eq!(kind(block_on(d1.session.producer(to("queues/other")))), ErrorKind::Unauthorized);
    assert!(block_on(d1.session.producer(to("queues/orders"))).is_ok());
    let binding = Binding::new("devices/#".parse().unwrap(), ONE);
    for request in [
        Manage::Declare(queue.clone(), QueueSettings::default()),
        Manage::Bind(queue.clone(), binding),
        Manage::Purge(queue.clone()),
        Manage::Describe(queue.clone()),
        Manage::Delete(queue.clone()),
    ] {
        assert_eq!(kind(block_on(d1.session.manage(request.clone()))), ErrorKind::Unauthorized, "{request:?}");
        assert!(block_on(boss.session.manage(request.clone())).is_ok(), "{request:?}");
    }
    // Binding a queue to what one may not follow is a way around.
    let everything = Manage::Bind(queue, Binding::new("$SYS/#".parse().unwrap(), ONE));
    assert_eq!(kind(block_on(boss.session.manage(everything))), ErrorKind::Unauthorized);
    let log = LogTerms::new("logs/audit".parse().unwrap(), LogStart::Earliest);
    assert_eq!(kind(block_on(d1.session.consumer(ConsumerTerms::log(log)))), ErrorKind::Unauthorized);
}

/// Who reads for a group brings its checkpoint forward; what others have read for it, only who manages the log has them read again.
#[test]
fn a_checkpoint_goes_back_only_for_who_manages_the_log() {
    let plant = Plant::new();
    let (d1, mut boss) = (plant.client("d1"), plant.client("boss"));
    let settings = LogSettings { partitions: 1, ..LogSettings::default() };
    block_on(boss.session.manage(Manage::DeclareLog("logs/news".parse().unwrap(), settings))).unwrap();
    (0..3).for_each(|_| drop(boss.send(text("logs/news", "x"), ONE)));
    let partition: Address = "logs/news/0".parse().unwrap();
    let set = |set, force| {
        Manage::Checkpoint(Checkpoint { partition: partition.clone(), group: "readers".into(), set, force })
    };
    block_on(d1.session.manage(set(Some(1), false))).unwrap();
    assert!(block_on(d1.session.manage(set(None, true))).is_ok(), "it only asks");
    assert_eq!(kind(block_on(d1.session.manage(set(Some(0), true)))), ErrorKind::Unauthorized);
    assert!(block_on(boss.session.manage(set(Some(0), true))).is_ok());
}

#[test]
fn a_node_made_for_a_link_is_its_owners_to_use() {
    let plant = Plant::new();
    let (d1, mut d2, mut boss) = (plant.client("d1"), plant.client("d2"), plant.client("boss"));
    let terms = ConsumerTerms { node: Node::Dynamic, ..ConsumerTerms::default() };
    let (mut consumer, attached) = block_on(d1.session.consumer(terms)).unwrap();
    consumer.grant(Grant::credit(10));
    let address = attached.address.unwrap();
    let refused = d2.send(Message::new(address.clone(), "x"), ONE).unwrap();
    assert_eq!(refused.outcome, Outcome::rejected(Condition::Unauthorized));
    assert_eq!(boss.send(Message::new(address.clone(), "answer"), ONE).unwrap().outcome, Outcome::Accepted);
    assert_eq!(payloads(&receive(&mut consumer)), ["answer"]);
    let stolen = block_on(d2.session.consumer(ConsumerTerms::queue(address.clone())));
    assert_eq!(kind(stolen), ErrorKind::Unauthorized);
    assert_eq!(kind(block_on(d2.session.manage(Manage::Delete(address.clone())))), ErrorKind::Unauthorized);
    assert!(block_on(d1.session.manage(Manage::Delete(address))).is_ok());
}

/// Bug class 5 of brokers: rights that are not looked at again for a will, a retained value, a restored session (CVE-2026-6564).
#[test]
fn a_will_is_refused_with_its_session() {
    let plant = Plant::new();
    let will = |to: &str| Will { message: text(to, "gone"), qos: ONE, delay: Default::default(), ttl: None };
    let open = |to: &str| Open { will: Some(will(to)), ..Open::default() };
    assert_eq!(kind(plant.open("d1", open("devices/d2/x"))), ErrorKind::Unauthorized);
    let mut boss = plant.client("boss");
    boss.follow("#", ONE);
    plant.open("d1", open("devices/d1/x")).unwrap().lose();
    assert_eq!(payloads(&boss.take()), ["gone"]);
    // The right is gone before the session is: it has to go, and its will does not speak for it.
    let d1 = plant.open("d1", open("secrets/x")).unwrap();
    assert!(d1.session.poll_event(&mut cx()).is_pending());
    plant.take_secrets_away();
    let event = d1.session.poll_event(&mut cx());
    assert_eq!(event, Poll::Ready(SessionEvent::Revoked(Condition::Unauthorized)));
    d1.close();
    assert_eq!(boss.take().len(), 0);
}

#[test]
fn bug_class_5_a_restored_session_gets_nothing_that_it_may_not_have_any_more() {
    let plant = Plant::new();
    let mut boss = plant.client("boss");
    let mut d1 = plant.kept("d1");
    assert!(bound(&mut d1, "secrets/#", None).is_ok() && bound(&mut d1, "news/+", None).is_ok());
    boss.send(text("secrets/a", "sent and not settled"), ONE);
    assert_eq!(d1.take().len(), 1);
    d1.lose();
    boss.send(text("secrets/a", "waits"), ONE);
    boss.send(text("news/a", "fine"), ONE);
    plant.take_secrets_away();
    let mut d1 = plant.kept("d1");
    d1.listen();
    assert!(d1.session.opened().resumed);
    assert_eq!(d1.attached.unsettled.len(), 0, "what was under way is not sent again");
    let filters: Vec<_> = d1.attached.bindings.iter().map(|binding| binding.filter.to_string()).collect();
    assert_eq!(filters, ["news/+"]);
    assert_eq!(payloads(&d1.take()), ["fine"]);
    boss.send(text("secrets/b", "later"), ONE);
    assert_eq!(d1.take().len(), 0);
    assert_eq!(plant.refusals.snapshot().deliveries, 2);
    assert_eq!(plant.bench.counters().bindings, 1);
}

#[test]
fn bug_class_5_a_retained_value_is_not_delivered_to_who_may_not_follow_it() {
    let plant = Plant::new();
    let mut boss = plant.client("boss");
    let retained = Message::builder("secrets/a".parse().unwrap(), "kept").retain(true).build();
    boss.send(retained, ONE);
    let mut d2 = plant.client("d2");
    assert_eq!(kind(bound(&mut d2, "secrets/a", None)), ErrorKind::Unauthorized);
    assert_eq!(d2.take().len(), 0);
    // Bound while it was allowed, delivered when it is not.
    let mut d1 = plant.client("d1");
    assert!(bound(&mut d1, "secrets/#", None).is_ok());
    plant.take_secrets_away();
    assert_eq!(d1.take().len(), 0);
}

#[test]
fn a_policy_that_changes_holds_for_links_that_are_open() {
    let plant = Plant::new();
    let (mut d1, mut boss) = (plant.client("d1"), plant.client("boss"));
    assert!(bound(&mut d1, "secrets/#", Some("group")).is_ok());
    assert_eq!(d1.send(text("secrets/a", "x"), ONE).unwrap().outcome, Outcome::Accepted);
    assert_eq!(d1.take().len(), 1);
    let mut queue = d1.queue(queue("queues/secrets"));
    plant.take_secrets_away();
    assert_eq!(d1.send(text("secrets/a", "x"), ONE).unwrap().outcome, Outcome::rejected(Condition::Unauthorized));
    let mut into = Vec::new();
    let polled = queue.poll_receive(&mut cx(), &mut into, 1);
    assert!(matches!(polled, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Unauthorized), "the link ends");
    assert_eq!(d1.take().len(), 0);
    assert_eq!(plant.bench.counters().bindings, 0, "the share is left, so that others get what comes");
    boss.send(text("secrets/a", "x"), ONE);
    assert_eq!(d1.take().len(), 0);
}

/// What is granted is the queue: what it follows is for whoever manages it to say.
#[test]
fn who_may_read_a_queue_gets_what_the_queue_follows() {
    let plant = Plant::new();
    let (mut d1, mut boss) = (plant.client("d1"), plant.client("boss"));
    let queue: Address = "queues/secrets".parse().unwrap();
    let binding = Binding::new("shop/#".parse().unwrap(), ONE);
    block_on(boss.session.manage(Manage::Declare(queue.clone(), QueueSettings::default()))).unwrap();
    block_on(boss.session.manage(Manage::Bind(queue, binding))).unwrap();
    assert!(bound(&mut d1, "queues/secrets", None).is_ok());
    boss.send(text("shop/orders", "an order"), ONE);
    boss.send(text("queues/secrets", "sent there"), ONE);
    assert_eq!(payloads(&d1.take()), ["an order", "sent there"]);
    // Who may not have it any more leaves it to others, and does not kill it.
    d1.lose();
    let mut d1 = plant.kept("d1");
    assert!(bound(&mut d1, "queues/secrets", None).is_ok());
    assert_eq!(d1.take().len(), 2);
    d1.lose();
    plant.take_secrets_away();
    let mut d1 = plant.kept("d1");
    d1.listen();
    assert!(d1.attached.unsettled.is_empty() && d1.take().is_empty());
    assert_eq!(plant.refusals.snapshot().deliveries, 2);
    let mut reader = boss.queue(support::queue("queues/secrets"));
    assert_eq!(payloads(&receive(&mut reader)), ["an order", "sent there"]);
    let dead = block_on(boss.session.consumer(support::queue("$dead/secrets")));
    assert_eq!(kind(dead), ErrorKind::NotFound, "there are no dead letters");
}

#[test]
fn nobody_takes_the_session_of_somebody_else() {
    let plant = Plant::new();
    let mut d1 = plant.kept("d1");
    assert!(bound(&mut d1, "news/+", None).is_ok());
    let mut d2 = plant.kept("d2");
    assert!(!d2.session.opened().resumed, "the same name, another session");
    d2.listen();
    plant.client("boss").send(text("news/a", "x"), ONE);
    assert_eq!((d1.take().len(), d2.take().len()), (1, 0));
    assert!(d1.session.poll_event(&mut cx()).is_pending(), "it is not taken over");
    assert!(plant.open("d1", kept("session", 600)).unwrap().session.opened().resumed);
    assert_eq!(d1.session.poll_event(&mut cx()), Poll::Ready(SessionEvent::TakenOver));
}

#[test]
fn a_lease_is_settled_by_its_owner_alone() {
    let plant = Plant::new();
    let (mut boss, d1) = (plant.client("boss"), plant.client("d1"));
    boss.send(text("queues/secrets", "x"), ONE);
    let terms = ConsumerTerms { hold: Hold::Lease(Duration::from_secs(60)), ..queue("queues/secrets") };
    let mut leasing = d1.queue(terms);
    let delivery = receive(&mut leasing).remove(0);
    let id = delivery.info.unwrap().id;
    let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    let disposition = || vec![Disposition { delivery: id.into(), cookie: Some(1), step: step.clone() }];
    let settled = |client: &Client| block_on(client.session.settle(disposition())).unwrap().remove(0).result.unwrap();
    assert_eq!(settled(&boss), Settled::Late, "even who may do everything");
    assert_eq!(settled(&plant.client("d1")), Settled::Applied);
}

#[test]
fn within_a_transaction_nothing_more_is_allowed() {
    let plant = Plant::new();
    let mut d1 = plant.client("d1");
    let mut boss = plant.client("boss");
    boss.follow("#", ONE);
    let transaction = block_on(d1.session.transaction()).unwrap();
    let within = |to: &str| Outgoing { txn: Some(transaction.id()), ..outgoing(text(to, "x"), ONE) };
    assert_eq!(d1.send_as(within("devices/d2/x")).unwrap().outcome, Outcome::rejected(Condition::Unauthorized));
    assert_eq!(d1.send_as(within("devices/d1/x")).unwrap().outcome, Outcome::Accepted);
    block_on(transaction.commit()).unwrap();
    assert_eq!(boss.take().len(), 1);
}
