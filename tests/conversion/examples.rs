//! A message for every field.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadbed::conversion::Field;
use roadbed::{Address, Details, Durability, Message, MessageBuilder, Origin, Value};
use roadbed_amqp::dialect::Encoded;

use crate::dialects::{NOW, read};

/// A message that has nothing but an address and a payload.
pub(crate) fn blank() -> Message {
    plain().build()
}

fn plain() -> MessageBuilder {
    let origin = Arc::new(Origin { principal: "sender".into(), protocol: "ws" });
    Message::builder(Address::new("plant/7").expect("an address"), "x").origin(origin)
}

/// A message with the field. What only AMQP can say is read from AMQP's bytes.
pub(crate) fn example(field: Field) -> Message {
    if let Some(bytes) = encoded(field) {
        let address = Some(Address::new("plant/7").expect("an address"));
        return read("amqp", Encoded { address, ..Encoded::new(vec![Bytes::from(bytes)]) });
    }
    let uuid = Value::Uuid(*b"0123456789abcdef");
    let binary = Value::Binary(Bytes::from_static(b"\x00\xff"));
    let long = "x".repeat(70_000);
    let detail = |set: &dyn Fn(&mut Details)| plain().details(set).build();
    let id = |value: Value| detail(&|details| details.message_id = Some(value.clone()));
    let correlation = |value: Value| detail(&|details| details.correlation_id = Some(value.clone()));
    let property = |value: Value| plain().property("p", value).build();
    match field {
        Field::Address => plain().address(Address::new("é/ü b/%").expect("an address")).build(),
        Field::Payload => plain().payload(vec![0, 1, 255]).build(),
        Field::ContentType => detail(&|details| details.content_type = Some("image/png".into())),
        Field::ContentTypeNotAscii => detail(&|details| details.content_type = Some("text/é".into())),
        Field::ContentEncoding => detail(&|details| details.content_encoding = Some("gzip".into())),
        Field::PayloadFormat => detail(&|details| details.utf8 = Some(true)),
        Field::MessageIdText => id("m-1".into()),
        Field::MessageIdUint => id(Value::Uint(u64::MAX)),
        Field::MessageIdUuid => id(uuid),
        Field::MessageIdBinary => id(binary),
        Field::MessageIdOther => id(Value::Int(-7)),
        Field::CorrelationIdText => correlation("c-1".into()),
        Field::CorrelationIdUint => correlation(Value::Uint(u64::MAX)),
        Field::CorrelationIdUuid => correlation(uuid),
        Field::CorrelationIdBinary => correlation(binary),
        Field::CorrelationIdOther => correlation(Value::Int(-7)),
        Field::ReplyTo => detail(&|details| details.reply_to = Address::new("replies/é").ok()),
        Field::Subject => detail(&|details| details.subject = Some("subject é".into())),
        Field::Group => detail(&|details| details.group = Some("group".into())),
        Field::CreatedAt => detail(&|details| details.created_at = Some(NOW + Duration::from_millis(1))),
        Field::Ttl => plain().expires_at(NOW + Duration::from_millis(1_001)).build(),
        Field::DeliverAfter => detail(&|details| details.deliver_after = Some(NOW + Duration::from_millis(5))),
        Field::Deadline => detail(&|details| details.deadline = Some(NOW + Duration::from_millis(5))),
        Field::Priority => plain().priority(9).build(),
        Field::Stored => plain().durability(Durability::Stored).build(),
        Field::ForSession => plain().durability(Durability::Session).build(),
        Field::DeliveryCount => plain().build(),
        Field::Retain => plain().retain(true).build(),
        Field::Live => plain().live(true).build(),
        Field::PropertyText => property("text é".into()),
        Field::PropertyBool => property(true.into()),
        Field::PropertyInt => property(Value::Int(-7)),
        Field::PropertyUint => property(Value::Uint(7)),
        Field::PropertyFloat => property(Value::Float(1.5)),
        Field::PropertyBinary => property(binary),
        Field::PropertyTimestamp => property(Value::Timestamp(1_700_000_000_001)),
        Field::PropertyUuid => property(uuid),
        Field::PropertyNull => property(Value::Null),
        Field::PropertyRepeated => plain().property("p", "1").property("q", "2").property("p", "3").build(),
        Field::PropertyName => plain().property("Unit-é", "celsius").build(),
        Field::CloudAttribute => event().build(),
        Field::CloudAttributeTime => event().property("cloudEvents:seen", Value::Timestamp(1_700_000_000_001)).build(),
        Field::HubAnnotation => detail(&|details| details.annotations.push("reason", "x")),
        Field::Origin => plain().build(),
        Field::LongContentType => detail(&|details| details.content_type = Some(long.clone().into())),
        Field::LongContentEncoding => detail(&|details| details.content_encoding = Some(long.clone().into())),
        Field::LongMessageId => id(long.as_str().into()),
        Field::LongCorrelationId => correlation(long.as_str().into()),
        Field::LongReplyTo => detail(&|details| details.reply_to = Address::new("x".repeat(60_000)).ok()),
        Field::LongSubject => detail(&|details| details.subject = Some(long.clone().into())),
        Field::LongGroup => detail(&|details| details.group = Some(long.clone().into())),
        Field::LongProperty => property(long.as_str().into()),
        Field::LongAnnotation => detail(&|details| details.annotations.push("reason", Value::from(long.as_str()))),
        other => panic!("there is no example of {other:?}"),
    }
}

