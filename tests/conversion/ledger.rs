//! What is counted is a row, wherever in the sources it is counted; and what a row says of the delivery is written.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use roadbed::{CopyId, DeliveryId, DeliveryInfo, Fence, Losses, QueueId, WireMessage};
use roadbed_amqp::dialect::Encoded;
use roadbed_http::HttpMessage;
use roadbed_mqtt::codec::Publish;

use crate::dialects::{ALL, NOW, delivery};
use crate::examples::blank;

pub(crate) fn trials() -> [Trial; 3] {
    [
        Trial::test("ledger/every-note-is-a-row", every_note_is_a_row),
        Trial::test("ledger/every-table-is-whole", every_table_is_whole),
        Trial::test("delivery-count/is-told-and-not-believed", the_count_is_told),
    ]
}

fn every_table_is_whole() -> Result<(), Failed> {
    ALL.iter().try_for_each(|dialect| Ok(dialect.table.check()?))
}

/// The literals in calls of `note` and `never`, and those of the lists of what only a bare message says.
fn every_note_is_a_row() -> Result<(), Failed> {
    let rows: BTreeSet<_> = ALL.iter().flat_map(|d| d.table.cells.iter().filter_map(|cell| cell.counted())).collect();
    let mut noted = 0;
    for file in [
        "transport-mqtt/src/dialect/message.rs",
        "transport-amqp/src/dialect/write.rs",
        "transport-amqp/src/dialect/read.rs",
        "transport-http/src/codec/fields.rs",
        "transport-http/src/codec/event/write.rs",
    ] {
        let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?;
        for what in source.lines().filter_map(noted_in) {
            noted += 1;
            if !rows.contains(what) {
                return Err(format!("{file} counts {what:?}, which is in no table").into());
            }
        }
    }
    if noted < 40 { Err(format!("only {noted} are found").into()) } else { Ok(()) }
}

fn noted_in(line: &str) -> Option<&str> {
    let calls = ["losses.note(\"", "never(", "only.extend(", "only.push(\"", "then_some(\"", ".is_some(), \""];
    let rows = ["put(", "(details.", "(message.", "(typed,"];
    let called = calls.iter().any(|call| line.contains(call));
    let called = called || rows.iter().any(|row| line.trim_start().starts_with(row));
    let literals: Vec<_> = line.split('"').skip(1).step_by(2).collect();
    match literals[..] {
        [what, ..] if called && !what.contains(": ") && !line.contains("Refusal::") => Some(what),
        _ => None,
    }
}

/// M5 of the contract: the count travels as a user property and in AMQP's header; DUP never follows from it.
fn the_count_is_told() -> Result<(), Failed> {
    let id = DeliveryId { copy: CopyId { queue: QueueId(1), seq: 2 }, fence: Fence::default() };
    let mut info = DeliveryInfo::new(id, NOW);
    info.count = 3;
    let mut third = delivery(&blank());
    (third.info, third.attempt) = (Some(Box::new(info)), 4);

    let publish = Publish::write(&third, NOW, &mut Losses::default())?;
    assert!(publish.user.contains(&("roadbed-delivery-count".into(), "3".into())), "{:?}", publish.user);
    assert!(!publish.dup);
    let origin = std::sync::Arc::default();
    let context = roadbed::ReadContext { origin: &origin, now: NOW };
    assert!(publish.read(&context)?.details().properties.is_empty());

    let encoded = Encoded::write(&third, NOW, &mut Losses::default())?.to_bytes();
    // durable, priority, no ttl, not first-acquirer, delivery-count.
    let header = Bytes::from_static(b"\x00\x53\x70\xc0\x08\x05\x42\x50\x04\x40\x40\x52\x03");
    assert!(encoded.starts_with(&header), "{encoded:?}");

    let response = HttpMessage::write(&third, NOW, &mut Losses::default())?;
    assert_eq!(response.headers["roadbed-delivery-count"], "3");
    Ok(())
}
