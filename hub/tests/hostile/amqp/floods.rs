//! Well-formed AMQP, and too much of it.

use std::io::Read;
use std::time::{Duration, Instant};

use super::wire::*;
use crate::support::{Hub, PATIENCE};

/// One open, one session, and ten links, of which nine have nothing to do with the tenth: it stalls, they go on.
#[test]
fn one_stalled_link_of_ten() {
    let hub = Hub::start();
    let (mut receiver, mut sender) = (Peer::connect(&hub.amqp), Peer::connect(&hub.amqp));
    for handle in 0..10 {
        sender.sender(handle, &format!("queues/lane{handle}"));
        // The first is granted five messages and settles none of them.
        receiver.receiver(handle, &format!("queues/lane{handle}"), if handle == 0 { 5 } else { 1 << 20 });
    }
    let (rounds, mut number) = (200, 0);
    for _ in 0..rounds {
        for handle in 0..10 {
            sender.put(handle, number, &[handle as u8; 200]);
            number += 1;
        }
    }
    let mut seen = [0; 10];
    while seen[1..].iter().any(|&count| count < rounds) {
        let got = receiver.until(TRANSFER);
        let handle = *got.body.last().expect("a payload") as usize;
        seen[handle] += 1;
        assert!(handle > 0 || seen[0] <= 5, "never more than its credit");
    }
    hub.serves_others();
}

#[test]
fn dispositions_of_all_numbers() {
    let hub = Hub::start();
    let mut peer = Peer::connect(&hub.amqp);
    peer.sender(0, "queues/ranges");
    peer.receiver(1, "queues/ranges", 1000);
    for number in 0..100 {
        peer.put(0, number, b"x");
    }
    let before = hub.processor_time();
    for (receives, state) in [(true, accepted()), (true, null()), (false, null()), (false, accepted())] {
        let one = frame(0, &disposition(receives, 0, u32::MAX, state));
        let many = one.repeat(1000);
        for _ in 0..10 {
            peer.say(&many);
        }
    }
    peer.put(0, 100, b"answered after all of them");
    let spent = hub.processor_time() - before;
    // 40,000 frames, in a build without optimizations: one walk over all numbers alone would take longer.
    assert!(spent < Duration::from_secs(15), "{spent:?}");
    hub.serves_others();
}

#[test]
fn a_message_without_end() {
    let hub = Hub::with("[amqp]\nmessage_bytes_max = 1048576\n");
    let before = hub.resident();
    let mut peer = Peer::connect(&hub.amqp);
    peer.sender(0, "queues/endless");
    peer.sender(1, "queues/beside");
    let piece = message(&vec![7; 60 << 10]);
    for _ in 0..200 {
        peer.send(0, &transfer(0, 0, true, &piece));
    }
    let detach = peer.until(DETACH);
    assert!(detach.says("amqp:link:message-size-exceeded"), "{detach:?}");
    peer.put(1, 1, b"the session goes on");
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}

/// Each message stays below its bound; all together do not.
#[test]
fn many_messages_without_end() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut peer = Peer::connect(&hub.amqp);
    for handle in 0..60 {
        peer.sender(handle, &format!("queues/endless{handle}"));
    }
    let piece = vec![7; 60 << 10];
    let mut refused = false;
    for round in 0..200 {
        for handle in 0..60 {
            refused |= !peer.try_say(&frame(0, &transfer(handle, handle, true, &piece)));
        }
        if round % 20 == 19 {
            let grown = hub.resident().saturating_sub(before);
            assert!(grown < 192 << 20, "{grown} bytes after {round} rounds");
        }
    }
    if !refused {
        let detach = peer.until(DETACH);
        assert!(detach.says("amqp:resource-limit-exceeded"), "{detach:?}");
    }
    hub.serves_others();
}

/// A frame for each byte, or for none at all.
#[test]
fn messages_in_tiny_pieces() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut peer = Peer::connect(&hub.amqp);
    peer.sender(0, "queues/tiny");
    peer.sender(1, "queues/tinier");
    let (one, none) = (frame(0, &transfer(0, 0, true, b"x")), frame(0, &transfer(1, 1, true, b"")));
    let pieces = [one, none].concat().repeat(500);
    for _ in 0..400 {
        peer.say(&pieces);
    }
    peer.send(0, &transfer(1, 1, false, &message(b"whole")));
    peer.until(DISPOSITION);
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes for 200 KB");
    hub.serves_others();
}

