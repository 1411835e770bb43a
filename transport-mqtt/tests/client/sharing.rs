//! Many tasks, several producers and several consumers on one connection.

use roadbed_core::{Address, Confirm, ConsumerTerms, Endpoint, Node, Open, Outcome, ProducerTerms, Qos, Sender};

use crate::support::{Receiving, VERSIONS, address, config, hub, kept, message, quiet, sender, soon, text};

#[tokio::test(start_paused = true)]
async fn one_handle_serves_many_tasks() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let session = hub.client.open(kept("s")).await.unwrap();
        let mut receiving = Receiving::new(&*session).await.follow("t/#", Qos::ExactlyOnce).await;
        let senders = [sender(&*session).await, sender(&*session).await];
        let mut tasks = Vec::new();
        for task in 0..20 {
            let sender: Sender = senders[task % 2].clone();
            tasks.push(tokio::spawn(async move {
                for n in 0..10 {
                    let qos = Qos::from_level(1 + n % 2).unwrap();
                    let confirm: Confirm =
                        sender.send(message(&format!("t/{task}"), n.to_string()), qos).await.unwrap();
                    assert_eq!(confirm.outcome, Outcome::Accepted);
                }
            }));
        }
        let mut counts = std::collections::BTreeMap::<Address, usize>::new();
        for _ in 0..200 {
            let delivery = receiving.next().await;
            receiving.accept(&delivery).await;
            let count = counts.entry(delivery.message.address().clone()).or_default();
            assert_eq!(text(&delivery.message), count.to_string(), "each task's own are in order");
            *count += 1;
        }
        for task in tasks {
            soon(task).await.unwrap();
        }
        receiving.nothing().await;
        assert_eq!(hub.client.counts().connected, 1, "one connection serves them all");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_goes_to_the_consumer_that_follows_its_address() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let session = hub.client.open(Open::default()).await.unwrap();
        let sender = sender(&*session).await;
        let mut a = Receiving::new(&*session).await.follow("a/#", Qos::AtLeastOnce).await;
        let mut b = Receiving::new(&*session).await.follow("b/+", Qos::ExactlyOnce).await;
        let node = Node::Address(address("c"));
        let mut c = Receiving::with(&*session, ConsumerTerms { node, ..ConsumerTerms::default() }).await;
        for to in ["b/1", "c", "a/b/c", "b/2"] {
            sender.send(message(to, to), Qos::ExactlyOnce).await.unwrap();
        }
        quiet().await;
        for (receiving, expected) in [(&mut a, &["a/b/c"][..]), (&mut b, &["b/1", "b/2"]), (&mut c, &["c"])] {
            for to in expected {
                let delivery = receiving.next().await;
                assert_eq!(&text(&delivery.message), to);
                receiving.accept(&delivery).await;
            }
            receiving.nothing().await;
        }
        drop(c);
        quiet().await;
        let confirm = sender.send(message("c", "late"), Qos::AtLeastOnce).await.unwrap();
        assert_eq!(confirm.outcome, Outcome::Accepted);
        a.nothing().await;
        b.nothing().await;
        assert_eq!(confirm.why.is_some(), version.is_v5(), "what the consumer followed has gone with it");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_consumer_leaves_goes_to_the_next() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let session = hub.client.open(kept("s")).await.unwrap();
        let sender = sender(&*session).await;
        let mut first = Receiving::new(&*session).await.follow("t", Qos::AtLeastOnce).await;
        for payload in ["1", "2", "3"] {
            sender.send(message("t", payload), Qos::AtLeastOnce).await.unwrap();
        }
        let held = first.next().await;
        drop(first);
        let mut second = Receiving::new(&*session).await;
        for (payload, attempt) in [("1", 2), ("2", 1), ("3", 1)] {
            let delivery = second.next().await;
            assert_eq!((text(&delivery.message).as_str(), delivery.attempt), (payload, attempt), "{version:?}");
            second.accept(&delivery).await;
        }
        assert_eq!(second.settle(&held, Outcome::Accepted).await, roadbed_core::Settled::Repeated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_with_an_address_sends_everything_there() {
    let hub = hub(config(VERSIONS[0]));
    let session = hub.client.open(Open::default()).await.unwrap();
    let mut receiving = Receiving::new(&*session).await.follow("there", Qos::AtMostOnce).await;
    let terms = ProducerTerms { to: Some(address("there")), ..ProducerTerms::default() };
    let sender = Sender::new(session.producer(terms).await.unwrap().0);
    sender.send(message("elsewhere", "x"), Qos::AtMostOnce).await.unwrap();
    assert_eq!(receiving.next().await.message.address(), &address("there"));
}
