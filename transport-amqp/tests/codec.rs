//! The hand-written performatives against `serde_amqp`, and the shapes that peers rely on.

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::definitions::{self, AmqpError, Handle, ReceiverSettleMode};
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState, Modified, Outcome, Received, Rejected, Released};
use fe2o3_amqp_types::performatives as theirs;
use fe2o3_amqp_types::transaction::{Declared, TransactionalState};
use proptest::prelude::*;
use roadbed_amqp::DecodeError;
use roadbed_amqp::codec::{
    Body, Disposition, Fault, Flow, GuardLimits, Performative, ProtocolHeader, SaslCode, SaslFrame, State, Tag,
    Transfer, frame, put_sasl, sections, walk,
};
use roadbed_core::Role;

fn faults() -> impl Strategy<Value = Fault> {
    let condition = prop_oneof![Just("amqp:not-found"), Just("com.example:odd"), Just("amqp:link:stolen")];
    (condition, proptest::option::of("[a-zé]{0,300}"))
        .prop_map(|(condition, description)| Fault { condition: condition.into(), description })
}

fn outcomes() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Accepted),
        proptest::option::of(faults()).prop_map(State::Rejected),
        Just(State::Released),
        any::<(bool, bool)>()
            .prop_map(|(failed, here)| State::Modified { delivery_failed: failed, undeliverable_here: here }),
    ]
}

fn names() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..=32).prop_map(Bytes::from)
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![
        outcomes(),
        Just(State::Received),
        names().prop_map(State::Declared),
        (names(), proptest::option::of(outcomes()))
            .prop_map(|(txn, outcome)| State::Transactional { txn, outcome: outcome.map(Box::new) }),
    ]
}

prop_compose! {
    fn transfers()(
        handle: u32, delivery_id: Option<u32>, tag in proptest::option::of(names()),
        message_format: Option<u32>, settled: Option<bool>, more: bool,
        rcv_settle_mode in proptest::option::of(0u8..=1), state in proptest::option::of(states()),
        resume: bool, aborted: bool, batchable: bool,
    ) -> Transfer {
        Transfer {
            handle, delivery_id, delivery_tag: tag.and_then(|tag| Tag::new(&tag)), message_format, settled, more, rcv_settle_mode, state, resume, aborted,
            batchable,
        }
    }
}

prop_compose! {
    fn dispositions()(
        receiver: bool, first: u32, last: Option<u32>, settled: bool, state in proptest::option::of(states()),
        batchable: bool,
    ) -> Disposition {
        let role = if receiver { Role::Receiver } else { Role::Sender };
        Disposition { role, first, last, settled, state, batchable }
    }
}

prop_compose! {
    fn flows()(
        (next_incoming_id, incoming_window, next_outgoing_id, outgoing_window) in any::<(Option<u32>, u32, u32, u32)>(),
        (handle, delivery_count, link_credit, available) in any::<(Option<u32>, Option<u32>, Option<u32>, Option<u32>)>(),
        drain: bool, echo: bool, txn in proptest::option::of(names()),
    ) -> Flow {
        Flow {
            next_incoming_id, incoming_window, next_outgoing_id, outgoing_window, handle, delivery_count, link_credit,
            available, drain, echo, txn,
        }
    }
}

fn their_error(fault: &Fault) -> definitions::Error {
    let condition = serde_amqp::primitives::Symbol::from(fault.condition.as_str());
    let encoded = serde_amqp::to_vec(&condition).expect("a symbol");
    let condition: definitions::ErrorCondition = serde_amqp::from_slice(&encoded).expect("a condition");
    definitions::Error { condition, description: fault.description.clone(), info: None }
}

fn their_outcome(state: &State) -> Outcome {
    match state {
        State::Accepted => Outcome::Accepted(Accepted {}),
        State::Rejected(fault) => Outcome::Rejected(Rejected { error: fault.as_ref().map(their_error) }),
        State::Released => Outcome::Released(Released {}),
        State::Modified { delivery_failed, undeliverable_here } => Outcome::Modified(Modified {
            delivery_failed: Some(*delivery_failed),
            undeliverable_here: Some(*undeliverable_here),
            message_annotations: None,
        }),
        other => panic!("{other:?} is no outcome"),
    }
}

