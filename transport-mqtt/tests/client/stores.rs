//! The store: nothing that depends on it is written before it has it, and nothing is done without it.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{Confirm, Endpoint, Error, ErrorKind, Fut, Key, Outcome, Outgoing, ProducerTerms, Qos};
use roadbed_mqtt::codec::{AckKind, Version};
use roadbed_mqtt::{Change, Event, MemoryStore, SessionStore, StoredSession};

use crate::support::{Receiving, ack, config, kept, message, scripted, soon};

/// Takes its time, or fails.
struct Slow {
    inner: MemoryStore,
    delay: Duration,
    fails: bool,
}

impl SessionStore for Slow {
    fn load(&self, client_id: &ByteString) -> Fut<StoredSession> {
        self.inner.load(client_id)
    }

    fn commit(&self, client_id: &ByteString, changes: Vec<Change>) -> Fut<()> {
        let (delay, fails, committed) = (self.delay, self.fails, self.inner.commit(client_id, changes));
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            if fails {
                Err(Error::new(ErrorKind::Failed, "commit").detail("the disk is full"))
            } else {
                committed.await
            }
        })
    }
}

fn slow(delay: Duration, fails: bool) -> Arc<dyn SessionStore> {
    Arc::new(Slow { inner: MemoryStore::default(), delay, fails })
}

fn outgoing(cookie: u64, key: u32) -> Outgoing {
    Outgoing { cookie, message: message("t", "x"), qos: Qos::ExactlyOnce, key: Some(Key::Number(key)), txn: None }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_before_it_is_kept() {
    let (client, mut waiting) = scripted(config(Version::V5).store(slow(Duration::from_secs(5), false)));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let (mut producer, _) = session.producer(ProducerTerms::default()).await.unwrap();
    producer.send(&mut vec![outgoing(1, 1)]);
    peer.silent().await;
    assert!(matches!(peer.event().await, Event::Publish(_)), "PUBLISH");
    let mut receiving = Receiving::new(&*session).await;
    peer.deliver("in", Qos::ExactlyOnce, 3, false).await;
    let delivery = receiving.next().await;
    receiving.accept(&delivery).await;
    peer.silent().await;
    assert_eq!(peer.ack().await, ack(AckKind::PubRec, 3));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_ends_the_session() {
    let (client, mut waiting) = scripted(config(Version::V5).store(slow(Duration::ZERO, true)));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let (mut producer, _) = session.producer(ProducerTerms::default()).await.unwrap();
    producer.send(&mut vec![outgoing(1, 1)]);
    assert!(soon(peer.try_event()).await.is_none(), "nothing is sent that is not kept");
    let error = soon(std::future::poll_fn(|cx| producer.poll_confirms(cx, &mut Vec::new()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("the disk is full"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_known_again_until_it_is_forgotten() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let (mut producer, _) = session.producer(ProducerTerms::default()).await.unwrap();
    producer.send(&mut vec![outgoing(1, 7), outgoing(2, 7)]);
    let Event::Publish(came) = peer.event().await else { panic!("PUBLISH") };
    let id = came.packet_id.unwrap().get();
    peer.silent().await;
    drop((producer, session, peer));

    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(true));
    let session = session.unwrap();
    assert_eq!(session.opened().in_doubt, [(Key::Number(7), None)]);
    let (mut producer, _) = session.producer(ProducerTerms::default()).await.unwrap();
    producer.send(&mut vec![outgoing(3, 7)]);
    let Event::Publish(again) = peer.event().await else { panic!("PUBLISH") };
    assert!(again.dup && again.packet_id == came.packet_id, "the same message, and not another one");
    peer.acknowledge(ack(AckKind::PubRec, id)).await;
    let mut confirms: Vec<Confirm> = Vec::new();
    soon(std::future::poll_fn(|cx| producer.poll_confirms(cx, &mut confirms))).await.unwrap();
    assert_eq!((confirms[0].cookie, &confirms[0].outcome), (3, &Outcome::Accepted));
    assert_eq!(peer.ack().await, ack(AckKind::PubRel, id));
    peer.acknowledge(ack(AckKind::PubComp, id)).await;
    producer.send(&mut vec![outgoing(4, 7)]);
    confirms.clear();
    soon(std::future::poll_fn(|cx| producer.poll_confirms(cx, &mut confirms))).await.unwrap();
    assert_eq!(confirms[0].cookie, 4, "the first answer stands");
    peer.silent().await;
    producer.forget(&mut vec![Key::Number(7)]);
    producer.send(&mut vec![outgoing(5, 7)]);
    assert!(matches!(peer.event().await, Event::Publish(new) if !new.dup), "forgotten, it is a new message");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_starts_afresh_knows_nothing() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let (mut producer, _) = session.producer(ProducerTerms::default()).await.unwrap();
    producer.send(&mut vec![outgoing(1, 7)]);
    peer.event().await;
    drop((producer, session));
    let fresh = roadbed_core::Open { resume: false, ..kept("s") };
    let (session, mut peer) = tokio::join!(client.open(fresh), waiting.open(false));
    assert!(session.unwrap().opened().in_doubt.is_empty());
    assert!(soon(peer.try_event()).await.is_none(), "nothing is sent again");
}
