//! What both ends do in good order.

use super::*;

#[test]
fn opens_by_every_mechanism_and_closes() {
    everywhere(|piece| {
        let plain = Sasl::Plain { user: "dev".into(), password: "secret".into() };
        let mechanisms = ["PLAIN", "ANONYMOUS", "EXTERNAL"].map(String::from).to_vec();
        for (sasl, name, said) in
            [(plain, "PLAIN", "\0dev\0secret"), (Sasl::Anonymous, "ANONYMOUS", ""), (Sasl::External, "EXTERNAL", "")]
        {
            let config = MachineConfig::default().mechanisms(mechanisms.clone());
            let mut pair = Pair::connecting(config, MachineConfig::default(), Some(sasl), piece);
            assert_eq!(pair.at_server(), []);
            assert_eq!(pair.at_client(), []);
            let asked = one(pair.at_server());
            assert_eq!(asked, Event::Sasl { mechanism: name.into(), response: Some(Bytes::from(said)) });
            pair.server.admit(Admission::Admitted(None), &mut pair.to_client).expect("asked");
            assert_eq!(pair.at_client(), []);
            assert!(matches!(one(pair.at_server()), Event::Open(open) if open.hostname.as_deref() == Some("host")));
            pair.server.open(&mut pair.to_client).expect("asked");
            assert!(matches!(one(pair.at_client()), Event::Open(_)));
            pair.client.close(None, &mut pair.to_server).expect("open");
            assert_eq!(one(pair.at_server()), Event::Close(None));
            assert_eq!(one(pair.at_client()), Event::Close(None));
            assert!(pair.server.is_closed() && pair.client.is_closed());
        }
    });
}

#[test]
fn a_client_that_is_not_admitted_is_told() {
    let mut pair = Pair::connecting(MachineConfig::default(), MachineConfig::default(), Some(Sasl::Anonymous), 3);
    pair.at_server();
    pair.at_client();
    assert!(matches!(one(pair.at_server()), Event::Sasl { .. }));
    pair.server.admit(Admission::Refused(SaslCode::Auth), &mut pair.to_client).expect("asked");
    assert!(pair.server.is_closed());
    assert_eq!(pair.try_at_client(), Err(Error::SaslRefused(SaslCode::Auth)));
}

#[test]
fn without_sasl_the_client_is_told_that_it_is_wanted() {
    let mut pair = Pair::connecting(MachineConfig::default(), MachineConfig::default(), None, 8);
    assert_eq!(pair.try_at_server(), Err(Error::ProtocolHeader));
    assert_eq!(pair.said(), &ProtocolHeader::Sasl.bytes()[..]);
}

#[test]
fn messages_go_with_credit_and_are_answered_in_ranges() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let (session, _) = pair.session();
        let (ours, theirs) = pair.link(session, sender("s", "queues/q"));
        assert_eq!(pair.send(ours, &delivery("x", Some(1))), Err(SendError::NoCredit));
        pair.grant(theirs, 10);
        assert_eq!(pair.client.room(ours), 10);
        for slot in 1..=5 {
            pair.send(ours, &delivery("x", Some(slot))).expect("credit");
        }
        pair.send(ours, &delivery(vec![7; 5000], None)).expect("credit");
        let events = pair.at_server();
        assert_eq!(events.len(), 6);
        assert_eq!(pair.server.unanswered(theirs), 5);
        for event in events {
            let Event::Transfer(incoming) = event else { panic!("{event:?}") };
            assert_eq!((incoming.link, incoming.settled), (theirs, incoming.delivery == 5));
            let state = if incoming.delivery == 3 { State::Released } else { State::Accepted };
            pair.server.answer(theirs.session, incoming.delivery, state, &mut pair.to_client);
            let read = message(incoming);
            assert_eq!(read.address().as_str(), "plant/7");
        }
        assert_eq!(pair.server.unanswered(theirs), 0);
        pair.server.flush(&mut pair.to_client);
        let told: Vec<_> = pair
            .at_client()
            .into_iter()
            .map(|event| match event {
                Event::Disposed(disposed) => {
                    assert!(disposed.settled);
                    let slots: Vec<_> = disposed.deliveries.iter().map(|sent| sent.cookie).collect();
                    (disposed.state.expect("an outcome"), slots)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [(State::Accepted, vec![1, 2, 3]), (State::Released, vec![4]), (State::Accepted, vec![5])];
        assert_eq!(told, expected, "one frame for each run");
        assert_eq!(pair.client.credit(ours).credit, 4);
        assert_eq!(pair.server.credit(theirs).credit, 4);
    });
}

