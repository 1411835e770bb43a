//! Bytes that are not AMQP, and values that are too much.

use super::wire::*;
use crate::support::Hub;

#[test]
fn frames_of_impossible_sizes() {
    let hub = Hub::start();
    let begin = begin();
    for size in (0..8).chain([(64 << 10) + 1, 1 << 31, u32::MAX]) {
        let mut peer = Peer::connect(&hub.amqp);
        peer.say(&raw_frame(size, 2, 0, 1, &begin));
        peer.closed("amqp:connection:framing-error");
        // The same before anything is open.
        let mut peer = Peer::silent(&hub.amqp);
        peer.say(&[HEADER, &raw_frame(size, 2, 0, 0, &open())].concat());
        peer.header();
        assert_eq!(peer.frame().code, OPEN, "a close needs an open before it");
        peer.closed("amqp:connection:framing-error");
    }
    for offset in [0, 1, 255] {
        let mut peer = Peer::connect(&hub.amqp);
        peer.say(&raw_frame(begin.len() as u32 + 8, offset, 0, 1, &begin));
        peer.closed("amqp:connection:framing-error");
    }
    let mut peer = Peer::connect(&hub.amqp);
    peer.say(&raw_frame(begin.len() as u32 + 8, 2, 7, 1, &begin));
    peer.closed("amqp:connection:framing-error");
    hub.serves_others();
}

#[test]
fn beginnings_that_are_not_amqp() {
    let hub = Hub::start();
    for header in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"AMQP\x00\x00\x09\x01",
        b"AMQP\x01\x01\x00\x00",
        &[0; 8],
        b"AMQX\x00\x01\x00\x00",
    ] {
        let mut peer = Peer::silent(&hub.amqp);
        peer.say(header);
        assert!([HEADER, SASL].contains(&&peer.header()[..]), "the hub says what it speaks");
        peer.hung_up();
    }
    hub.serves_others();
}

#[test]
fn values_nested_in_every_performative() {
    let hub = Hub::start();
    let (kilobytes, large) = (7 << 10, 63 << 10);
    for code in [OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE] {
        for value in
            [nested_lists(kilobytes), nested_descriptions(kilobytes), nested_lists(large), nested_descriptions(large)]
        {
            for field in [0, 4, 13] {
                let mut fields = vec![null(); field];
                fields.push(value.clone());
                let mut peer = Peer::connect(&hub.amqp);
                peer.send(0, &composite(code, &fields));
                peer.closed("amqp:decode-error");
            }
        }
    }
    for value in [nested_lists(kilobytes), nested_descriptions(kilobytes)] {
        let mut peer = Peer::silent(&hub.amqp);
        peer.say(&[HEADER, &frame(0, &composite(OPEN, &[text("x"), map(&[symbol("k"), value.clone()])]))].concat());
        peer.header();
        assert_eq!(peer.frame().code, OPEN);
        peer.closed("amqp:decode-error");
        let mut peer = Peer::silent(&hub.amqp);
        let init = composite(0x41, &[symbol("PLAIN"), value]);
        peer.say(&[SASL, &raw_frame(init.len() as u32 + 8, 2, 1, 0, &init)].concat());
        peer.header();
        peer.frame();
        peer.hung_up();
    }
    hub.serves_others();
}

#[test]
fn values_nested_in_every_section_of_a_message() {
    let hub = Hub::start();
    let mut peer = Peer::connect(&hub.amqp);
    peer.sender(0, "queues/nested");
    let mut number = 0;
    for section in [0x70, 0x71, 0x72, 0x73, 0x74, 0x76, 0x77, 0x78] {
        for value in
            [nested_lists(7 << 10), nested_descriptions(7 << 10), nested_lists(60 << 10), nested_descriptions(60 << 10)]
        {
            let value = match section {
                0x70 | 0x73 => list(&[value]),
                0x71 | 0x72 | 0x74 | 0x78 => map(&[symbol("k"), value]),
                _ => value,
            };
            let whole = [described(section, &value), message(b"x")].concat();
            peer.send(0, &transfer(0, number, false, &whole));
            let answer = peer.until(DISPOSITION);
            assert!(answer.says("amqp:decode-error"), "section {section:#x}: {answer:?}");
            number += 1;
        }
    }
    peer.put(0, number, b"the link goes on");
    hub.serves_others();
}

#[test]
fn values_nested_in_declare_and_discharge() {
    let hub = Hub::start();
    for code in [0x31, 0x32] {
        for value in [nested_lists(7 << 10), nested_descriptions(60 << 10)] {
            let mut peer = Peer::connect(&hub.amqp);
            peer.send(0, &attach_controller("control", 0));
            peer.until(FLOW);
            peer.send(0, &transfer(0, 0, false, &described(0x77, &composite(code, &[value]))));
            let answer = peer.frame();
            assert!(matches!(answer.code, DISPOSITION | DETACH), "{answer:?}");
            assert!(answer.says("amqp:decode-error"), "{answer:?}");
        }
    }
    hub.serves_others();
}

