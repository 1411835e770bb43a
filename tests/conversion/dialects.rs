//! The dialects: each writes a message and reads it again, as a server reads what a client sends.

use std::sync::Arc;

use roadbed::conversion::Conversion;
use roadbed::{Delivery, Losses, Message, Origin, Qos, ReadContext, Time, WireMessage};
use roadbed_amqp::dialect::Encoded;
use roadbed_http::{CloudEvent, HttpMessage};
use roadbed_mqtt::codec::Publish;
use roadbed_mqtt::dialect::PlainPublish;

pub(crate) const NOW: Time = Time::from_millis(1_700_000_000_000);

/// A dialect.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) table: &'static Conversion,
    /// Over the wire.
    pub(crate) pass: fn(&Message, &mut Losses) -> Message,
}

pub(crate) const ALL: [Dialect; 5] = [
    Dialect { table: &roadbed_mqtt::conversion::MQTT_3, pass: mqtt_3 },
    Dialect { table: &roadbed_mqtt::conversion::MQTT_5, pass: mqtt_5 },
    Dialect { table: &roadbed_amqp::conversion::AMQP, pass: amqp },
    Dialect { table: &roadbed_http::conversion::HTTP, pass: http },
    Dialect { table: &roadbed_http::conversion::CLOUD_EVENTS, pass: cloud_events },
];

fn mqtt_3(message: &Message, losses: &mut Losses) -> Message {
    over::<PlainPublish>("mqtt", message, losses)
}

fn mqtt_5(message: &Message, losses: &mut Losses) -> Message {
    over::<Publish>("mqtt", message, losses)
}

/// The address is the link's.
pub(crate) fn amqp(message: &Message, losses: &mut Losses) -> Message {
    let written = Encoded::write(&delivery(message), NOW, losses).expect("it can be written");
    let address = Some(message.address().clone());
    read("amqp", Encoded { address, ..written })
}

fn http(message: &Message, losses: &mut Losses) -> Message {
    over::<HttpMessage>("http", message, losses)
}

fn cloud_events(message: &Message, losses: &mut Losses) -> Message {
    over::<CloudEvent>("http", message, losses)
}

fn over<W: WireMessage>(protocol: &'static str, message: &Message, losses: &mut Losses) -> Message {
    read(protocol, W::write(&delivery(message), NOW, losses).expect("it can be written"))
}

pub(crate) fn read(protocol: &'static str, frame: impl WireMessage) -> Message {
    let origin = Arc::new(Origin { principal: "reader".into(), protocol });
    frame.read(&ReadContext { origin: &origin, now: NOW }).expect("what was written can be read")
}

/// Published on: the retain flag is that of the message.
pub(crate) fn delivery(message: &Message) -> Delivery {
    let retained = message.retain();
    Delivery { message: message.clone(), handle: None, qos: Qos::AtLeastOnce, retained, attempt: 1, info: None }
}
