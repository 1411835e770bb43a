//! Where MQTT puts what a message has, as data.

use roadbed_core::conversion::{Cell, Conversion};
use roadbed_core::conversion_cells;

/// The conversion table of MQTT 3.1.1.
pub const MQTT_3: Conversion = Conversion { slug: "mqtt-3", title: "MQTT 3.1.1", cells: CELLS_3 };
/// The conversion table of MQTT 5.0.
pub const MQTT_5: Conversion = Conversion { slug: "mqtt-5", title: "MQTT 5", cells: CELLS_5 };

const V3: &str = "MQTT 3.1.1, 3.3";
const V5: &str = "MQTT 5.0, 3.3.2.3";
const USER: &str = "MQTT 5.0, 3.3.2.3.7";
const CORRELATION: &str = "MQTT 5.0, 3.3.2.3.6";
const TYPE: &str = "MQTT 5.0, 3.3.2.3.9";

const CELLS_5: &[Cell] = conversion_cells! {
    Address = Kept, "Topic Name", "MQTT 5.0, 3.3.2.1", "";
    Payload = Kept, "Payload", "MQTT 5.0, 3.3.3", "";
    ValueText = As(Plain), "Payload, Content Type, Payload Format Indicator", "MQTT 5.0, 3.3.3", "The text; its content type, where the sender gave none, is text/plain.";
    ValueBinary = As(Undeclared), "Payload", "MQTT 5.0, 3.3.3", "";
    ValueOther = As(Sections), "Payload, Content Type", "MQTT 5.0, 3.3.3", "The section as AMQP encodes it.";
    Sequence = As(Sections), "Payload, Content Type", "MQTT 5.0, 3.3.3", "The sections as AMQP encodes them.";
    DataSections = As(Joined, "the bounds of data sections"), "Payload", "MQTT 5.0, 3.3.3", "";
    ContentType = Kept, "Content Type", TYPE, "";
    ContentTypeNotAscii = Kept, "Content Type", TYPE, "";
    ContentEncoding = Lost("content encoding"), "", V5, "";
    PayloadFormat = Kept, "Payload Format Indicator", "MQTT 5.0, 3.3.2.3.2", "";
    MessageIdText = Lost("message id"), "", V5, "";
    MessageIdUint = Lost("message id"), "", V5, "";
    MessageIdUuid = Lost("message id"), "", V5, "";
    MessageIdBinary = Lost("message id"), "", V5, "";
    MessageIdOther = Lost("message id"), "", V5, "";
    CorrelationIdText = As(Bytes, "type of the correlation id"), "Correlation Data", CORRELATION, "";
    CorrelationIdUint = As(Bytes, "type of the correlation id"), "Correlation Data", CORRELATION, "Its decimal digits.";
    CorrelationIdUuid = As(Bytes, "type of the correlation id"), "Correlation Data", CORRELATION, "Its 16 bytes.";
    CorrelationIdBinary = Kept, "Correlation Data", CORRELATION, "";
    CorrelationIdOther = As(Bytes, "type of the correlation id"), "Correlation Data", CORRELATION, "";
    ReplyTo = Kept, "Response Topic", "MQTT 5.0, 3.3.2.3.5", "";
    ReplyToOther = Lost("a reply-to that is no address"), "", V5, "";
    Subject = Lost("subject"), "", V5, "";
    Group = Lost("group"), "", V5, "The hub conflates by it.";
    GroupSequence = Lost("group sequence"), "", V5, "";
    ReplyToGroup = Lost("reply-to group"), "", V5, "";
    CreatedAt = Lost("creation time"), "", V5, "";
    Ttl = As(Seconds), "Message Expiry Interval", "MQTT 5.0, 3.3.2.3.3", "What is left [MQTT-3.3.2-6]: rounded up, and never 0.";
    AbsoluteExpiry = As(Seconds), "Message Expiry Interval", "MQTT 5.0, 3.3.2.3.3", "As the time to live.";
    DeliverAfter = Lost("deliver after"), "", V5, "The hub waits for it.";
    Deadline = Lost("deadline"), "", V5, "The hub keeps it.";
    Priority = Lost("priority"), "", V5, "The hub delivers by it.";
    Stored = Unsaid, "", V5, "MQTT has no word for it: the receiving server's configuration says what is promised.";
    ForSession = Unsaid, "", V5, "As for stored.";
    DeliveryCount = Unsaid, "User Property: roadbed-delivery-count", USER, "How often the hub has delivered it in vain, if it has. DUP says nothing of it [MQTT-3.3.1-3]. Taken away from what a client sends.";
    Retain = Kept, "RETAIN", "MQTT 5.0, 3.3.1.3", "";
    Live = Unsaid, "", V5, "MQTT has no word for it, and who receives the message was there.";
    UserId = Lost("user-id"), "", V5, "";
    To = Lost("to"), "", V5, "";
    PropertyText = Kept, "User Property", USER, "";
    PropertyBool = As(Text, "type of a property"), "User Property", USER, "";
    PropertyInt = As(Text, "type of a property"), "User Property", USER, "";
    PropertyUint = As(Text, "type of a property"), "User Property", USER, "";
    PropertyFloat = As(Text, "type of a property"), "User Property", USER, "";
    PropertyBinary = As(Text, "type of a property"), "User Property", USER, "Hexadecimal.";
    PropertyTimestamp = As(Text, "type of a property"), "User Property", USER, "Milliseconds since 1970.";
    PropertyUuid = As(Text, "type of a property"), "User Property", USER, "";
    PropertyNull = As(Text, "type of a property"), "User Property", USER, "Empty.";
    PropertyNested = Lost("a property that is no simple value"), "", V5, "";
    PropertyRepeated = Kept, "User Property", "MQTT-3.3.2-17, MQTT-3.3.2-18", "All of them, in order.";
    PropertyName = Kept, "User Property", USER, "";
    CloudAttribute = Kept, "User Property: NAME", "CloudEvents MQTT binding, 3.1", "Of a whole event, under its own name; then a property whose name could be an attribute's is one.";
    CloudAttributeTime = As(Rfc3339, "type of a property"), "User Property: NAME", "CloudEvents MQTT binding, 3.1.3", "";
    ForeignAnnotation = Lost("annotations of others"), "", V5, "";
    HubAnnotation = Lost("annotations"), "", V5, "";
    Origin = Unsaid, "", V5, "Each server knows who is connected to it.";
    Footer = Lost("footer"), "", V5, "";
    LongContentType = Lost("content type"), "", "MQTT 5.0, 1.5.4", "A string has at most 65,535 bytes.";
    LongContentEncoding = Lost("content encoding"), "", V5, "";
    LongMessageId = Lost("message id"), "", V5, "";
    LongCorrelationId = Lost("type of the correlation id"), "", CORRELATION, "Binary data has at most 65,535 bytes.";
    LongReplyTo = Kept, "Response Topic", "MQTT 5.0, 3.3.2.3.5", "";
    LongSubject = Lost("subject"), "", V5, "";
    LongGroup = Lost("group"), "", V5, "";
    LongProperty = Lost("type of a property"), "", "MQTT 5.0, 1.5.4", "A string has at most 65,535 bytes, and no U+0000.";
    LongAnnotation = Lost("annotations"), "", V5, "";
};