#[test]
fn lengths_and_counts_that_lie() {
    let hub = Hub::start();
    let before = hub.resident();
    for code in [0xb0, 0xb1, 0xb3, 0xd0, 0xd1, 0xf0] {
        for length in [1 << 20, 1 << 31, u32::MAX] {
            for count in [1_u32, 1 << 31, u32::MAX] {
                let lie = [&[code][..], &length.to_be_bytes(), &count.to_be_bytes(), &[0x40; 64]].concat();
                let told = [&[code][..], &68_u32.to_be_bytes(), &count.to_be_bytes(), &[0x40; 64]].concat();
                for value in [lie, told] {
                    if value[1..5] == 68_u32.to_be_bytes() && code < 0xd0 {
                        continue; // a string or binary of that length is what it says
                    }
                    let mut peer = Peer::connect(&hub.amqp);
                    peer.send(
                        0,
                        &composite(BEGIN, &[null(), uint(0), uint(1), uint(1), null(), null(), null(), value]),
                    );
                    peer.closed("amqp:decode-error");
                }
            }
        }
    }
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}

/// An array of four billion nothings takes five bytes; so do lists in lists of them.
#[test]
fn many_values_in_few_bytes() {
    let hub = Hub::start();
    let before = hub.resident();
    let nothings = |count: u32| [&[0xf0][..], &5_u32.to_be_bytes(), &count.to_be_bytes(), &[0x40]].concat();
    for count in [1 << 15, 1 << 31, u32::MAX] {
        let mut peer = Peer::connect(&hub.amqp);
        peer.send(0, &composite(BEGIN, &[null(), uint(0), uint(1), uint(1), null(), nothings(count)]));
        peer.closed("amqp:decode-error");
        let mut peer = Peer::connect(&hub.amqp);
        peer.sender(0, "queues/nothings");
        let properties = described(0x74, &map(&[text("k"), nothings(count)]));
        peer.send(0, &transfer(0, 0, false, &[properties, message(b"x")].concat()));
        assert!(peer.until(DISPOSITION).says("amqp:decode-error"));
    }
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}

#[test]
fn everything_cut_short_anywhere() {
    let hub = Hub::start();
    let frames = [
        begin(),
        attach_sender("a", 1, "queues/cut"),
        flow(0, 0, 10, true),
        transfer_as(0, 0, false, composite(0x34, &[binary(&[0; 8]), accepted()]), b""),
        disposition(true, 0, 1, accepted()),
        composite(DETACH, &[uint(0), boolean(true)]),
        composite(END, &[composite(0x1d, &[symbol("a"), text("b")])]),
        composite(CLOSE, &[composite(0x1d, &[symbol("a"), text("b")])]),
    ];
    for body in frames {
        for end in 1..body.len() {
            let mut peer = Peer::connect(&hub.amqp);
            peer.send(1, &body[..end]);
            peer.closed("amqp:decode-error");
        }
    }
    let whole = [
        described(0x70, &list(&[boolean(true), vec![0x50, 4]])),
        described(0x73, &list(&[text("id")])),
        message(b"payload"),
    ];
    let whole = whole.concat();
    let mut peer = Peer::connect(&hub.amqp);
    peer.sender(0, "queues/cut");
    for end in 1..whole.len() {
        peer.send(0, &transfer(0, end as u32, false, &whole[..end]));
        let answer = peer.until(DISPOSITION);
        // Cut between two sections, it is a message without a body.
        assert!(
            answer.says("amqp:decode-error") || answer.body.ends_with(&[0x45]) || !answer.says("amqp:"),
            "{answer:?}"
        );
    }
    peer.put(0, 10_000, b"the link goes on");
    hub.serves_others();
}

#[test]
fn what_does_not_belong_here() {
    let hub = Hub::start();
    let connected = || Peer::connect(&hub.amqp);
    let mut peer = connected();
    peer.send(0, &begin());
    peer.closed("amqp:connection:framing-error"); // a session is there
    let mut peer = connected();
    peer.send(0, &open());
    peer.closed("amqp:illegal-state");
    let mut peer = connected();
    peer.send(9, &attach_sender("a", 0, "queues/a"));
    peer.closed("amqp:connection:framing-error"); // no session is there
    let mut peer = connected();
    peer.send(0, &composite(0x41, &[symbol("PLAIN")]));
    peer.closed("amqp:decode-error"); // SASL after open
    let mut peer = Peer::silent(&hub.amqp);
    peer.say(&[HEADER, &frame(0, &begin())].concat());
    peer.header();
    assert_eq!(peer.frame().code, OPEN);
    peer.closed("amqp:illegal-state");

    let mut peer = Peer::with_sessions(&hub.amqp, 2);
    for (unknown, condition) in [
        (transfer(7, 0, false, b""), "amqp:session:unattached-handle"),
        (flow(7, 0, 1, false), "amqp:session:unattached-handle"),
    ] {
        peer.send(1, &unknown);
        let end = peer.until(END);
        assert!(end.says(condition), "{condition}: {end:?}");
        peer.send(1, &composite(END, &[]));
        peer.send(1, &begin());
        peer.until(BEGIN);
    }
    // Both ends may detach at once: one too many does no harm.
    peer.send(1, &composite(DETACH, &[uint(7), boolean(true)]));
    peer.sender(0, "queues/beside");
    peer.put(0, 0, b"the other session goes on");
    hub.serves_others();
}
