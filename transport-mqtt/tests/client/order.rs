//! Acknowledgements go out in the order of arrival, whatever order the application settles in.

use roadbed_core::{Condition, Endpoint, Open, Outcome, Qos, Reason, Settled, Step};
use roadbed_mqtt::MachineConfig;
use roadbed_mqtt::codec::{AckKind, ReasonCode, Version};

use crate::support::{Receiving, VERSIONS, ack, config, kept, scripted, soon};

#[tokio::test(start_paused = true)]
async fn settled_backwards_acknowledged_forwards() {
    for version in VERSIONS {
        let (client, mut waiting) = scripted(config(version));
        let (session, mut peer) = tokio::join!(client.open(Open::default()), waiting.open(false));
        let mut receiving = Receiving::new(&*session.unwrap()).await;
        for (qos, kind) in [(Qos::AtLeastOnce, AckKind::PubAck), (Qos::ExactlyOnce, AckKind::PubRec)] {
            let mut held = Vec::new();
            for id in [7, 3, 5] {
                peer.deliver(&id.to_string(), qos, id, false).await;
                held.push(receiving.next().await);
            }
            for delivery in held.iter().skip(1).rev() {
                receiving.accept(delivery).await;
            }
            peer.silent().await;
            receiving.accept(&held[0]).await;
            for id in [7, 3, 5] {
                assert_eq!(peer.ack().await, ack(kind, id), "{version:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_two_levels_do_not_wait_for_each_other() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(Open::default()), waiting.open(false));
    let mut receiving = Receiving::new(&*session.unwrap()).await;
    peer.deliver("one", Qos::AtLeastOnce, 1, false).await;
    peer.deliver("two", Qos::ExactlyOnce, 2, false).await;
    let (_held, second) = (receiving.next().await, receiving.next().await);
    receiving.accept(&second).await;
    assert_eq!(peer.ack().await, ack(AckKind::PubRec, 2));
    peer.acknowledge(ack(AckKind::PubRel, 2)).await;
    assert_eq!(peer.ack().await, ack(AckKind::PubComp, 2), "a held message blocks its own level alone");
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_in_two_steps_is_told_in_two_steps() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let mut receiving = Receiving::new(&*session).await;
    peer.deliver("two", Qos::ExactlyOnce, 9, false).await;
    let delivery = receiving.next().await;
    let server = async {
        assert_eq!(peer.ack().await, ack(AckKind::PubRec, 9));
        peer.silent().await;
        peer.acknowledge(ack(AckKind::PubRel, 9)).await;
    };
    let first = Step::Outcome { outcome: Outcome::Accepted, settled: false };
    let (settled, ()) = tokio::join!(receiving.step(&delivery, first), server);
    assert_eq!(settled.unwrap(), Settled::Applied, "when the server has confirmed it");
    peer.silent().await;
    assert_eq!(receiving.step(&delivery, Step::Settle).await.unwrap(), Settled::Applied);
    assert_eq!(peer.ack().await, ack(AckKind::PubComp, 9), "when the application has forgotten it");
    assert_eq!(receiving.step(&delivery, Step::Settle).await.unwrap(), Settled::Late);
}

#[tokio::test(start_paused = true)]
async fn a_second_step_outlives_the_connection_and_the_session() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let mut receiving = Receiving::new(&*session).await;
    peer.deliver("two", Qos::ExactlyOnce, 9, false).await;
    let delivery = receiving.next().await;
    let first = Step::Outcome { outcome: Outcome::Accepted, settled: false };
    let server = async {
        peer.ack().await;
        peer.acknowledge(ack(AckKind::PubRel, 9)).await;
    };
    tokio::join!(receiving.step(&delivery, first), server).0.unwrap();
    drop((receiving, session, peer));

    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(true));
    let session = session.unwrap();
    let (_link, attached) = session.consumer(roadbed_core::ConsumerTerms::session()).await.unwrap();
    assert_eq!(attached.unsettled.len(), 1, "what was decided and not forgotten");
    assert_eq!(attached.unsettled[0].handle.slot(), 9);
    drop(_link);
    peer.acknowledge(ack(AckKind::PubRel, 9)).await;
    peer.silent().await;
    let (link, attached) = session.consumer(roadbed_core::ConsumerTerms::session()).await.unwrap();
    let handle = attached.unsettled[0].handle;
    let mut link = link;
    let step = roadbed_core::Disposition { delivery: handle.into(), cookie: None, step: Step::Settle };
    link.settle(&mut vec![step]);
    assert_eq!(peer.ack().await, ack(AckKind::PubComp, 9));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_a_reason_code_with_its_words() {
    let rejected = || Outcome::Rejected(Reason::new(Condition::InvalidPayload, "no JSON"));
    for version in VERSIONS {
        let (client, mut waiting) = scripted(config(version));
        let (session, mut peer) = tokio::join!(client.open(Open::default()), waiting.open(false));
        let mut receiving = Receiving::new(&*session.unwrap()).await;
        for (qos, id) in [(Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 2)] {
            peer.deliver("x", qos, id, false).await;
            let delivery = receiving.next().await;
            assert_eq!(receiving.settle(&delivery, rejected()).await, Settled::Applied);
            let said = peer.ack().await;
            if version.is_v5() {
                assert_eq!(said.reason, ReasonCode::PayloadFormatInvalid);
                assert_eq!(said.notes.reason_string.as_deref(), Some("no JSON"));
            } else {
                assert_eq!(said.reason, ReasonCode::Success, "MQTT 3 has no other word");
            }
        }
        assert_eq!(client.counts().rejections_unsaid, if version.is_v5() { 0 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_held_also_where_it_cannot_be_said() {
    for version in VERSIONS {
        let config = config(version).machine(MachineConfig::default().receive_maximum(4));
        let (client, mut waiting) = scripted(config);
        let (session, (mut peer, connect)) = tokio::join!(
            async {
                tokio::time::timeout(
                    std::time::Duration::from_secs(1),
                    client.open(Open { window: 2, ..Open::default() }),
                )
                .await
            },
            waiting.peer()
        );
        assert!(session.is_err(), "nobody has answered");
        assert_eq!(connect.receive_maximum.map(u16::from), version.is_v5().then_some(2), "the smaller of the two");
        drop(peer.try_event());

        let opening = client.open(Open { window: 2, ..Open::default() });
        let (session, mut peer) = tokio::join!(opening, waiting.open(false));
        let mut receiving = Receiving::new(&*session.unwrap()).await;
        peer.deliver("1", Qos::AtLeastOnce, 1, false).await;
        peer.deliver("2", Qos::AtLeastOnce, 2, false).await;
        if !version.is_v5() {
            peer.deliver("3", Qos::AtLeastOnce, 3, false).await;
        }
        let first = receiving.next().await;
        receiving.next().await;
        receiving.nothing().await;
        receiving.accept(&first).await;
        assert_eq!(soon(peer.ack()).await, ack(AckKind::PubAck, 1));
        if !version.is_v5() {
            receiving.next().await;
        }
    }
}