#[test]
fn settling_second_takes_two_steps() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let (session, _) = pair.session();
        let (ours, theirs) = pair.link(session, second(sender("s", "queues/q")));
        pair.grant(theirs, 1);
        pair.send(ours, &delivery("x", Some(3))).expect("credit");
        let came = transfer(pair.at_server());
        assert!(came.second);
        pair.server.answer(theirs.session, came.delivery, State::Accepted, &mut pair.to_client);
        pair.server.flush(&mut pair.to_client);
        let Event::Disposed(disposed) = one(pair.at_client()) else { panic!("an answer") };
        assert!(!disposed.settled);
        let SentDelivery { number, cookie, .. } = disposed.deliveries[0];
        assert_eq!(cookie, 3);
        pair.client.forget(session, number, Some(State::Accepted), &mut pair.to_server);
        pair.client.flush(&mut pair.to_server);
        assert_eq!(
            one(pair.at_server()),
            Event::Forgotten(vec![Forgotten { link: theirs, delivery: came.delivery, tag: Some(came.tag) }])
        );
    });
}

#[test]
fn a_delivery_may_ask_for_less_than_its_link() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let (session, _) = pair.session();
        let (ours, theirs) = pair.link(session, second(sender("s", "queues/q")));
        pair.grant(theirs, 1);
        let sending = Sending { cookie: Some(1), first: true, ..Sending::default() };
        let long = delivery(vec![7; 100_000], None);
        pair.client.deliver(ours, &long, sending, pair.now, &mut Losses::default(), &mut pair.to_server).expect("room");
        let came = transfer(pair.at_server());
        assert!(!came.second, "in all its frames");
        pair.server.answer(theirs.session, came.delivery, State::Accepted, &mut pair.to_client);
        pair.server.flush(&mut pair.to_client);
        let Event::Disposed(disposed) = one(pair.at_client()) else { panic!("an answer") };
        assert!(disposed.settled, "the receiver settles first");
    });
}

#[test]
fn credit_that_is_taken_back_may_have_been_used_before() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let (session, _) = pair.session();
        let (ours, theirs) = pair.link(session, sender("s", "queues/q"));
        pair.grant(theirs, 3);
        pair.server.grant(theirs, 1, false, None, &mut pair.to_client).expect("attached");
        for n in 0..3 {
            pair.send(ours, &delivery("x", Some(n))).expect("credit");
        }
        assert_eq!(pair.at_server().len(), 3, "it has not heard");
        pair.at_client();
        assert_eq!((pair.client.credit(ours).credit, pair.server.credit(theirs).credit), (0, 0));
    });
}

#[test]
fn a_sender_that_does_not_count_well_is_borne_with_where_that_is_permitted() {
    let bears = MachineConfig::default().overdraft_max(2);
    let mut pair = Pair::open_with(bears, MachineConfig::default(), 1 << 20);
    let (session, theirs) = pair.session();
    let (_, link) = pair.link(session, sender("s", "queues/q"));
    let mut numbers = 0..;
    let mut inject = |pair: &mut Pair, count: u32| {
        let mut events = vec![];
        for number in numbers.by_ref().take(count as usize) {
            let transfer = Transfer {
                delivery_id: Some(number),
                delivery_tag: Tag::new(&number.to_be_bytes()),
                settled: Some(true),
                ..Transfer::default()
            };
            events.extend(pair.inject(&transfer_frame(theirs.0, transfer, b"")).expect("the connection stands"));
        }
        events
    };
    for _ in 0..3 {
        pair.server.grant(link, 1, false, None, &mut pair.to_client).expect("attached");
        assert_eq!(inject(&mut pair, 3).len(), 3, "one with credit, and two more");
        assert_eq!(pair.server.credit(link).credit, 0);
    }
    let detached = one(inject(&mut pair, 1));
    let Event::Detach(_, roadbed_amqp::Detached { fault: Some(fault), .. }) = detached else { panic!("{detached:?}") };
    assert_eq!(fault.condition, "amqp:link:transfer-limit-exceeded");
}

#[test]
fn a_large_message_is_a_rope_of_what_was_read() {
    let small = MachineConfig::default().frame_bytes_max(1024).incoming_window(4);
    everywhere(|piece| {
        let mut pair = Pair::open_with(small.clone(), MachineConfig::default(), piece);
        let (session, _) = pair.session();
        let (ours, theirs) = pair.link(session, sender("s", "queues/q"));
        pair.grant(theirs, 2);
        let payload: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
        pair.send(ours, &delivery(payload.clone(), Some(1))).expect("credit");
        assert_eq!(pair.client.room(ours), 0, "the window is closed until the rest has gone");
        let mut events = vec![];
        for _ in 0..20 {
            events.extend(pair.at_server());
            events.extend(pair.at_client());
        }
        let read = message(transfer(events));
        assert_eq!(read.payload().to_bytes(), payload);
        assert_eq!(pair.client.room(ours), 1);
    });
}

