use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use roadbed_core::{Address, Delivery, Losses, Message, Origin, Qos, ReadContext, Time, WireMessage};
use roadbed_http::HttpMessage;

const NOW: Time = Time::from_millis(1 << 40);

/// Headers are refused or are a message; a message is written as headers that are the same message again. The first line is the path, then comes a header a
/// line, after an empty line the body.
pub fn http_message(data: &[u8]) {
    let Some(request) = request(data) else { return };
    let origin = Arc::new(Origin { principal: "me".into(), protocol: "http" });
    let context = ReadContext { origin: &origin, now: NOW };
    let payload = request.payload.to_bytes();
    let Ok(message) = request.read(&context) else { return };
    assert_eq!(message.origin(), Some(&origin), "nobody says who they are");
    assert_eq!(message.payload().to_bytes(), payload);
    assert!(message.details().annotations.is_empty(), "what is the hub's own cannot be forged");

    let mut losses = Losses::default();
    let delivery = Delivery {
        message: message.clone(),
        handle: None,
        qos: Qos::AtLeastOnce,
        retained: false,
        attempt: 1,
        info: None,
    };
    let written = HttpMessage::write(&delivery, NOW, &mut losses).expect("HTTP can say every message");
    assert!(written.headers.len() <= 100, "every server takes so many headers");
    let again = written.read(&context).expect("what was written can be read");
    if losses.is_empty() {
        assert_eq!(in_words(&again), in_words(&message));
    }
}

/// All that a message says. NaN is not itself, but its words are.
fn in_words(message: &Message) -> String {
    let m = message;
    let plain = (m.address(), m.expires_at(), m.durability(), m.priority(), m.retain(), m.live(), m.origin());
    format!("{plain:?} {:?} {:?}", m.details(), m.payload().to_bytes())
}

fn request(data: &[u8]) -> Option<HttpMessage> {
    let (head, body) = match data.windows(2).position(|end| end == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let mut lines = head.split(|&byte| byte == b'\n');
    let address = Address::from_path(core::str::from_utf8(lines.next()?).ok()?).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let at = line.iter().position(|&byte| byte == b':')?;
        // As every HTTP parser does: white space at the ends is not part of a value.
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        headers.append(HeaderName::from_bytes(&line[..at]).ok()?, value);
    }
    Some(HttpMessage { address, headers, payload: Bytes::copy_from_slice(body).into() })
}
