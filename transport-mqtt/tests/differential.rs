//! Our codec against that of `mqttbytes`, wherever that one is right: what we write it reads, what it writes we read, and both mean the same.
#![cfg(feature = "mqttbytes")]

use bytes::BytesMut;
use proptest::prelude::*;
use roadbed_mqtt::EncodeError;
use roadbed_mqtt::codec::{Packet, Version};

#[path = "support/strategy.rs"]
mod strategy;
mod support;

use support::{decode, encode};

const MAX: usize = 1 << 20;

/// What `mqttbytes` reads wrongly although it is legal MQTT 5.0.
fn misreads(packet: &Packet) -> bool {
    match packet {
        // Its cursor is off by a byte per subscription identifier.
        Packet::Publish(publish) => publish.subscription_ids.len() > 1,
        // It wants a body with a property length.
        Packet::Disconnect(packet) => {
            packet.session_expiry_secs.is_none() && packet.server_reference.is_none() && packet.notes.is_empty()
        }
        // It prints every one of them.
        Packet::Unsubscribe(_) => true,
        _ => false,
    }
}

fn write_v4(packet: &mqttbytes::v4::Packet) -> BytesMut {
    use mqttbytes::v4::{Disconnect, Packet as P, PingReq, PingResp};
    let mut out = BytesMut::new();
    match packet {
        P::Connect(packet) => packet.write(&mut out),
        P::ConnAck(packet) => packet.write(&mut out),
        P::Publish(packet) => packet.write(&mut out),
        P::PubAck(packet) => packet.write(&mut out),
        P::PubRec(packet) => packet.write(&mut out),
        P::PubRel(packet) => packet.write(&mut out),
        P::PubComp(packet) => packet.write(&mut out),
        P::Subscribe(packet) => packet.write(&mut out),
        P::SubAck(packet) => packet.write(&mut out),
        P::Unsubscribe(packet) => packet.write(&mut out),
        P::UnsubAck(packet) => packet.write(&mut out),
        P::PingReq => PingReq.write(&mut out),
        P::PingResp => PingResp.write(&mut out),
        P::Disconnect => Disconnect.write(&mut out),
    }
    .expect("a packet that it can write");
    out
}

fn write_v5(packet: &mqttbytes::v5::Packet) -> BytesMut {
    use mqttbytes::v5::{Packet as P, PingReq, PingResp};
    let mut out = BytesMut::new();
    match packet {
        P::Connect(packet) => packet.write(&mut out),
        P::ConnAck(packet) => packet.write(&mut out),
        P::Publish(packet) => packet.write(&mut out),
        P::PubAck(packet) => packet.write(&mut out),
        P::PubRec(packet) => packet.write(&mut out),
        P::PubRel(packet) => packet.write(&mut out),
        P::PubComp(packet) => packet.write(&mut out),
        P::Subscribe(packet) => packet.write(&mut out),
        P::SubAck(packet) => packet.write(&mut out),
        P::Unsubscribe(packet) => packet.write(&mut out),
        P::UnsubAck(packet) => packet.write(&mut out),
        P::PingReq => PingReq.write(&mut out),
        P::PingResp => PingResp.write(&mut out),
        P::Disconnect(packet) => packet.write(&mut out),
    }
    .expect("a packet that it can write");
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn version_4(packet in strategy::packet(Version::V311)) {
        let theirs = match mqttbytes::v4::Packet::try_from(packet.clone()) {
            Err(EncodeError::Unsayable) => return Ok(()),
            theirs => theirs.expect("only that"),
        };
        let written = write_v4(&theirs);
        prop_assert_eq!(&written[..], &encode(Version::V311, &packet)[..], "the same bytes");
        prop_assert_eq!(decode(Version::V311, &written), Ok(packet.clone()));
        let read = mqttbytes::v4::read(&mut BytesMut::from(&encode(Version::V311, &packet)[..]), MAX);
        prop_assert_eq!(read.as_ref(), Ok(&theirs));
        prop_assert_eq!(Packet::try_from(theirs), Ok(packet));
    }

    #[test]
    fn version_5(packet in strategy::packet(Version::V5)) {
        let theirs = match mqttbytes::v5::Packet::try_from(packet.clone()) {
            Err(EncodeError::Unsayable) => return Ok(()),
            theirs => theirs.expect("only that"),
        };
        prop_assert_eq!(decode(Version::V5, &write_v5(&theirs)), Ok(packet.clone()));
        if !misreads(&packet) {
            let read = mqttbytes::v5::read(&mut BytesMut::from(&encode(Version::V5, &packet)[..]), MAX);
            prop_assert_eq!(read.map(Packet::try_from), Ok(Ok(packet.clone())));
        }
        prop_assert_eq!(Packet::try_from(theirs), Ok(packet));
    }
}