const CELLS_3: &[Cell] = conversion_cells! {
    Address = Kept, "Topic Name", "MQTT 3.1.1, 3.3.2.1", "";
    Payload = Kept, "Payload", "MQTT 3.1.1, 3.3.3", "";
    ValueText = As(Undeclared, "content type"), "Payload", "MQTT 3.1.1, 3.3.3", "The text.";
    ValueBinary = As(Undeclared), "Payload", "MQTT 3.1.1, 3.3.3", "";
    ValueOther = As(Undeclared, "content type"), "Payload", "MQTT 3.1.1, 3.3.3", "The section as AMQP encodes it.";
    Sequence = As(Undeclared, "content type"), "Payload", "MQTT 3.1.1, 3.3.3", "The sections as AMQP encodes them.";
    DataSections = As(Joined, "the bounds of data sections"), "Payload", "MQTT 3.1.1, 3.3.3", "";
    ContentType = Lost("content type"), "", V3, "";
    ContentTypeNotAscii = Lost("content type"), "", V3, "";
    ContentEncoding = Lost("content encoding"), "", V3, "";
    PayloadFormat = Lost("payload format"), "", V3, "";
    MessageIdText = Lost("message id"), "", V3, "";
    MessageIdUint = Lost("message id"), "", V3, "";
    MessageIdUuid = Lost("message id"), "", V3, "";
    MessageIdBinary = Lost("message id"), "", V3, "";
    MessageIdOther = Lost("message id"), "", V3, "";
    CorrelationIdText = Lost("correlation id"), "", V3, "";
    CorrelationIdUint = Lost("correlation id"), "", V3, "";
    CorrelationIdUuid = Lost("correlation id"), "", V3, "";
    CorrelationIdBinary = Lost("correlation id"), "", V3, "";
    CorrelationIdOther = Lost("correlation id"), "", V3, "";
    ReplyTo = Lost("reply to"), "", V3, "";
    ReplyToOther = Lost("a reply-to that is no address"), "", V3, "";
    Subject = Lost("subject"), "", V3, "";
    Group = Lost("group"), "", V3, "The hub conflates by it.";
    GroupSequence = Lost("group sequence"), "", V3, "";
    ReplyToGroup = Lost("reply-to group"), "", V3, "";
    CreatedAt = Lost("creation time"), "", V3, "";
    Ttl = Lost("expiry"), "", V3, "The hub drops what has expired.";
    AbsoluteExpiry = Lost("expiry"), "", V3, "The hub drops what has expired.";
    DeliverAfter = Lost("deliver after"), "", V3, "The hub waits for it.";
    Deadline = Lost("deadline"), "", V3, "The hub keeps it.";
    Priority = Lost("priority"), "", V3, "The hub delivers by it.";
    Stored = Unsaid, "", V3, "MQTT has no word for it: the receiving server's configuration says what is promised.";
    ForSession = Unsaid, "", V3, "As for stored.";
    DeliveryCount = Unsaid, "", V3, "MQTT 3.1.1 has no place for it. DUP says nothing of it [MQTT-3.3.1-3].";
    Retain = Kept, "RETAIN", "MQTT 3.1.1, 3.3.1.3", "";
    Live = Unsaid, "", V3, "MQTT has no word for it, and who receives the message was there.";
    UserId = Lost("user-id"), "", V3, "";
    To = Lost("to"), "", V3, "";
    PropertyText = Lost("properties"), "", V3, "";
    PropertyBool = Lost("properties"), "", V3, "";
    PropertyInt = Lost("properties"), "", V3, "";
    PropertyUint = Lost("properties"), "", V3, "";
    PropertyFloat = Lost("properties"), "", V3, "";
    PropertyBinary = Lost("properties"), "", V3, "";
    PropertyTimestamp = Lost("properties"), "", V3, "";
    PropertyUuid = Lost("properties"), "", V3, "";
    PropertyNull = Lost("properties"), "", V3, "";
    PropertyNested = Lost("a property that is no simple value"), "", V3, "";
    PropertyRepeated = Lost("properties"), "", V3, "";
    PropertyName = Lost("properties"), "", V3, "";
    CloudAttribute = Lost("properties"), "", V3, "An event in JSON, as a payload, is the way through MQTT 3.1.1.";
    CloudAttributeTime = Lost("properties"), "", V3, "";
    ForeignAnnotation = Lost("annotations of others"), "", V3, "";
    HubAnnotation = Lost("annotations"), "", V3, "";
    Origin = Unsaid, "", V3, "Each server knows who is connected to it.";
    Footer = Lost("footer"), "", V3, "";
    LongContentType = Lost("content type"), "", V3, "";
    LongContentEncoding = Lost("content encoding"), "", V3, "";
    LongMessageId = Lost("message id"), "", V3, "";
    LongCorrelationId = Lost("correlation id"), "", V3, "";
    LongReplyTo = Lost("reply to"), "", V3, "";
    LongSubject = Lost("subject"), "", V3, "";
    LongGroup = Lost("group"), "", V3, "";
    LongProperty = Lost("properties"), "", V3, "";
    LongAnnotation = Lost("annotations"), "", V3, "";
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_whole() {
        super::MQTT_3.check().unwrap();
        super::MQTT_5.check().unwrap();
    }
}
