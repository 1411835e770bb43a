//! What hostile peers do.

use super::*;

#[test]
fn deep_nesting_closes_the_connection() {
    for body in [[0x00].repeat(5000), [&[0x00, 0x53, 0x11][..], &[0x00].repeat(5000)].concat()] {
        let mut pair = Pair::open(1 << 20);
        let failed = pair.inject(&raw_frame(0, &body));
        assert_eq!(failed, Err(Error::Decode(DecodeError::TooDeep(32))));
        closed_with(&mut pair, "amqp:decode-error");
    }
}

#[test]
fn impossible_frames_close_the_connection() {
    for (bytes, error) in [
        (&[0, 0, 0, 4, 2, 0, 0, 0][..], DecodeError::FrameTooSmall(4)),
        (&[0, 0, 0, 0, 2, 0, 0, 0], DecodeError::FrameTooSmall(0)),
        (&[255, 255, 255, 255], DecodeError::FrameTooLarge { bytes: u32::MAX, bytes_max: 65_536 }),
        (&[0, 0, 0, 8, 0, 0, 0, 0], DecodeError::DataOffset(0)),
        (&[0, 0, 0, 8, 255, 0, 0, 0], DecodeError::DataOffset(255)),
    ] {
        let mut pair = Pair::open(1 << 20);
        assert_eq!(pair.inject(bytes), Err(Error::Decode(error)));
        closed_with(&mut pair, "amqp:connection:framing-error");
    }
}

#[test]
fn a_truncated_open_is_answered_with_open_and_close() {
    let mut pair = Pair::connecting(MachineConfig::default().sasl_required(false), MachineConfig::default(), None, 8);
    pair.said();
    pair.to_server = Default::default();
    let bytes = [&ProtocolHeader::Amqp.bytes()[..], &raw_frame(0, &[0x00, 0x53, 0x10, 0xc0, 9, 1, 0xa1, 5])].concat();
    assert_eq!(pair.inject(&bytes), Err(Error::Decode(DecodeError::Truncated)));
    assert_eq!(pair.said().get(..8), Some(&ProtocolHeader::Amqp.bytes()[..]));
}

