use std::sync::Arc;

use bytes::Bytes;
use roadbed_core::{Address, Delivery, Losses, Message, Origin, Qos, ReadContext, Time, WireMessage};
use roadbed_http::CloudEvent;

const NOW: Time = Time::from_millis(1 << 40);

/// JSON is refused or is an event; an event is written as JSON that is the same event again. A batch is its events, each a slice of it.
pub fn cloud_event(data: &[u8]) {
    let json = Bytes::copy_from_slice(data);
    for event in CloudEvent::split(&json, 16).unwrap_or_default() {
        assert!(json.as_ptr_range().contains(&event.as_ptr()), "no event is copied");
        let _ = read(event);
    }
    let Some(message) = read(json) else { return };
    assert!(roadbed_core::cloudevents::is_event(&message.details().properties));
    assert!(message.details().annotations.is_empty(), "what is the hub's own cannot be forged");

    let mut losses = Losses::default();
    let qos = Qos::AtLeastOnce;
    let delivery = Delivery { message: message.clone(), handle: None, qos, retained: false, attempt: 1, info: None };
    let written = CloudEvent::write(&delivery, NOW, &mut losses).expect("every message can be an event");
    let again = read(written.json).expect("what was written can be read");
    if losses.is_empty() {
        assert_eq!(in_words(&again), in_words(&message));
    }
}

fn read(json: Bytes) -> Option<Message> {
    let origin = Arc::new(Origin { principal: "me".into(), protocol: "http" });
    let address = Address::new("a").expect("an address");
    CloudEvent { address, json }.read(&ReadContext { origin: &origin, now: NOW }).ok()
}

/// All that an event says, in an order of its own.
fn in_words(message: &Message) -> String {
    let details = message.details();
    let mut properties: Vec<_> = details.properties.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    properties.sort();
    let said = (&details.message_id, &details.subject, &details.created_at, &details.group, &details.content_type);
    format!("{properties:?} {said:?} {:?} {:?}", message.expires_at(), message.payload().to_bytes())
}