#[test]
fn twenty_thousand_links() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut peer = Peer::with_sessions(&hub.amqp, 5);
    let (mut granted, mut ended) = (0, Vec::new());
    for n in 0..20_000 {
        let channel = (n / 4000) as u16;
        peer.send(channel, &attach_receiver(&format!("{n}"), n % 4000, "queues/linked"));
        // A session that asks for more than the connection may have has ended, with what it had.
        if !ended.contains(&channel) {
            let answer = peer.frame();
            match answer.code {
                ATTACH => granted += 1,
                _ => {
                    assert!(answer.code == END && answer.says("amqp:resource-limit-exceeded"), "{answer:?}");
                    assert_eq!(answer.channel, channel);
                    ended.push(channel);
                }
            }
        }
    }
    // The four thousand of the first session, and for each further session what is left of 4,096.
    assert_eq!((granted, ended), (4000 + 4 * 96, vec![1, 2, 3, 4]));
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    peer.send(0, &attach_receiver("above", 4096, "queues/linked"));
    peer.closed("amqp:connection:framing-error");
    hub.serves_others();
}

#[test]
fn sixty_five_thousand_sessions() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut peer = Peer::connect(&hub.amqp);
    let begins: Vec<u8> = (1..=u16::MAX).flat_map(|channel| frame(channel, &begin())).collect();
    peer.try_say(&begins);
    let mut begun = 0;
    loop {
        match peer.frame() {
            frame if frame.code == BEGIN => begun += 1,
            frame => {
                assert!(frame.code == CLOSE && frame.says("amqp:connection:framing-error"), "{frame:?}");
                break;
            }
        }
    }
    assert_eq!(begun, 63, "and the first one");
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}

#[test]
fn silent_and_slow_connections() {
    let hub = Hub::with("[amqp]\nopen_timeout_seconds = 2\n");
    let started = Instant::now();
    let slow_open = frame(0, &open());
    let beginnings: [&[u8]; 5] = [b"", b"AMQP", HEADER, SASL, &[HEADER, &slow_open[..slow_open.len() - 1]].concat()];
    let mut held: Vec<Peer> = (0..300)
        .map(|n| {
            let mut peer = Peer::silent(&hub.amqp);
            peer.say(beginnings[n % beginnings.len()]);
            peer
        })
        .collect();
    // One byte after the other, and never a whole open.
    let mut drip = Peer::silent(&hub.amqp);
    let mut bytes = [HEADER, &frame(0, &composite(OPEN, &[text(&"x".repeat(4000))]))].concat().into_iter();
    while drip.try_say(&[bytes.next().expect("it takes too long before they are all said")]) {
        std::thread::sleep(Duration::from_millis(5));
        hub_is_patient(started);
    }
    for peer in &mut held {
        let ended = std::io::copy(&mut peer.stream, &mut std::io::sink());
        assert!(ended.is_ok() || peer.stream.read(&mut [0]).is_err(), "the hub closes what stays silent");
    }
    hub.serves_others();
}

fn hub_is_patient(since: Instant) {
    assert!(since.elapsed() < PATIENCE, "the hub waits for ever");
}

#[test]
fn transactions_that_are_never_discharged() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut peer = Peer::connect(&hub.amqp);
    peer.send(0, &attach_controller("control", 0));
    peer.until(FLOW);
    let declare = described(0x77, &composite(0x31, &[]));
    let (mut declared, mut refused) = (Vec::new(), 0);
    for number in 0..1000 {
        peer.send(0, &transfer(0, number, false, &declare));
        let answer = peer.until(DISPOSITION);
        match answer.body.windows(3).position(|window| window == [0x00, 0x53, 0x33]) {
            Some(at) => declared.push(answer.body[at..].to_vec()),
            None => {
                assert!(answer.says("amqp:resource-limit-exceeded"), "{answer:?}");
                refused += 1;
            }
        }
    }
    assert!(!declared.is_empty() && refused >= 900, "{} declared, {refused} refused", declared.len());
    // One of them takes messages without end.
    let id = declared[0].windows(10).find(|window| window[0] == 0xa0 && window[1] == 8).expect("an id")[2..].to_vec();
    peer.sender(1, "queues/posted");
    let (payload, mut number, mut full) = (vec![7; 32 << 10], 1000, false);
    for _ in 0..20_000 {
        let state = composite(0x34, &[binary(&id)]);
        peer.send(0, &transfer_as(1, number, false, state, &message(&payload)));
        let answer = peer.frame();
        number += 1;
        if answer.says("amqp:resource-limit-exceeded") || answer.says("rollback") {
            full = true;
            break;
        }
    }
    assert!(full, "640 MB are in one transaction");
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes");
    drop(peer);
    hub.serves_others();
}

