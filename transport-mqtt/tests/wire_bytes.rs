//! What a message costs on the wire at each QoS: the table of `docs/wire-bytes.md`, measured between two machines. `ROADBED_DOCS=write` writes it; otherwise
//! this test compares, so that no level's cost grows unseen.

use std::fmt::Write as _;
use std::path::Path;

use roadbed_core::{Confirm, Delivery, Handle, Message, Outcome, Qos};
use roadbed_mqtt::codec::{AckKind, Connect, ReasonCode, Version};
use roadbed_mqtt::{Event, MachineConfig};

#[path = "support/pair.rs"]
#[allow(dead_code, reason = "every test file uses its own part")]
mod pair;
mod support;

use pair::Pair;
use support::id;

const TOPIC: &str = "plant/7/line/3/temperature";
const PAYLOAD: usize = 64;

/// The bytes of each packet of one message, in the order in which they are sent.
type Packets = Vec<usize>;

struct Row {
    name: &'static str,
    version: Version,
    /// How many topic aliases each end takes.
    aliases: u16,
    /// Messages of the same topic that went before.
    before: usize,
}

const ROWS: [Row; 4] = [
    Row { name: "3.1.1", version: Version::V311, aliases: 0, before: 0 },
    Row { name: "5", version: Version::V5, aliases: 0, before: 0 },
    Row { name: "5, topic alias, first", version: Version::V5, aliases: 1, before: 0 },
    Row { name: "5, topic alias, later", version: Version::V5, aliases: 1, before: 1 },
];

#[test]
fn the_page_is_what_the_machines_write() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/wire-bytes.md");
    let page = page();
    if std::env::var_os("ROADBED_DOCS").is_some_and(|value| value == "write") {
        return std::fs::write(&path, page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "docs/wire-bytes.md differs; if it should, write it anew: cargo xtask docs");
}

#[test]
fn each_level_costs_more_than_the_one_below() {
    for row in &ROWS {
        let totals = Qos::ALL.map(|qos| measure(row, qos).iter().sum::<usize>());
        assert!(totals.is_sorted_by(|lower, higher| lower < higher), "{}: {totals:?}", row.name);
    }
}

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    for row in &ROWS {
        for qos in Qos::ALL {
            let packets = measure(row, qos);
            let cell = |n: usize| packets.get(n).map_or(String::new(), usize::to_string);
            let total: usize = packets.iter().sum();
            let line = [row.name.to_owned(), qos.level().to_string(), cell(0), cell(1), cell(2), cell(3)];
            let (line, beyond) = (line.join(" | "), total as isize - (TOPIC.len() + PAYLOAD) as isize);
            writeln!(page, "| {line} | {total} | {beyond} |").expect("a string takes everything");
        }
    }
    page
}

const INTRODUCTION: &str = "\
# Bytes on the wire

What one message costs at each QoS: a topic of 26 bytes, a payload of 64 bytes, no properties, nothing refused. Measured between the
client's and the server's machine by `transport-mqtt/tests/wire_bytes.rs`, which fails if a figure changes; `cargo xtask docs` writes
this page. Both directions cost the same. TCP, TLS and IP come on top. A topic alias is used where both ends take one: the first
message sets it, later ones leave the topic out, and so cost less than topic and payload alone.

| MQTT | QoS | PUBLISH | PUBACK or PUBREC | PUBREL | PUBCOMP | bytes in all | beyond topic and payload |
| --- | --- | --- | --- | --- | --- | --- | --- |
";

/// One message up and one down, which must cost the same.
fn measure(row: &Row, qos: Qos) -> Packets {
    let config = || MachineConfig::default().topic_aliases_in_max(row.aliases).topic_aliases_out_max(row.aliases);
    let mut pair = Pair::open_with(Connect::new(row.version, "dev"), config(), config(), usize::MAX);
    let message = Message::new(TOPIC.parse().expect("a legal address"), vec![b'x'; PAYLOAD]);
    assert_eq!(TOPIC.len(), 26);
    for _ in 0..row.before {
        up(&mut pair, &message, qos);
        down(&mut pair, &message, qos);
    }
    let (up, down) = (up(&mut pair, &message, qos), down(&mut pair, &message, qos));
    assert_eq!(up, down);
    up
}

fn up(pair: &mut Pair, message: &Message, qos: Qos) -> Packets {
    let packet_id = (qos != Qos::AtMostOnce).then(|| id(1));
    pair.client.publish_message(message, qos, packet_id, false, pair.now, &mut pair.to_server).expect("open");
    let mut packets = vec![pair.to_server.len()];
    let Some(Event::Publish(incoming)) = pair.at_server().pop() else { panic!("a message") };
    assert_eq!((incoming.qos, incoming.message.payload().len()), (qos, PAYLOAD));
    let confirm = Confirm { cookie: incoming.cookie(), outcome: Outcome::Accepted, why: None, provisional: None };
    let _ = pair.server.confirm(&confirm, &mut pair.to_client).expect("open");
    packets.extend(written(pair.to_client.len()));
    pair.at_client();
    if qos == Qos::ExactlyOnce {
        pair.client.release(id(1), ReasonCode::Success, &mut pair.to_server).expect("open");
        packets.push(pair.to_server.len());
        pair.at_server();
        pair.server.complete(id(1), ReasonCode::Success, &mut pair.to_client).expect("open");
        packets.push(pair.to_client.len());
        pair.at_client();
    }
    packets
}

fn down(pair: &mut Pair, message: &Message, qos: Qos) -> Packets {
    let handle = Handle::new(1, 1).filter(|_| qos != Qos::AtMostOnce);
    let delivery = Delivery { message: message.clone(), handle, qos, retained: false, attempt: 1, info: None };
    pair.server.deliver(&delivery, false, pair.now, &mut pair.to_client).expect("open");
    let mut packets = vec![pair.to_client.len()];
    let Some(Event::Publish(incoming)) = pair.at_client().pop() else { panic!("a message") };
    let confirm = Confirm { cookie: incoming.cookie(), outcome: Outcome::Accepted, why: None, provisional: None };
    let _ = pair.client.confirm(&confirm, &mut pair.to_server).expect("open");
    packets.extend(written(pair.to_server.len()));
    let answers = pair.at_server();
    if qos == Qos::ExactlyOnce {
        assert!(matches!(&answers[..], [Event::Ack(ack)] if ack.kind == AckKind::PubRec));
        pair.server.release(id(1), ReasonCode::Success, &mut pair.to_client).expect("open");
        packets.push(pair.to_client.len());
        pair.at_client();
        pair.client.complete(id(1), ReasonCode::Success, &mut pair.to_server).expect("open");
        packets.push(pair.to_server.len());
        pair.at_server();
    }
    packets
}

/// An answer, if there was one.
fn written(bytes: usize) -> Option<usize> {
    (bytes > 0).then_some(bytes)
}