#[test]
fn drained_credit_lapses_and_an_echo_is_answered() {
    let mut pair = Pair::open(5);
    let (session, _) = pair.session();
    let (ours, theirs) = pair.link(session, sender("s", "queues/q"));
    pair.server
        .grant(theirs, 9, true, Some(TxnId(7).0.to_be_bytes().to_vec().into()), &mut pair.to_client)
        .expect("attached");
    let Event::Credit(link, credit) = one(pair.at_client()) else { panic!("credit") };
    assert_eq!((link, credit.credit, credit.drain, credit.txn), (ours, 9, true, Some(Some(TxnId(7)))));
    pair.send(ours, &delivery("x", None)).expect("credit");
    pair.client.drained(ours, &mut pair.to_server).expect("attached");
    let events = pair.at_server();
    assert!(matches!(&events[..], [Event::Transfer(_), Event::Drained(id)] if *id == theirs), "{events:?}");
    assert_eq!((pair.client.credit(ours).credit, pair.server.credit(theirs).credit), (0, 0));
}

#[test]
fn attaches_are_pipelined_and_refused_without_credit() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let session = pair.client.begin(&mut pair.to_server).expect("room");
        let links: Vec<_> = (0..3)
            .map(|n| {
                pair.client
                    .attach(session, receiver(&format!("r{n}"), "queues/q"), &UnsettledMap::new(), &mut pair.to_server)
                    .expect("room")
            })
            .collect();
        let events = pair.at_server();
        assert_eq!(events.len(), 4, "{events:?}");
        let theirs = |n: usize| match &events[n + 1] {
            Event::Attach(id, _) => *id,
            other => panic!("{other:?}"),
        };
        let why = Fault::new("amqp:not-found", "no such queue");
        let accept = Accept { source: Some(Default::default()), ..Accept::default() };
        pair.server.accept(theirs(2), accept, &mut pair.to_client).expect("asked");
        pair.server.refuse(theirs(0), why.clone(), &mut pair.to_client).expect("asked");
        let events = pair.at_client();
        let [Event::Begin(_), Event::Attach(two, _), Event::Attach(zero, refused), Event::Detach(gone, detached)] =
            &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((two, zero, gone), (&links[2], &links[0], &links[0]));
        assert_eq!((&refused.source, &refused.target), (&None, &None));
        assert_eq!(detached.fault, Some(why));
        assert_eq!(pair.at_server(), [], "the client has answered the detach");
    });
}

#[test]
fn a_link_that_is_attached_again_is_stolen() {
    let mut pair = Pair::open(64);
    let (one_session, _) = pair.session();
    let (other_session, _) = pair.session();
    let (_, first) = pair.link(one_session, sender("s", "queues/q"));
    // Another process of the same container would not know of the first; here the name is freed behind the machine's back.
    let attach = Attach { handle: 5.into(), ..sender("s", "queues/q") };
    let mut frames = bytes::BytesMut::new();
    put_frame(&mut frames, other_session.0, &Performative::Attach(Box::new(attach)));
    let events = pair.inject(&frames).expect("legal");
    let [Event::Detach(stolen, detached), Event::Attach(again, _)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*stolen, first);
    assert_eq!(detached.fault.as_ref().map(|fault| &*fault.condition), Some("amqp:link:stolen"));
    assert_ne!(again.session, first.session);
}

#[test]
fn peers_are_kept_alive_and_silence_is_noticed() {
    let config = MachineConfig::default().idle_timeout(Duration::from_secs(6));
    let mut pair = Pair::open_with(config.clone(), config, 8);
    pair.pass(Duration::from_secs(600)).expect("both ends beat");
    let mut alone =
        Pair::open_with(MachineConfig::default().idle_timeout(Duration::from_secs(6)), MachineConfig::default(), 8);
    alone.now = alone.now + Duration::from_secs(7);
    let now = alone.now;
    assert_eq!(alone.server.handle_timeout(now, &mut alone.to_client), Err(Error::IdleTimeout));
    assert!(
        matches!(one(alone.at_client()), Event::Close(Some(fault)) if fault.condition == "amqp:resource-limit-exceeded")
    );
    let mut silent = Pair::connecting(MachineConfig::default(), MachineConfig::default(), None, 8);
    assert_eq!(silent.pass(Duration::from_secs(11)), Err(Error::OpenTimeout));
}

#[test]
fn sessions_end_with_their_links() {
    let mut pair = Pair::open(16);
    let (session, theirs) = pair.session();
    let (ours, _) = pair.link(session, sender("s", "queues/q"));
    pair.client.end_session(session, None, &mut pair.to_server).expect("begun");
    assert_eq!(one(pair.at_server()), Event::End(theirs, None));
    assert_eq!(pair.at_client(), []);
    assert_eq!(pair.client.room(ours), 0);
    let (again, _) = pair.session();
    assert_eq!(again, session, "the channel is free again");
    pair.link(again, sender("s", "queues/q"));
}
