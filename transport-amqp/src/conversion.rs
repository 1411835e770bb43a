//! Where AMQP 1.0 puts what a message has, as data (OASIS AMQP 1.0, Part 3).

use roadbed_core::conversion::Conversion;
use roadbed_core::conversion_cells;

/// The conversion table of AMQP 1.0. A message that came by AMQP leaves as the bytes that came; the rows are for all others.
pub const AMQP: Conversion = Conversion { slug: "amqp", title: "AMQP 1.0", cells: CELLS };

const HEADER: &str = "Part 3, 3.2.1";
const ANNOTATIONS: &str = "Part 3, 3.2.3";
const PROPERTIES: &str = "Part 3, 3.2.4";
const APPLICATION: &str = "Part 3, 3.2.5";
const ID: &str = "Part 3, 3.2.11 to 3.2.14";

const CELLS: &[roadbed_core::conversion::Cell] = conversion_cells! {
    Address = Kept, "properties: to", PROPERTIES, "The link's target counts; `to` only where the link has none (the anonymous terminus).";
    Payload = Kept, "data", "Part 3, 3.2.6", "One section.";
    ValueText = Kept, "amqp-value", "Part 3, 3.2.8", "";
    ValueBinary = Kept, "amqp-value", "Part 3, 3.2.8", "";
    ValueOther = Kept, "amqp-value", "Part 3, 3.2.8", "Also written of a payload of this media type that came by another protocol, if it is such a body.";
    Sequence = Kept, "amqp-sequence", "Part 3, 3.2.7", "As for any other amqp-value.";
    DataSections = Kept, "data", "Part 3, 3.2.6", "";
    ContentType = Kept, "properties: content-type", PROPERTIES, "";
    ContentTypeNotAscii = Lost("a content type or encoding that is not ASCII"), "", "Part 1, 1.6.21", "A symbol is ASCII.";
    ContentEncoding = Kept, "properties: content-encoding", PROPERTIES, "";
    PayloadFormat = Lost("payload format indicator"), "", PROPERTIES, "";
    MessageIdText = Kept, "properties: message-id", ID, "";
    MessageIdUint = Kept, "properties: message-id", ID, "";
    MessageIdUuid = Kept, "properties: message-id", ID, "";
    MessageIdBinary = Kept, "properties: message-id", ID, "";
    MessageIdOther = As(Text, "the type of a message id"), "properties: message-id", ID, "";
    CorrelationIdText = Kept, "properties: correlation-id", ID, "";
    CorrelationIdUint = Kept, "properties: correlation-id", ID, "";
    CorrelationIdUuid = Kept, "properties: correlation-id", ID, "";
    CorrelationIdBinary = Kept, "properties: correlation-id", ID, "";
    CorrelationIdOther = As(Text, "the type of a message id"), "properties: correlation-id", ID, "";
    ReplyTo = Kept, "properties: reply-to", PROPERTIES, "";
    ReplyToOther = Kept, "properties: reply-to", PROPERTIES, "";
    Subject = Kept, "properties: subject", PROPERTIES, "";
    Group = Kept, "properties: group-id", PROPERTIES, "";
    GroupSequence = Kept, "properties: group-sequence", PROPERTIES, "";
    ReplyToGroup = Kept, "properties: reply-to-group-id", PROPERTIES, "";
    CreatedAt = Kept, "properties: creation-time", PROPERTIES, "";
    Ttl = Kept, "header: ttl", HEADER, "What is left, in milliseconds, rounded up and never 0; the sooner of it and the absolute expiry time counts.";
    AbsoluteExpiry = Kept, "properties: absolute-expiry-time", PROPERTIES, "Never changed on the way.";
    DeliverAfter = Kept, "annotation: x-opt-delivery-time", ANNOTATIONS, "Read also from x-opt-delivery-delay, counted from its arrival.";
    Deadline = Lost("deadline"), "", PROPERTIES, "";
    Priority = Kept, "header: priority", HEADER, "10 and more are 9.";
    Stored = Kept, "header: durable", HEADER, "";
    ForSession = As(Volatile), "header: durable", HEADER, "Durable is yes or no.";
    DeliveryCount = Unsaid, "header: delivery-count", HEADER, "How often the hub has delivered it in vain. What a sender says of it is not believed.";
    Retain = Kept, "annotation: x-opt-retain", ANNOTATIONS, "";
    Live = Kept, "annotation: x-opt-live", ANNOTATIONS, "";
    UserId = Kept, "properties: user-id", PROPERTIES, "The sender's word. What the hub knows of the sender is an annotation.";
    To = Kept, "properties: to", PROPERTIES, "";
    PropertyText = Kept, "application-properties", APPLICATION, "";
    PropertyBool = Kept, "application-properties", APPLICATION, "";
    PropertyInt = Kept, "application-properties", APPLICATION, "A long.";
    PropertyUint = Kept, "application-properties", APPLICATION, "A ulong.";
    PropertyFloat = Kept, "application-properties", APPLICATION, "A double.";
    PropertyBinary = Kept, "application-properties", APPLICATION, "";
    PropertyTimestamp = Kept, "application-properties", APPLICATION, "";
    PropertyUuid = Kept, "application-properties", APPLICATION, "";
    PropertyNull = Kept, "application-properties", APPLICATION, "";
    PropertyNested = Kept, "application-properties", APPLICATION, "";
    PropertyRepeated = As(First, "a second property of the same name"), "application-properties", APPLICATION, "A map has each key once.";
    PropertyName = Kept, "application-properties", APPLICATION, "";
    CloudAttribute = Kept, "application-properties: cloudEvents:NAME", "CloudEvents AMQP binding, 3.1.3.1", "cloudEvents_NAME is read as well.";
    CloudAttributeTime = Kept, "application-properties: cloudEvents:NAME", "CloudEvents AMQP binding, 2.2", "A timestamp.";
    ForeignAnnotation = Kept, "annotation", ANNOTATIONS, "";
    HubAnnotation = Unsaid, "annotation: x-opt-roadbed-NAME", ANNOTATIONS, "Told to receivers; what a sender writes there is taken away.";
    Origin = Unsaid, "annotation: x-opt-roadbed-sender, x-opt-roadbed-sender-protocol", ANNOTATIONS, "Told to receivers, if the sender has a name; what a sender writes there is taken away.";
    Footer = Kept, "footer", "Part 3, 3.2.9", "";
    LongContentType = Kept, "properties: content-type", PROPERTIES, "";
    LongContentEncoding = Kept, "properties: content-encoding", PROPERTIES, "";
    LongMessageId = Kept, "properties: message-id", ID, "";
    LongCorrelationId = Kept, "properties: correlation-id", ID, "";
    LongReplyTo = Kept, "properties: reply-to", PROPERTIES, "";
    LongSubject = Kept, "properties: subject", PROPERTIES, "";
    LongGroup = Kept, "properties: group-id", PROPERTIES, "";
    LongProperty = Kept, "application-properties", APPLICATION, "";
    LongAnnotation = Unsaid, "annotation: x-opt-roadbed-NAME", ANNOTATIONS, "As any annotation of the hub.";
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_whole() {
        super::AMQP.check().unwrap();
    }
}
