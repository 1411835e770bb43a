//! What holds for all packets, all splits and all bytes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use roadbed_mqtt::DecodeError;
use roadbed_mqtt::codec::{Limits, Packet, PacketType, PublishView, Version, frame, frame_bytes};

#[path = "support/strategy.rs"]
mod strategy;
mod support;

use support::{decode, encode};

fn version() -> impl Strategy<Value = Version> {
    select(&[Version::V31, Version::V311, Version::V5][..])
}

fn versioned() -> impl Strategy<Value = (Version, Packet)> {
    version().prop_flat_map(|version| (Just(version), strategy::packet(version)))
}

fn stream() -> impl Strategy<Value = (Version, Vec<Packet>)> {
    version().prop_flat_map(|version| (Just(version), vec(strategy::packet(version), 1..6)))
}

/// All packets of a chunk, and what is left of it.
fn drain(version: Version, chunk: &Bytes) -> Result<(Vec<Packet>, Bytes), DecodeError> {
    let (mut packets, mut at, limits) = (vec![], 0, Limits::default());
    while let Some(frame) = frame(chunk, &mut at, Some(version), &limits)? {
        packets.push(Packet::decode(frame, version, &limits)?);
    }
    Ok((packets, chunk.slice(at..)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decoding_undoes_encoding((version, packet) in versioned()) {
        prop_assert_eq!(decode(version, &encode(version, &packet)), Ok(packet));
    }

    /// Bytes that we would write ourselves come out as they went in; bytes in another form come out in ours, which means the same.
    #[test]
    fn what_is_accepted_can_be_written((version, packet) in versioned(), at in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = encode(version, &packet);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let chunk = Bytes::from(bytes);
        let mut end = 0;
        let Ok(Some(frame)) = frame(&chunk, &mut end, Some(version), &Limits::default()) else { return Ok(()) };
        let Ok(packet) = Packet::decode(frame, version, &Limits::default()) else { return Ok(()) };
        // CONNECT names its own version.
        let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
        let ours = encode(version, &packet);
        prop_assert_eq!(decode(version, &ours), Ok(packet));
        prop_assert!(ours.len() <= end, "our form is the shortest");
    }

    #[test]
    fn any_split_gives_the_same_packets((version, packets) in stream(), cuts in vec(any::<Index>(), 0..8)) {
        let mut bytes = BytesMut::new();
        packets.iter().try_for_each(|packet| packet.encode(version, &mut bytes)).expect("packets that can be written");
        let bytes = bytes.freeze();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut found, mut rest) = (vec![], Bytes::new());
        for pair in cuts.windows(2) {
            let chunk = [&rest[..], &bytes[pair[0]..pair[1]]].concat().into();
            let (mut more, left) = drain(version, &chunk).expect("legal packets");
            found.append(&mut more);
            if let Ok(Some(len)) = frame_bytes(&left, Some(version), &Limits::default()) {
                prop_assert!(len > left.len(), "a whole frame was left");
            }
            rest = left;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(found, packets);
    }

    #[test]
    fn no_bytes_panic(version in version(), bytes in vec(any::<u8>(), 0..200)) {
        let _ = drain(version, &bytes.into());
    }

    /// The same, with a header that lets the body be looked at.
    #[test]
    fn no_body_panics(version in version(), first in any::<u8>(), body in vec(any::<u8>(), 0..120)) {
        let first = match PacketType::from_first(first) {
            Some(PacketType::Publish) | None => first,
            Some(kind) => kind.first(),
        };
        let _ = drain(version, &support::packet(first, &[&body]).into());
    }

    /// A cut inside a packet never makes another packet of it.
    #[test]
    fn a_prefix_is_not_a_packet((version, packet) in versioned(), cut in any::<Index>()) {
        let bytes = encode(version, &packet);
        let prefix = Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]);
        prop_assert_eq!(drain(version, &prefix), Ok((vec![], prefix)));
    }

    #[test]
    fn a_view_sees_what_the_packet_has((version, publish) in version().prop_flat_map(|v| (Just(v), strategy::publish(v)))) {
        let chunk = Bytes::from(encode(version, &Packet::Publish(Box::new(publish.clone()))));
        let limits = Limits::default();
        let frame = frame(&chunk, &mut 0, Some(version), &limits).expect("legal").expect("whole");
        let view = PublishView::read(frame, version, &limits).expect("legal");
        prop_assert_eq!(view.topic(), Ok(&*publish.topic));
        prop_assert_eq!(view.topic_bytes(), publish.topic.as_bytes());
        prop_assert_eq!(view.payload_bytes(), &publish.payload[..]);
        prop_assert!(view.payload().is_empty() || chunk.as_ptr_range().contains(&view.payload().as_ptr()), "not copied");
        let ids: Vec<_> = view.properties.subscription_ids().collect();
        prop_assert_eq!(&ids, &publish.subscription_ids);
        let user: Vec<_> = view.properties.user().map(|(name, value)| (name.into(), value.into())).collect();
        prop_assert_eq!(&user, &publish.user);
        prop_assert_eq!(view.to_packet(), Ok(publish));
    }
}
