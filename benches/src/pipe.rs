//! The whole pipeline without a network: MQTT clients, their server connections, and a broker, on one thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use roadbed_broker::Broker;
use roadbed_mqtt::codec::{Connect, Packet, PacketId, QoS, Subscribe, Subscription, Version};
use roadbed_mqtt::{Server, ServerConfig};
use tokio::runtime::Runtime;

use crate::mqtt::{Shape, TOPIC};
use crate::wire::Wire;

/// One publisher and some subscribers of one topic.
pub struct Pipe {
    qos: QoS,
    size: usize,
    publisher: Client,
    subscribers: Vec<Client>,
    // The connections have timers, which want a runtime; nothing is spawned on it.
    runtime: Runtime,
}

pub(crate) struct Client {
    pub(crate) wire: Wire,
    connection: Pin<Box<dyn Future<Output = roadbed_core::Result<()>>>>,
    woken: Arc<Woken>,
    waker: Waker,
}

/// Whether a connection wants to be polled.
struct Woken(AtomicBool);

impl Pipe {
    /// Connects all and subscribes; messages will have payloads of `size` bytes.
    pub fn new(shape: &Shape, qos: QoS, size: usize, subscribers: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let server = Server::new(Arc::new(Broker::new()), ServerConfig::permissive());
        let client = |name: &str, then: Option<Packet>| {
            Client::new(|wire| server.serve(wire), size, &hello(shape.version, name, then))
        };
        let subscribe = Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            subscription_id: None,
            user: Vec::new(),
            subscriptions: vec![Subscription::new(TOPIC, qos)],
        });
        let subscribers = (0..subscribers).map(|n| client(&format!("s{n}"), Some(subscribe.clone()))).collect();
        let mut this = Self { qos, size, publisher: client("p", None), subscribers, runtime };
        this.run();
        for client in std::iter::once(&this.publisher).chain(&this.subscribers) {
            assert!(client.wire.answer(|_, _| {}).0 >= 4, "CONNACK and SUBACK");
        }
        this
    }

    /// Publishes the packets of `chunk`, which are `messages`, of QoS 0 or 1, and lets every subscriber have and answer them.
    pub fn publish(&mut self, chunk: &Bytes, messages: usize) {
        self.publisher.wire.send(chunk);
        self.run();
        let answers = if self.qos == QoS::AtMostOnce { 0 } else { 4 * messages };
        assert_eq!(self.publisher.wire.answer(|_, _| {}), (answers, 0), "a PUBACK for each");
        for subscriber in &self.subscribers {
            let (written, sent) = subscriber.wire.answer(|heads, into| acknowledge(heads, self.size, into));
            assert!(written >= messages * self.size, "each has come");
            assert_eq!(sent, answers, "each has come once");
        }
        self.run();
    }

    /// The payloads that subscribers were sent by themselves since the last time: whether each lies in a buffer that the publisher's bytes were read into. Of a
    /// frame that straddles two reads the first part was copied there, in front of the second read.
    pub fn written_where_read(&self) -> Vec<bool> {
        let reads = self.publisher.wire.reads();
        let payloads = self.subscribers.iter().flat_map(|client| client.wire.payloads());
        payloads.map(|payload| reads.iter().any(|read| read.start < payload.end && payload.end <= read.end)).collect()
    }

    /// Polls whom something has woken, until that is nobody.
    fn run(&mut self) {
        let _context = self.runtime.enter();
        let mut clients: Vec<_> = std::iter::once(&mut self.publisher).chain(&mut self.subscribers).collect();
        while clients.iter_mut().map(|client| client.poll()).fold(false, |any, polled| any | polled) {}
    }
}

/// CONNECT, and what may follow at once.
pub fn hello(version: Version, name: &str, then: Option<Packet>) -> Bytes {
    let mut bytes = BytesMut::new();
    let connect = Packet::Connect(Box::new(Connect::new(version, name)));
    for packet in [Some(connect), then].into_iter().flatten() {
        packet.encode(version, &mut bytes).expect("a packet that can be written");
    }
    bytes.freeze()
}

impl Client {
    /// A client that has said `first` to a server.
    pub(crate) fn new<F>(serve: impl FnOnce(Wire) -> F, size: usize, first: &Bytes) -> Self
    where
        F: Future<Output = roadbed_core::Result<()>> + 'static,
    {
        let wire = Wire::new(size);
        wire.send(first);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let connection = Box::pin(serve(wire.clone()));
        Self { wire, connection, waker: woken.clone().into(), woken }
    }

    /// Whether it was polled.
    pub(crate) fn poll(&mut self) -> bool {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        match self.connection.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => true,
            Poll::Ready(ended) => panic!("{ended:?}"),
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes a PUBACK for each PUBLISH of QoS 1 whose head, or whole, is in `heads`.
pub(crate) fn acknowledge(heads: &[u8], size: usize, acks: &mut Vec<u8>) {
    let mut rest = heads;
    while let [first, after @ ..] = rest {
        let (mut remaining, mut at) = (0, 0);
        loop {
            remaining |= usize::from(after[at] & 0x7f) << (7 * at);
            at += 1;
            if after[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let topic = usize::from(u16::from_be_bytes([after[at], after[at + 1]]));
        if first & 0b0110 != 0 {
            acks.extend_from_slice(&[0x40, 2]);
            acks.extend_from_slice(&after[at + 2 + topic..][..2]);
        }
        let apart = if size < roadbed_core::Output::SHARE_MIN { 0 } else { size };
        rest = &after[at + remaining - apart..];
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("qos", &self.qos).field("size", &self.size).finish_non_exhaustive()
    }
}