#[test]
fn a_flood_of_credit() {
    let hub = Hub::start();
    let mut peer = Peer::connect(&hub.amqp);
    peer.receiver(0, "queues/credit", 1);
    let before = (hub.resident(), hub.processor_time());
    let one: Vec<u8> =
        [u32::MAX, 0, 1 << 31, 1].iter().flat_map(|&credit| frame(0, &flow(0, 0, credit, false))).collect();
    let many = one.repeat(1000);
    for _ in 0..10 {
        peer.say(&many);
    }
    peer.sender(1, "queues/beside");
    peer.put(1, 0, b"answered after all of them");
    let (grown, spent) = (hub.resident().saturating_sub(before.0), hub.processor_time() - before.1);
    assert!(grown < 32 << 20 && spent < Duration::from_secs(15), "{grown} bytes, {spent:?}");
    hub.serves_others();
}

#[test]
fn a_flood_of_questions_whose_answers_nobody_reads() {
    let hub = Hub::start();
    let before = hub.resident();
    let mut peer = Peer::connect(&hub.amqp);
    peer.receiver(0, "queues/echo", 1);
    peer.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a socket option");
    let many = frame(0, &flow(0, 0, 1, true)).repeat(1000);
    let stopped = (0..20_000).any(|_| !peer.try_say(&many));
    assert!(stopped, "the hub has read a gigabyte of questions whose answers nobody reads");
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    hub.serves_others();
}

#[test]
fn deliveries_that_are_never_answered() {
    let hub = Hub::start();
    let (mut holder, mut sender) = (Peer::connect(&hub.amqp), Peer::connect(&hub.amqp));
    holder.receiver(0, "queues/held", u32::MAX);
    sender.sender(0, "queues/held");
    let before = hub.resident();
    for number in 0..5000 {
        sender.put(0, number, b"held");
        assert_eq!(holder.until(TRANSFER).code, TRANSFER);
    }
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes for 5,000 small messages");
    // Who lets go of them all at once gives them back.
    drop(holder);
    let mut other = Peer::connect(&hub.amqp);
    other.receiver(0, "queues/held", 5000);
    for _ in 0..5000 {
        other.until(TRANSFER);
    }
    hub.serves_others();
}

#[test]
fn attaches_with_large_properties() {
    let hub = Hub::start();
    let before = hub.resident();
    let properties = |bytes: usize| map(&[symbol("x"), text(&"x".repeat(bytes))]);
    let large = |handle: u32, bytes| {
        let more = [null(), boolean(false), uint(0), null(), null(), null(), properties(bytes)];
        let ends = [composite(0x28, &[]), terminus(0x29, "queues/large")];
        attach(&format!("link {handle}"), handle, false, &ends, &more)
    };
    let mut peer = Peer::connect(&hub.amqp);
    for handle in 0..1000 {
        peer.send(0, &large(handle, 60 << 10));
        peer.until(ATTACH);
    }
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes: nobody asked for what they say");
    let mut boaster = Peer::connect(&hub.amqp);
    boaster.try_say(&frame(0, &large(0, 1 << 20)));
    boaster.closed("amqp:connection:framing-error");
    peer.until(FLOW);
    hub.serves_others();
}

/// Links come and go while thousands of deliveries wait for an answer.
#[test]
fn links_that_come_and_go() {
    let hub = Hub::start();
    let mut peer = Peer::connect(&hub.amqp);
    let before = (hub.resident(), hub.processor_time());
    for n in 0..2000 {
        peer.send(0, &attach_sender(&format!("{n}"), 0, "queues/coming"));
        peer.send(0, &composite(DETACH, &[uint(0), boolean(true)]));
        peer.until(DETACH);
    }
    let (grown, spent) = (hub.resident().saturating_sub(before.0), hub.processor_time() - before.1);
    assert!(grown < 16 << 20 && spent < Duration::from_secs(20), "{grown} bytes, {spent:?}");
    hub.serves_others();
}