fn event() -> MessageBuilder {
    [("specversion", "1.0"), ("id", "e-1"), ("source", "/é"), ("type", "t"), ("tenant", "x y")]
        .into_iter()
        .fold(plain(), |message, (name, value)| message.property(format!("cloudEvents:{name}"), value))
}

/// What only AMQP can say.
fn encoded(field: Field) -> Option<Vec<u8>> {
    const DATA: &[u8] = b"\x00\x53\x75\xa0\x01x";
    // Properties with the last of `count` fields.
    let properties = |count: u8, last: &[u8]| {
        let nulls = vec![0x40; usize::from(count) - 1];
        let size = 1 + nulls.len() + last.len();
        [&[0x00, 0x53, 0x73, 0xc0, size as u8, count][..], &nulls, last, DATA].concat()
    };
    Some(match field {
        Field::ValueText => b"\x00\x53\x77\xa1\x03h\xc3\xa9".to_vec(),
        Field::ValueBinary => b"\x00\x53\x77\xa0\x02\x00\xff".to_vec(),
        // {"a": [1, null]}
        Field::ValueOther => b"\x00\x53\x77\xc1\x0a\x02\xa1\x01a\xc0\x04\x02\x54\x01\x40".to_vec(),
        Field::Sequence => b"\x00\x53\x76\xc0\x03\x01\x54\x01\x00\x53\x76\x45".to_vec(),
        Field::DataSections => b"\x00\x53\x75\xa0\x01x\x00\x53\x75\xa0\x00\x00\x53\x75\xa0\x01y".to_vec(),
        Field::UserId => properties(2, b"\xa0\x02me"),
        Field::To => properties(3, b"\xa1\x04else"),
        Field::ReplyToOther => properties(5, b"\xa1\x03a/+"),
        Field::AbsoluteExpiry => {
            let at = (NOW + Duration::from_millis(1_001)).as_millis();
            properties(9, &[&[0x83][..], &at.to_be_bytes()].concat())
        }
        Field::GroupSequence => properties(12, b"\x52\x07"),
        Field::ReplyToGroup => properties(13, b"\xa1\x01g"),
        Field::PropertyNested => [b"\x00\x53\x74\xc1\x07\x02\xa1\x01p\xc0\x01\x00", DATA].concat(),
        Field::ForeignAnnotation => [b"\x00\x53\x72\xc1\x0a\x02\xa3\x05x-jms\x50\x05", DATA].concat(),
        Field::Footer => [DATA, b"\x00\x53\x78\xc1\x06\x02\xa3\x01h\x50\x05"].concat(),
        _ => return None,
    })
}
