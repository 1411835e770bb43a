//! The machine in both roles against each other, with every byte on its own; and what hostile peers do.

mod hostile;
mod links;
mod resume;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::ReceiverSettleMode;
use fe2o3_amqp_types::performatives::Attach;
use roadbed_amqp::codec::{Fault, GuardLimits, Performative, ProtocolHeader, SaslCode, State, Tag, Transfer, frame};
use roadbed_amqp::dialect::Encoded;
use roadbed_amqp::{
    Accept, Admission, DecodeError, Error, Event, Forgotten, Incoming, LinkId, MachineConfig, Sasl, SendError, Sending,
    SentDelivery, SessionId, UnsettledMap, unsettled_map,
};
use roadbed_core::{
    Delivery, Handle, Losses, Message, Origin, Outcome, Payload, Protocol, Qos, ReadContext, TxnId, WireMessage,
};

use support::{Pair, receiver, sender};

/// From a byte at a time to everything at once.
fn everywhere(test: impl Fn(usize)) {
    [1, 7, 1 << 20].into_iter().for_each(test);
}

fn delivery(payload: impl Into<Payload>, slot: Option<u16>) -> Delivery {
    Delivery {
        message: Message::new("plant/7".parse().expect("an address"), payload),
        handle: slot.and_then(|slot| Handle::new(slot, 1)),
        qos: Qos::AtLeastOnce,
        retained: false,
        attempt: 1,
        info: None,
    }
}

#[track_caller]
fn one(mut events: Vec<Event>) -> Event {
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[track_caller]
fn transfer(events: Vec<Event>) -> Incoming {
    match one(events) {
        Event::Transfer(incoming) => incoming,
        other => panic!("{other:?}"),
    }
}

fn message(incoming: Incoming) -> Message {
    let origin = std::sync::Arc::new(Origin::default());
    let context = ReadContext { origin: &origin, now: support::START };
    Encoded::new(incoming.pieces).read(&context).expect("a message")
}

impl Pair {
    fn grant(&mut self, theirs: LinkId, credit: u32) {
        self.server.grant(theirs, credit, false, None, &mut self.to_client).expect("attached");
        assert!(matches!(one(self.at_client()), Event::Credit(_, c) if c.credit == credit));
    }

    fn send(&mut self, link: LinkId, delivery: &Delivery) -> Result<u64, SendError> {
        let sending = Sending { cookie: delivery.handle.map(|handle| handle.slot().into()), ..Sending::default() };
        self.client.deliver(link, delivery, sending, self.now, &mut Losses::default(), &mut self.to_server)
    }
}

fn second(attach: Attach) -> Attach {
    Attach { rcv_settle_mode: ReceiverSettleMode::Second, ..attach }
}

fn put_frame(out: &mut bytes::BytesMut, channel: u16, performative: &Performative) {
    put_frame_with(out, channel, performative, &[]);
}

fn put_frame_with(out: &mut bytes::BytesMut, channel: u16, performative: &Performative, payload: &[u8]) {
    let mut body = bytes::BytesMut::new();
    performative.encode(&mut body);
    body.extend_from_slice(payload);
    out.extend_from_slice(&(body.len() as u32 + 8).to_be_bytes());
    out.extend_from_slice(&[2, 0]);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&body);
}

fn raw_frame(channel: u16, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], &[2, 0], &channel.to_be_bytes(), body].concat()
}

fn transfer_frame(channel: u16, transfer: Transfer, payload: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    put_frame_with(&mut out, channel, &Performative::Transfer(transfer), payload);
    out.to_vec()
}

/// The last performative that the server wrote.
fn last_said(pair: &mut Pair) -> Performative {
    let said = pair.said();
    let (mut at, mut last) = (0, None);
    while let Some(found) = frame(&said, &mut at, 1 << 20).expect("legal frames") {
        if !found.body.is_empty() {
            last = Some(Performative::decode(&found.body, &GuardLimits::default()).expect("legal").0);
        }
    }
    last.expect("something was said")
}

#[track_caller]
fn closed_with(pair: &mut Pair, condition: &str) {
    let Performative::Close(close) = last_said(pair) else { panic!("a close") };
    let text = format!("{:?}", close.error.expect("an error").condition);
    let encoded = text.to_lowercase().replace("error", "").replace(['-', '_'], "");
    let wanted = condition.rsplit(':').next().expect("a name").replace("error", "").replace('-', "");
    assert!(encoded.contains(&wanted), "{text} is not {condition}");
    assert!(pair.server.is_closed());
}
