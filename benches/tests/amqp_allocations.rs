//! How much memory a message by AMQP may ask for, and that its payload is never copied: counts that must not grow.

use std::sync::Arc;

use bytes::Bytes;
use roadbed_amqp::codec::State;
use roadbed_amqp::dialect::Encoded;
use roadbed_amqp::{Event, LinkId, Machine, Sending};
use roadbed_benches::amqp::{Shape, Transfers, accepts, connected, message, serving};
use roadbed_benches::mqtt::{NOW, TOPIC, delivery, flush, read};
use roadbed_benches::{Allocations, count};
use roadbed_core::{Address, Losses, Message, Origin, Output, Qos, ReadContext, WireMessage};

const MESSAGES: usize = 100;

type Roles = [(&'static str, (Machine, LinkId)); 2];

/// The messages of one read through a warm machine, each answered, and what they cost.
fn received(machine: &mut Machine, size: usize, settled: bool) -> (Vec<Message>, Allocations, Bytes) {
    let address = Address::new(TOPIC).expect("a legal name");
    let origin = Arc::new(Origin { principal: "test".into(), protocol: "amqp" });
    let context = ReadContext { origin: &origin, now: NOW };
    let mut transfers = Transfers::new(&message(Shape::Plain, size), settled, MESSAGES);
    let (mut messages, mut out) = (Vec::with_capacity(MESSAGES), Output::new());
    let mut round = |chunk: &Bytes, messages: &mut Vec<Message>| {
        messages.clear();
        read(machine, chunk, &mut out, |machine, event, out| {
            let Event::Transfer(incoming) = event else { panic!("{event:?}") };
            let encoded = Encoded { address: Some(address.clone()), ..Encoded::new(incoming.pieces) };
            messages.push(encoded.read(&context).expect("a legal message"));
            machine.answer(incoming.link.session, incoming.delivery, State::Accepted, out);
        });
        machine.flush(&mut out);
        flush(&mut out)
    };
    round(&transfers.read(), &mut messages);
    let chunk = transfers.read();
    let (answered, found) = count(|| round(&chunk, &mut messages));
    assert_eq!(answered > 0, !settled, "dispositions");
    assert_eq!(messages.len(), MESSAGES);
    (messages, found, chunk)
}

fn roles(receives: bool) -> Roles {
    [("server", serving(receives)), ("client", connected(receives))]
}

#[test]
fn a_message_that_comes_is_one_allocation() {
    for (size, settled) in [(64, false), (64, true), (256, false), (16 << 10, false), (16 << 10, true)] {
        for (role, (mut machine, _)) in roles(true) {
            let (_, found, _) = received(&mut machine, size, settled);
            // A few for the turn, in which all answers are one frame.
            assert!(found.count <= MESSAGES as u64 + 2, "{role}, {size} B, settled {settled}: {found:?}");
        }
    }
}

#[test]
fn a_message_that_goes_is_none() {
    for (size, qos) in [64, 256, 16 << 10].into_iter().flat_map(|size| Qos::ALL.map(|qos| (size, qos))) {
        for (role, (mut machine, link)) in roles(false) {
            let (mut receiving, _) = serving(true);
            let (messages, ..) = received(&mut receiving, size, false);
            let deliveries: Vec<_> =
                messages.iter().zip(1..).map(|(message, slot)| delivery(message, qos, slot)).collect();
            let (mut out, mut sent) = (Output::new(), 0);
            let mut round = || {
                for (cookie, delivery) in (0..).zip(&deliveries) {
                    let cookie = (qos > Qos::AtMostOnce).then_some(cookie);
                    let sending = Sending { cookie, ..Sending::default() };
                    machine.deliver(link, delivery, sending, NOW, &mut Losses::default(), &mut out).expect("credit");
                }
                let written = flush(&mut out);
                if qos > Qos::AtMostOnce {
                    let accepts = accepts(sent, sent + MESSAGES as u32 - 1);
                    read(&mut machine, &accepts, &mut out, |_, event, _| {
                        let Event::Disposed(said) = event else { panic!("{event:?}") };
                        assert_eq!(said.deliveries.len(), MESSAGES);
                    });
                }
                sent += MESSAGES as u32;
                written
            };
            // The first batch sizes the buffers, which the second has again.
            round();
            let (written, found) = count(round);
            assert!(written > MESSAGES * size);
            assert!(found.largest < 16 << 10, "no room for a payload is asked for: {found:?}");
            // The disposition itself, and its list, which grows to its size; with shared pieces between the heads a block for these once in a while.
            let turn = if size < Output::SHARE_MIN { 12 } else { 20 };
            assert!(found.count <= turn, "{role}, {qos:?}, {size} B: {found:?}");
        }
    }
}

#[test]
fn a_payload_of_16_kib_is_not_copied_on_its_way_through_the_machines() {
    for ((role, (mut receives, _)), (_, (mut sends, link))) in roles(true).into_iter().zip(roles(false)) {
        let (messages, found, chunk) = received(&mut receives, 16 << 10, false);
        assert!(found.largest < 16 << 10, "{role}: {found:?}");
        let mut out = Output::new();
        for message in &messages {
            let [payload] = message.payload().shared().expect("too long to be inline") else { panic!("one piece") };
            assert!(chunk.as_ptr_range().contains(&payload.as_ptr()), "it lies in the read buffer");
            let delivery = delivery(message, Qos::AtMostOnce, 1);
            let sent = || sends.deliver(link, &delivery, Sending::default(), NOW, &mut Losses::default(), &mut out);
            let (_, found) = count(sent);
            assert!(found.largest < 16 << 10, "{role}: {found:?}");
            assert!(
                out.shared().any(|piece| piece.as_ptr() == payload.as_ptr()),
                "it is written from where it was read"
            );
            flush(&mut out);
        }
    }
}