#[test]
fn a_disposition_of_all_numbers_costs_nothing() {
    let mut pair = Pair::open(1 << 20);
    let (session, theirs) = pair.session();
    let (_, link) = pair.link(session, receiver("r", "queues/q"));
    pair.client.grant(LinkId { session, handle: 0 }, 10, false, None, &mut pair.to_server).expect("attached");
    pair.at_server();
    for slot in 1..=3 {
        let sent = delivery("x", Some(slot));
        let sending = Sending { cookie: Some(slot.into()), ..Sending::default() };
        pair.server
            .deliver(link, &sent, sending, support::START, &mut Losses::default(), &mut pair.to_client)
            .expect("credit");
    }
    let all = |first, last| {
        let state = Some(State::Accepted);
        Performative::Disposition(roadbed_amqp::codec::Disposition {
            role: roadbed_core::Role::Receiver,
            first,
            last: Some(last),
            settled: true,
            state,
            batchable: false,
        })
    };
    let mut frames = bytes::BytesMut::new();
    put_frame(&mut frames, theirs.0, &all(0, u32::MAX));
    for _ in 0..10_000 {
        put_frame(&mut frames, theirs.0, &all(1 << 31, (1 << 31) - 1));
    }
    let events = pair.inject(&frames).expect("legal");
    let [Event::Disposed(disposed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(disposed.deliveries.len(), 3, "clipped to what is not settled");
}

#[test]
fn a_sender_that_never_settles_gets_no_more_credit() {
    let mut pair = Pair::open(64);
    let (session, _) = pair.session();
    let (ours, theirs) = pair.link(session, second(sender("s", "queues/q")));
    pair.grant(theirs, 1);
    pair.send(ours, &delivery("x", Some(1))).expect("credit");
    let came = transfer(pair.at_server());
    pair.server.answer(theirs.session, came.delivery, State::Accepted, &mut pair.to_client);
    assert_eq!(pair.server.unanswered(theirs), 1, "kept until the sender has settled");
    pair.server.flush(&mut pair.to_client);
    pair.at_client();
    pair.client.forget(session, 0, None, &mut pair.to_server);
    pair.client.flush(&mut pair.to_server);
    pair.at_server();
    assert_eq!(pair.server.unanswered(theirs), 0);
}

#[test]
fn links_of_all_sessions_are_bounded_together() {
    let config = MachineConfig::default().links_max(2);
    let mut pair = Pair::open_with(config, MachineConfig::default(), 1 << 20);
    let (first, _) = pair.session();
    let (second, theirs) = pair.session();
    pair.link(first, sender("a", "queues/q"));
    pair.link(second, sender("b", "queues/q"));
    pair.client
        .attach(second, sender("c", "queues/q"), &UnsettledMap::new(), &mut pair.to_server)
        .expect("our client counts by session");
    let Event::End(ended, Some(fault)) = one(pair.at_server()) else { panic!("the session ends") };
    assert_eq!((ended, &*fault.condition), (theirs, "amqp:resource-limit-exceeded"));
}

#[test]
fn links_and_sessions_are_bounded() {
    let mut pair =
        Pair::open_with(MachineConfig::default().links_max(2).sessions_max(2), MachineConfig::default(), 1 << 20);
    let (session, _) = pair.session();
    pair.link(session, sender("a", "queues/q"));
    pair.link(session, sender("b", "queues/q"));
    let refused = pair.client.attach(session, sender("c", "queues/q"), &UnsettledMap::new(), &mut pair.to_server);
    assert_eq!(refused, Err(SendError::Exhausted), "our client keeps the peer's limit");
    let attach = Attach { handle: 2.into(), ..sender("c", "queues/q") };
    let mut frames = bytes::BytesMut::new();
    put_frame(&mut frames, session.0, &Performative::Attach(Box::new(attach)));
    assert_eq!(pair.inject(&frames), Err(Error::Handle(2)));
    closed_with(&mut pair, "amqp:connection:framing-error");
    let mut pair = Pair::open_with(MachineConfig::default().sessions_max(2), MachineConfig::default(), 1 << 20);
    pair.session();
    pair.session();
    assert_eq!(pair.client.begin(&mut pair.to_server), Err(SendError::Exhausted));
}

#[test]
fn endless_messages_end_at_the_limit() {
    let config = MachineConfig::default().message_bytes_max(10_000).incoming_window(8);
    let mut pair = Pair::open_with(config, MachineConfig::default(), 1 << 20);
    let (session, theirs) = pair.session();
    let (_, link) = pair.link(session, sender("s", "queues/q"));
    pair.grant(link, 1);
    let begin = Transfer { delivery_id: Some(0), delivery_tag: Tag::new(b"t"), more: true, ..Transfer::default() };
    let mut events = pair.inject(&transfer_frame(theirs.0, begin, &[1; 100])).expect("legal");
    for _ in 0..200 {
        let more = Transfer { more: true, ..Transfer::default() };
        events.extend(pair.inject(&transfer_frame(theirs.0, more, &[1; 100])).expect("legal"));
    }
    let Event::Detach(gone, detached) = one(events) else { panic!("detached once") };
    assert_eq!(gone, link);
    assert_eq!(detached.fault.expect("why").condition, "amqp:link:message-size-exceeded");
}

#[test]
fn unfinished_messages_are_bounded_over_all_links() {
    let config = MachineConfig::default().message_bytes_max(1000).partial_bytes_max(1000);
    let mut pair = Pair::open_with(config, MachineConfig::default(), 1 << 20);
    let (session, theirs) = pair.session();
    let links: Vec<_> = ["a", "b", "c"].map(|name| pair.link(session, sender(name, "queues/q")).1).into();
    links.iter().for_each(|&link| pair.grant(link, 10));
    let mut number = 0;
    let mut piece = |pair: &mut Pair, link: usize, bytes: usize, more: bool, aborted: bool| {
        let fresh = Transfer { delivery_id: Some(number), delivery_tag: Tag::new(b"t"), ..Transfer::default() };
        let begins = bytes > 0;
        number += u32::from(begins);
        let transfer = if begins { fresh } else { Transfer::default() };
        let transfer = Transfer { handle: links[link].handle, more, aborted, ..transfer };
        pair.inject(&transfer_frame(theirs.0, transfer, &vec![0; bytes])).expect("legal")
    };
    // What was aborted, and what became whole, does not count.
    for _ in 0..5 {
        assert_eq!(piece(&mut pair, 0, 900, true, false), []);
        assert_eq!(piece(&mut pair, 0, 0, false, true), []);
        assert_eq!(piece(&mut pair, 1, 900, true, false), []);
        assert!(matches!(one(piece(&mut pair, 1, 0, false, false)), Event::Transfer(_)));
    }
    assert_eq!(piece(&mut pair, 0, 600, true, false), []);
    let Event::Detach(gone, detached) = one(piece(&mut pair, 1, 600, true, false)) else { panic!("detached") };
    assert_eq!((gone, &*detached.fault.expect("why").condition), (links[1], "amqp:resource-limit-exceeded"));
    assert_eq!(piece(&mut pair, 2, 400, true, false), [], "what the link held is gone with it");
}

#[test]
fn transfers_without_a_link_or_credit_or_tag_are_refused() {
    let first = Transfer { delivery_id: Some(0), delivery_tag: Tag::new(b"t"), ..Transfer::default() };
    for (credit, transfer, condition) in [
        (1, Transfer { handle: 9, ..first.clone() }, "amqp:session:unattached-handle"),
        (0, first.clone(), "amqp:link:transfer-limit-exceeded"),
        (1, Transfer { delivery_tag: None, ..first }, "amqp:invalid-field"),
    ] {
        let mut pair = Pair::open(1 << 20);
        let (session, theirs) = pair.session();
        let (_, link) = pair.link(session, sender("s", "queues/q"));
        pair.grant(link, credit);
        let fault = match one(pair.inject(&transfer_frame(theirs.0, transfer, b"")).expect("the connection stands")) {
            Event::End(_, fault) | Event::Detach(_, roadbed_amqp::Detached { fault, .. }) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault.expect("why").condition, condition);
        assert_eq!(pair.at_client().len(), 1, "the client is told");
        assert_eq!(pair.at_server(), [], "and has answered");
        pair.session();
    }
}

#[test]
fn the_session_window_is_kept() {
    let mut pair = Pair::open_with(MachineConfig::default().incoming_window(0), MachineConfig::default(), 1 << 20);
    let (session, theirs) = pair.session();
    let (ours, link) = pair.link(session, sender("s", "queues/q"));
    assert_eq!(pair.client.room(ours), 0);
    let _ = link;
    let first = Transfer { delivery_id: Some(0), delivery_tag: Tag::new(b"t"), ..Transfer::default() };
    let events = pair.inject(&transfer_frame(theirs.0, first, b"")).expect("the connection stands");
    let Event::End(_, Some(fault)) = one(events) else { panic!("ended") };
    assert_eq!(fault.condition, "amqp:session:window-violation");
}

#[test]
fn aborted_messages_are_forgotten() {
    let mut pair = Pair::open(1 << 20);
    let (session, theirs) = pair.session();
    let (_, link) = pair.link(session, sender("s", "queues/q"));
    pair.grant(link, 2);
    let begin = Transfer { delivery_id: Some(0), delivery_tag: Tag::new(b"t"), more: true, ..Transfer::default() };
    let abort = Transfer { aborted: true, ..Transfer::default() };
    let next = Transfer { delivery_id: Some(1), delivery_tag: Tag::new(b"u"), ..Transfer::default() };
    let frames = [
        transfer_frame(theirs.0, begin, b"void"),
        transfer_frame(theirs.0, abort, b""),
        transfer_frame(theirs.0, next, b"whole"),
    ];
    let came = transfer(pair.inject(&frames.concat()).expect("legal"));
    assert_eq!((came.delivery, &came.pieces[..]), (1, &[Bytes::from("whole")][..]));
    assert_eq!(pair.server.unanswered(link), 1);
}

#[test]
fn too_little_is_refused() {
    for client in [
        MachineConfig::default().frame_bytes_max(100),
        MachineConfig::default().idle_timeout(Duration::from_millis(20)),
    ] {
        let config = MachineConfig::default().sasl_required(false);
        let mut pair = Pair::connecting(config, client, None, 64);
        assert!(matches!(pair.try_at_server(), Err(Error::TooLittle(_))));
    }
}

#[test]
fn frames_on_unknown_channels_and_second_opens_close_the_connection() {
    let mut pair = Pair::open(64);
    assert_eq!(pair.inject(&transfer_frame(7, Transfer::default(), b"")), Err(Error::Channel(7)));
    let mut pair = Pair::open(64);
    let (session, _) = pair.session();
    let begin = raw_frame(session.0, &[0x00, 0x53, 0x11, 0xc0, 5, 4, 0x40, 0x43, 0x43, 0x43]);
    assert_eq!(pair.inject(&begin), Err(Error::Channel(session.0)));
    let mut pair = Pair::open(64);
    let open = raw_frame(0, &[0x00, 0x53, 0x10, 0xc0, 4, 1, 0xa1, 1, b'x']);
    assert_eq!(pair.inject(&open), Err(Error::Unexpected("a second open")));
}

#[test]
fn an_outcome_is_said_in_every_form() {
    let mut pair = Pair::open(9);
    let (session, _) = pair.session();
    let (ours, theirs) = pair.link(session, sender("s", "queues/q"));
    pair.grant(theirs, 10);
    let all = [Outcome::Accepted, Outcome::Released, Outcome::FAILED, Outcome::rejected(roadbed_core::Condition::Full)];
    for outcome in all {
        pair.send(ours, &delivery("x", Some(1))).expect("credit");
        let came = transfer(pair.at_server());
        let state = roadbed_amqp::dialect::outcome_state(&outcome);
        pair.server.answer(theirs.session, came.delivery, state, &mut pair.to_client);
        pair.server.flush(&mut pair.to_client);
        let Event::Disposed(disposed) = one(pair.at_client()) else { panic!("an answer") };
        assert_eq!(roadbed_amqp::dialect::outcome(&disposed.state.expect("a state")), Some(outcome));
    }
}
