//! The machine in both roles against each other, with every byte on its own; and what hostile peers do.

mod support;

use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::ReceiverSettleMode;
use fe2o3_amqp_types::performatives::Attach;
use roadbed_amqp::codec::{Fault, GuardLimits, Performative, ProtocolHeader, State, Tag, Transfer, frame};
use roadbed_amqp::dialect::Encoded;
use roadbed_amqp::{DecodeError, Error, Event, Incoming, LinkId, MachineConfig, Sasl, SendError};
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
        self.client.deliver(link, delivery, self.now, &mut Losses::default(), &mut self.to_server)
    }
}

fn second(attach: Attach) -> Attach {
    Attach { rcv_settle_mode: ReceiverSettleMode::Second, ..attach }
}

// ---- the good paths -------------------------------------------------------------------------------------------------

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
            pair.server.admit(true, &mut pair.to_client).expect("asked");
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
    pair.server.admit(false, &mut pair.to_client).expect("asked");
    assert!(pair.server.is_closed());
    assert_eq!(pair.try_at_client(), Err(Error::SaslRefused(1)));
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
                    let slots: Vec<_> = disposed.deliveries.iter().map(|(_, _, handle)| handle.slot()).collect();
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
        let (_, number, handle) = disposed.deliveries[0];
        assert_eq!(handle.slot(), 3);
        pair.client.forget(session, number, Some(State::Accepted), &mut pair.to_server);
        pair.client.flush(&mut pair.to_server);
        assert_eq!(one(pair.at_server()), Event::Forgotten(vec![(theirs, came.tag)]));
    });
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
    pair.server.grant(theirs, 9, true, Some(TxnId(7)), &mut pair.to_client).expect("attached");
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
                pair.client.attach(session, receiver(&format!("r{n}"), "queues/q"), &mut pair.to_server).expect("room")
            })
            .collect();
        let events = pair.at_server();
        assert_eq!(events.len(), 4, "{events:?}");
        let theirs = |n: usize| match &events[n + 1] {
            Event::Attach(id, _) => *id,
            other => panic!("{other:?}"),
        };
        let why = Fault::new("amqp:not-found", "no such queue");
        pair.server.accept(theirs(2), Some(Default::default()), None, &mut pair.to_client).expect("asked");
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

// ---- what hostile peers do ------------------------------------------------------------------------------------------

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
        pair.server.deliver(link, &sent, support::START, &mut Losses::default(), &mut pair.to_client).expect("credit");
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
    pair.client.attach(second, sender("c", "queues/q"), &mut pair.to_server).expect("our client counts by session");
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
    let refused = pair.client.attach(session, sender("c", "queues/q"), &mut pair.to_server);
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
