use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roadbed_amqp::codec::{FrameType, GuardLimits, Performative, SaslFrame, frame, put_sasl, sections, walk};
use roadbed_amqp::dialect::Encoded;
use roadbed_core::{Delivery, Losses, Message, Origin, Qos, ReadContext, Time, WireMessage};

const NOW: Time = Time::from_millis(1_700_000_000_000);

/// Bytes are refused or are frames; what is read by hand is the same when it is written and read again; a bare message leaves as it came, and its payload
/// is the same whether it came in one piece or in two.
pub fn amqp_decode(data: &[u8]) {
    let limits = GuardLimits::default();
    if let Ok(end) = walk(data, 0, &limits) {
        assert!(end <= data.len(), "a value ends within the bytes");
    }
    let (chunk, mut at) = (Bytes::copy_from_slice(data), 0);
    while let Ok(Some(found)) = frame(&chunk, &mut at, 1 << 16) {
        match found.kind {
            FrameType::Sasl => sasl(&found.body, &limits),
            FrameType::Amqp => performative(&found.body, &limits),
        }
    }
    performative(&chunk, &limits);
    sasl(&chunk, &limits);
    message(&chunk, &limits);
}

fn performative(body: &Bytes, limits: &GuardLimits) {
    let Ok((read, payload)) = Performative::decode(body, limits) else { return };
    assert!(payload <= body.len(), "the payload is in the frame");
    if !matches!(read, Performative::Transfer(_) | Performative::Flow(_) | Performative::Disposition(_)) {
        return;
    }
    let mut written = BytesMut::new();
    read.encode(&mut written);
    let again = Performative::decode(&written.freeze(), limits).expect("what we write can be read");
    assert_eq!(again.0, read);
}

fn sasl(body: &Bytes, limits: &GuardLimits) {
    let Ok(read) = SaslFrame::decode(body, limits) else { return };
    let mut written = BytesMut::new();
    put_sasl(&mut written, &read);
    assert_eq!(SaslFrame::decode(&written.freeze(), limits), Ok(read));
}

fn message(bytes: &Bytes, limits: &GuardLimits) {
    let Ok(message) = read(vec![bytes.clone()]) else { return };
    let bare = sections(bytes, bytes.len(), limits).expect("it was read").bare;
    let delivery = Delivery {
        message: message.clone(),
        handle: None,
        qos: Qos::AtMostOnce,
        retained: false,
        attempt: 1,
        info: None,
    };
    let written = Encoded::write(&delivery, NOW, &mut Losses::default()).expect("written").to_bytes();
    let again = sections(&written, written.len(), limits).expect("what we write can be read").bare;
    assert_eq!(written[again], bytes[bare], "the bare message leaves as it came");
    let middle = bytes.len() / 2;
    let split = read(vec![bytes.slice(..middle), bytes.slice(middle..)]).expect("in two pieces, too");
    assert_eq!(split.payload(), message.payload());
}

fn read(pieces: Vec<Bytes>) -> roadbed_core::Result<Message> {
    let origin = Arc::new(Origin { principal: Default::default(), protocol: "amqp" });
    let address = Some("a".parse().expect("an address"));
    Encoded { address, ..Encoded::new(pieces) }.read(&ReadContext { origin: &origin, now: NOW })
}