fn their_state(state: &State) -> DeliveryState {
    let buf = |bytes: &Bytes| serde_amqp::primitives::Binary::from(bytes.to_vec());
    match state {
        State::Received => DeliveryState::Received(Received { section_number: 0, section_offset: 0 }),
        State::Declared(txn) => DeliveryState::Declared(Declared { txn_id: buf(txn) }),
        State::Transactional { txn, outcome } => DeliveryState::TransactionalState(TransactionalState {
            txn_id: buf(txn),
            outcome: outcome.as_ref().map(|outcome| their_outcome(outcome)),
        }),
        outcome => match their_outcome(outcome) {
            Outcome::Accepted(value) => DeliveryState::Accepted(value),
            Outcome::Rejected(value) => DeliveryState::Rejected(value),
            Outcome::Released(value) => DeliveryState::Released(value),
            Outcome::Modified(value) => DeliveryState::Modified(value),
            other => panic!("{other:?}"),
        },
    }
}

fn their_transfer(ours: &Transfer) -> theirs::Transfer {
    theirs::Transfer {
        handle: Handle(ours.handle),
        delivery_id: ours.delivery_id,
        delivery_tag: ours.delivery_tag.as_ref().map(|tag| definitions::DeliveryTag::from(tag.to_vec())),
        message_format: ours.message_format,
        settled: ours.settled,
        more: ours.more,
        rcv_settle_mode: ours.rcv_settle_mode.map(|mode| match mode {
            0 => ReceiverSettleMode::First,
            _ => ReceiverSettleMode::Second,
        }),
        state: ours.state.as_ref().map(their_state),
        resume: ours.resume,
        aborted: ours.aborted,
        batchable: ours.batchable,
    }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

proptest! {
    #[test]
    fn transfers_agree_with_serde_amqp(ours in transfers()) {
        let bytes = written(|out| ours.encode(out));
        prop_assert_eq!(walk(&bytes, 0, &GuardLimits::default()), Ok(bytes.len()));
        let read: theirs::Transfer = serde_amqp::from_slice(&bytes).expect("their reader takes ours");
        let expected = their_transfer(&ours);
        prop_assert_eq!(&read, &expected);
        let bytes = Bytes::from([&serde_amqp::to_vec(&expected).expect("a transfer")[..], b"payload"].concat());
        let (read, end) = Transfer::decode(&bytes, &GuardLimits::default()).expect("our reader takes theirs");
        prop_assert_eq!(read, ours);
        prop_assert_eq!(&bytes[end..], b"payload");
    }

    #[test]
    fn dispositions_agree_with_serde_amqp(ours in dispositions()) {
        let expected = theirs::Disposition {
            role: if ours.role == Role::Receiver { definitions::Role::Receiver } else { definitions::Role::Sender },
            first: ours.first,
            last: ours.last,
            settled: ours.settled,
            state: ours.state.as_ref().map(their_state),
            batchable: ours.batchable,
        };
        let bytes = written(|out| ours.encode(out));
        prop_assert_eq!(&serde_amqp::from_slice::<theirs::Disposition>(&bytes).expect("read"), &expected);
        let bytes = Bytes::from(serde_amqp::to_vec(&expected).expect("written"));
        prop_assert_eq!(Disposition::decode(&bytes), Ok(ours));
    }

    #[test]
    fn flows_agree_with_serde_amqp(ours in flows()) {
        let mut properties = definitions::Fields::new();
        if let Some(txn) = &ours.txn {
            let txn = serde_amqp::primitives::Binary::from(txn.to_vec());
            properties.insert("other".into(), serde_amqp::Value::Uint(7));
            properties.insert("txn-id".into(), serde_amqp::Value::Binary(txn));
        }
        let expected = theirs::Flow {
            next_incoming_id: ours.next_incoming_id,
            incoming_window: ours.incoming_window,
            next_outgoing_id: ours.next_outgoing_id,
            outgoing_window: ours.outgoing_window,
            handle: ours.handle.map(Handle),
            delivery_count: ours.delivery_count,
            link_credit: ours.link_credit,
            available: ours.available,
            drain: ours.drain,
            echo: ours.echo,
            properties: ours.txn.is_some().then_some(properties),
        };
        let bytes = Bytes::from(serde_amqp::to_vec(&expected).expect("written"));
        prop_assert_eq!(&Flow::decode(&bytes).expect("read"), &ours);
        let read: theirs::Flow = serde_amqp::from_slice(&written(|out| ours.encode(out))).expect("read");
        prop_assert_eq!(theirs::Flow { properties: None, ..read }, theirs::Flow { properties: None, ..expected });
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let limits = GuardLimits::default();
        let _ = Performative::decode(&bytes, &limits);
        let _ = SaslFrame::decode(&bytes, &limits);
        let _ = sections(&bytes, bytes.len(), &limits);
        let _ = frame(&bytes, &mut 0, 1 << 20);
        let described = Bytes::from([&[0x00, 0x53, bytes.first().copied().unwrap_or(0)][..], &bytes].concat());
        let _ = Performative::decode(&described, &limits);
        let _ = sections(&described, described.len(), &limits);
    }

    #[test]
    fn a_flipped_byte_never_makes_the_readers_panic(transfer in transfers(), at: prop::sample::Index, with: u8) {
        let mut bytes = written(|out| transfer.encode(out)).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = Performative::decode(&Bytes::from(bytes), &GuardLimits::default());
    }
}

#[test]
fn performatives_have_all_their_fields() {
    let open = theirs::Open {
        container_id: "x".into(),
        hostname: None,
        max_frame_size: theirs::MaxFrameSize(65_536),
        channel_max: theirs::ChannelMax(255),
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    let bytes = written(|out| Performative::Open(Box::new(open.clone())).encode(out));
    assert_eq!(&bytes[..3], [0x00, 0x53, 0x10]);
    assert_eq!((bytes[3], bytes[5]), (0xc0, 10), "a list of ten fields");
    let read = Performative::decode(&bytes, &GuardLimits::default());
    assert_eq!(read, Ok((Performative::Open(Box::new(open)), bytes.len())));
    let end = written(|out| Performative::End(theirs::End { error: None }).encode(out));
    assert_eq!(&end[3..], [0xc0, 2, 1, 0x40]);
    let error = definitions::Error::new(AmqpError::NotFound, None, None);
    let detach = theirs::Detach { handle: Handle(1), closed: true, error: Some(error) };
    let bytes = written(|out| Performative::Detach(detach.clone()).encode(out));
    assert_eq!(Performative::decode(&bytes, &GuardLimits::default()), Ok((Performative::Detach(detach), bytes.len())));
}

#[test]
fn sasl_frames_survive_both_ways() {
    let frames = [
        SaslFrame::Mechanisms(vec!["PLAIN".into(), "ANONYMOUS".into()]),
        SaslFrame::Init { mechanism: "PLAIN".into(), response: Some("\0a\0b".into()), hostname: Some("h".into()) },
        SaslFrame::Init { mechanism: "ANONYMOUS".into(), response: None, hostname: None },
        SaslFrame::Challenge("c".into()),
        SaslFrame::Response("r".into()),
        SaslFrame::Outcome { code: SaslCode::Auth, data: None },
    ];
    for frame in frames {
        let bytes = written(|out| put_sasl(out, &frame));
        assert_eq!(SaslFrame::decode(&bytes, &GuardLimits::default()), Ok(frame));
    }
    let one = Bytes::from_static(&[0x00, 0x53, 0x40, 0xc0, 8, 1, 0xa3, 5, b'P', b'L', b'A', b'I', b'N']);
    let read = SaslFrame::decode(&one, &GuardLimits::default());
    assert_eq!(read, Ok(SaslFrame::Mechanisms(vec!["PLAIN".into()])), "one symbol stands for an array of one");
}

#[test]
fn frames_are_checked_before_they_are_read() {
    let at = |bytes: &'static [u8]| frame(&Bytes::from_static(bytes), &mut 0, 512);
    for size in 0..8 {
        let bytes = Bytes::from(vec![0, 0, 0, size, 2, 0, 0, 0]);
        assert_eq!(frame(&bytes, &mut 0, 512), Err(DecodeError::FrameTooSmall(size.into())));
    }
    assert_eq!(at(&[0xff; 8]), Err(DecodeError::FrameTooLarge { bytes: u32::MAX, bytes_max: 512 }));
    assert_eq!(at(&[0, 0, 0, 8, 0, 0, 0, 0]), Err(DecodeError::DataOffset(0)));
    assert_eq!(at(&[0, 0, 0, 8, 255, 0, 0, 0]), Err(DecodeError::DataOffset(255)));
    assert_eq!(at(&[0, 0, 0, 8, 2, 7, 0, 0]), Err(DecodeError::FrameType(7)));
    assert_eq!(at(&[0, 0, 0, 9, 2, 0, 0, 0]), Ok(None), "one byte is missing");
    let heartbeat = at(&[0, 0, 0, 8, 2, 0, 0, 9]).expect("legal").expect("whole");
    assert_eq!((heartbeat.channel, heartbeat.body.len()), (9, 0));
    let extended = at(&[0, 0, 0, 13, 3, 0, 0, 1, 1, 2, 3, 4, 0x40]).expect("legal").expect("whole");
    assert_eq!(&extended.body[..], [0x40], "the extended header is skipped");
}

#[test]
fn headers_are_known_by_their_first_bytes() {
    assert_eq!(ProtocolHeader::read(b"AMQP\x00\x01\x00\x00"), Ok(Some(ProtocolHeader::Amqp)));
    assert_eq!(ProtocolHeader::read(b"AMQP\x03\x01\x00\x00"), Ok(Some(ProtocolHeader::Sasl)));
    assert_eq!(ProtocolHeader::read(b"AMQ"), Ok(None));
    assert_eq!(ProtocolHeader::read(b"GET /"), Err(DecodeError::ProtocolHeader));
    assert_eq!(ProtocolHeader::read(b"AMQP\x00\x00\x09\x01"), Err(DecodeError::ProtocolHeader));
}

#[test]
fn sections_are_found_by_size_alone() {
    let message = [
        &[0x00, 0x53, 0x70, 0xc0, 2, 1, 0x41][..],
        &[0x00, 0x53, 0x73, 0xc0, 4, 1, 0xa1, 1, b'i'],
        &[0x00, 0x53, 0x75, 0xa0, 3, 0x00, 0x53, 0x78],
        &[0x00, 0x53, 0x75, 0xa0, 1, 9],
        &[0x00, 0x53, 0x78, 0xc1, 1, 0],
    ]
    .concat();
    let found = sections(&message, message.len(), &GuardLimits::default()).expect("a message");
    assert_eq!(found.header, Some(0..7));
    assert_eq!(found.properties, Some(7..16));
    assert_eq!(found.body, Body::Data(vec![21..24, 29..30].into()));
    assert_eq!(found.bare, 7..30);
    assert_eq!(found.footer, Some(30..36));
    let limits = GuardLimits::default();
    let out_of_order = [&message[7..16], &message[..7]].concat();
    assert_eq!(sections(&out_of_order, out_of_order.len(), &limits), Err(DecodeError::Section));
    let twice = [&message[..7], &message[..7]].concat();
    assert_eq!(sections(&twice, twice.len(), &limits), Err(DecodeError::Section));
    let begun = sections(&message[..22], 24, &limits).expect("the data ends in the next frame");
    assert!(matches!(begun.body, Body::Data(pieces) if pieces[..] == *std::slice::from_ref(&(21..24))));
    assert_eq!(sections(&message[..22], 36, &limits), Err(DecodeError::Truncated), "more sections follow");
}
