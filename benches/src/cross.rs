//! The pipeline from one protocol to another without a network: a sender, a receiver, their server connections, and a broker, on one thread.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use roadbed_broker::Broker;
use roadbed_core::Endpoint;
use roadbed_mqtt::codec::{Packet, PacketId, QoS, Subscribe, Subscription, Version};
use tokio::runtime::Runtime;

use crate::amqp::{self, Transfers};
use crate::mqtt::publishes_to;
use crate::pipe::{Client, acknowledge, hello};

/// What one end speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// MQTT 3.1.1, QoS 1; it publishes to the queue by its address, and receives by a subscription.
    Mqtt,
    /// AMQP 1.0, unsettled.
    Amqp,
}

/// One sender and one receiver.
pub struct Cross {
    from: Speaks,
    to: Speaks,
    size: usize,
    sender: Client,
    receiver: Client,
    publishes: Bytes,
    transfers: Transfers,
    /// The next batch, made beforehand.
    prepared: Option<Bytes>,
    messages: usize,
    /// How many messages have gone through.
    gone: u32,
    // The connections have timers, which want a runtime; nothing is spawned on it.
    runtime: Runtime,
}

impl Cross {
    /// Connects both; batches will be of `messages` messages with payloads of `size` bytes.
    pub fn new(from: Speaks, to: Speaks, size: usize, messages: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let broker: Arc<dyn Endpoint> = Arc::new(Broker::new());
        let mqtt = roadbed_mqtt::Server::new(broker.clone(), roadbed_mqtt::ServerConfig::permissive());
        let config = roadbed_amqp::ServerConfig::permissive().credit_max(1 << 14);
        let amqp = roadbed_amqp::Server::new(broker, config);
        // What MQTT receives comes by a topic, what AMQP receives from a queue.
        let address = if to == Speaks::Mqtt { "plant/7/temperature" } else { "queues/q" };
        let client = |speaks: Speaks, name: &str, receives: bool| match speaks {
            Speaks::Amqp => Client::new(|wire| amqp.serve(wire), size, &amqp::hello(name, address, receives)),
            Speaks::Mqtt => {
                let subscribe = Packet::Subscribe(Subscribe {
                    packet_id: PacketId::MIN,
                    subscription_id: None,
                    user: Vec::new(),
                    subscriptions: vec![Subscription::new(address, QoS::AtLeastOnce)],
                });
                let first = hello(Version::V311, name, receives.then_some(subscribe));
                Client::new(|wire| mqtt.serve(wire), size, &first)
            }
        };
        let (receiver, sender) = (client(to, "to", true), client(from, "from", false));
        let publishes = publishes_to(address, Version::V311, QoS::AtLeastOnce, size, messages);
        let transfers = Transfers::new(&amqp::message(amqp::Shape::Plain, size), false, messages);
        let mut this =
            Self { from, to, size, sender, receiver, publishes, transfers, prepared: None, messages, gone: 0, runtime };
        this.run();
        for client in [&this.sender, &this.receiver] {
            assert!(client.wire.answer(|_, _| {}).0 >= 4, "both are let in");
        }
        this
    }

    /// Makes the next batch now, so that [`send`](Self::send) need not.
    pub fn prepare(&mut self) {
        self.prepared = Some(match self.from {
            Speaks::Mqtt => self.publishes.clone(),
            Speaks::Amqp => self.transfers.read(),
        });
    }

    /// Sends a batch, and lets the receiver have and settle it.
    pub fn send(&mut self) {
        if self.prepared.is_none() {
            self.prepare();
        }
        self.sender.wire.send(&self.prepared.take().unwrap_or_default());
        self.run();
        let (first, messages) = (self.gone, self.messages as u32);
        self.gone += messages;
        let (size, to) = (self.size, self.to);
        let (written, settled) = self.receiver.wire.answer(|heads, into| match to {
            Speaks::Mqtt => acknowledge(heads, size, into),
            Speaks::Amqp => into.extend_from_slice(&amqp::accepts(first, first + messages - 1)),
        });
        assert!(written >= self.messages * size, "each has come");
        assert!(to == Speaks::Amqp || settled == 4 * self.messages, "each has come once");
        self.run();
        let (answers, _) = self.sender.wire.answer(|_, _| {});
        match self.from {
            Speaks::Mqtt => assert_eq!(answers, 4 * self.messages, "a PUBACK for each"),
            Speaks::Amqp => assert!(answers >= 20, "a disposition"),
        }
        self.receiver.wire.answer(|_, _| {});
    }

    /// The payloads that the receiver was sent by themselves since the last time: whether each lies in a buffer that the sender's bytes were read into. Of a
    /// frame that straddles two reads the first part was copied there, in front of the second read.
    pub fn written_where_read(&self) -> Vec<bool> {
        let reads = self.sender.wire.reads();
        let payloads = self.receiver.wire.payloads().into_iter();
        payloads.map(|payload| reads.iter().any(|read| read.start < payload.end && payload.end <= read.end)).collect()
    }

    /// Polls whom something has woken, until that is nobody.
    fn run(&mut self) {
        let _context = self.runtime.enter();
        while self.sender.poll() | self.receiver.poll() {}
    }
}

impl fmt::Debug for Cross {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cross").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}
