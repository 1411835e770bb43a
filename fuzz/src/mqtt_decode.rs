use bytes::{Bytes, BytesMut};
use roadbed_mqtt::codec::{Frame, Limits, Packet, PacketType, PublishHeader, PublishView, Version, frame, frame_bytes};

/// As [`mqtt_decode_v5`], for the versions before it.
pub fn mqtt_decode_v3(data: &[u8]) {
    decode(data, Version::V311);
    decode(data, Version::V31);
}

/// Bytes are refused or are packets; what is a packet is written in a canonical form, which is the same packet and no longer than what came; and how the
/// bytes were split does not matter.
pub fn mqtt_decode_v5(data: &[u8]) {
    decode(data, Version::V5);
}

fn decode(data: &[u8], version: Version) {
    // Low, so that the limits are met.
    let limits = Limits::default().packet_bytes_max(0x8000).filters_max(4).user_properties_max(3);
    let (chunk, mut at) = (Bytes::copy_from_slice(data), 0);
    loop {
        let begin = at;
        let cut = frame(&chunk, &mut at, Some(version), &limits);
        splits(&chunk.slice(begin..), version, &limits);
        let Ok(Some(frame)) = cut else {
            assert_eq!(at, begin, "what is not a frame is not consumed");
            return;
        };
        assert_eq!(frame.bytes(), chunk[begin..at]);
        assert!(at - begin <= 0x8000, "the limit holds");
        if frame.kind() == PacketType::Publish {
            publish(frame.clone(), version, &limits);
        }
        // A refusal in the form of MQTT 3 is read by a client of 5.0, and written in the longer form of 5.0.
        let length = at - begin + usize::from(frame.kind() == PacketType::ConnAck && at - begin == 4);
        let Ok(packet) = Packet::decode(frame, version, &limits) else { return };
        let again = rewrite(&packet, version, &limits);
        assert!(again.len() <= length, "the canonical form is the shortest");
    }
}

/// A chunk that ends early is waited for, or refused for what it shows already.
fn splits(chunk: &Bytes, version: Version, limits: &Limits) {
    let whole = frame_bytes(chunk, Some(version), limits);
    for cut in (0..chunk.len().min(6)).chain([chunk.len() / 2, chunk.len().saturating_sub(1)]) {
        let (part, mut at) = (chunk.slice(..cut), 0);
        let told = frame_bytes(&part, Some(version), limits);
        let found = frame(&part, &mut at, Some(version), limits).map(|frame| frame.map(|frame| frame.bytes().len()));
        assert_eq!(found.as_ref().ok().copied().flatten().unwrap_or(0), at);
        match (told, found) {
            (Err(early), Err(same)) => assert_eq!((Err(early), early), (whole, same), "a refusal does not change"),
            (Ok(None), found) => assert_eq!(found, Ok(None)),
            (Ok(Some(bytes)), found) => {
                assert_eq!(Ok(Some(bytes)), whole, "a length that is told does not change");
                assert_eq!(found, Ok((bytes <= cut).then_some(bytes)));
            }
            (told, found) => panic!("{told:?} but {found:?}"),
        }
    }
}

/// Writes a packet, reads it again, writes that.
fn rewrite(packet: &Packet, version: Version, limits: &Limits) -> Bytes {
    let write = |packet: &Packet| {
        let mut out = BytesMut::new();
        packet.encode(version, &mut out).expect("what was read can be written");
        assert_eq!(packet.encoded_len(version), Ok(out.len()));
        out.freeze()
    };
    let (bytes, mut at) = (write(packet), 0);
    let frame = frame(&bytes, &mut at, Some(version), limits).expect("a frame").expect("the whole frame");
    assert_eq!(at, bytes.len());
    let again = Packet::decode(frame, version, limits).expect("what was written can be read");
    assert_eq!(&again, packet);
    assert_eq!(write(&again), bytes, "the canonical form is its own");
    bytes
}

/// The borrowed view of a PUBLISH says what the owned packet says, and its payload lies where it was read.
fn publish(frame: Frame<'_>, version: Version, limits: &Limits) {
    let (body, length) = (frame.body(), frame.bytes().len());
    let view = PublishView::read(frame.clone(), version, limits);
    let packet = Packet::decode(frame, version, limits);
    let (view, packet) = match (view, packet) {
        (Ok(view), Ok(Packet::Publish(packet))) => (view, packet),
        (Ok(view), Err(error)) => return assert_eq!(view.topic().err(), Some(error)),
        (Err(early), Err(error)) => return assert_eq!(early, error),
        (view, packet) => panic!("{view:?} but {packet:?}"),
    };
    assert_eq!(view.topic().map(str::as_bytes), Ok(view.topic_bytes()));
    assert_eq!(view.topic(), Ok(&*packet.topic));
    assert_eq!(view.payload_bytes().as_ptr_range().end, body.as_ptr_range().end, "the payload ends the packet");
    let (shared, lies) = (view.payload(), view.payload_bytes());
    assert_eq!(shared, lies);
    assert!(lies.is_empty() || shared.as_ptr() == lies.as_ptr(), "the payload is not copied");
    assert_eq!(view.properties.subscription_ids().collect::<Vec<_>>(), packet.subscription_ids);
    let user = packet.user.iter().map(|(name, value)| (&**name, &**value));
    assert!(view.properties.user().eq(user));
    if version != Version::V5 {
        let header = PublishHeader {
            dup: view.dup,
            qos: view.qos,
            retain: view.retain,
            packet_id: view.packet_id,
            topic: &packet.topic,
        };
        assert_eq!(header.encoded_len(version, |_| {}, packet.payload.len()), Ok(length));
    }
}
