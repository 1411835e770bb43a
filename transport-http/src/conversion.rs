//! Where HTTP and CloudEvents put what a message has, as data.

use roadbed_core::conversion::{Cell, Conversion};
use roadbed_core::conversion_cells;

/// The conversion table of HTTP: headers and a body. A page in JSON (`?max=N`) has the same headers without their limits.
pub const HTTP: Conversion = Conversion { slug: "http", title: "HTTP", cells: CELLS };
/// The conversion table of CloudEvents in JSON: structured and batched mode. A response of one event has the headers of HTTP beside it.
pub const CLOUD_EVENTS: Conversion = Conversion { slug: "cloudevents", title: "CloudEvents", cells: EVENT_CELLS };

const FIELD: &str = "RFC 9110, 6.3";
const LIMITS: &str = "RFC 9110, 5.4: field limits";
const ABSENT: &str = "RFC 9110, 6.3: no such field";

const CELLS: &[Cell] = conversion_cells! {
    Address = Kept, "path; roadbed-address", "RFC 9110, 7.1", "";
    Payload = Kept, "content", "RFC 9110, 6.4", "";
    ValueText = As(Plain), "content; content-type", "RFC 9110, 6.4", "The text; its content type, where the sender gave none, is text/plain.";
    ValueBinary = As(Undeclared), "content", "RFC 9110, 6.4", "";
    ValueOther = As(Sections), "content; content-type", "RFC 9110, 6.4", "The section as AMQP encodes it.";
    Sequence = As(Sections), "content; content-type", "RFC 9110, 6.4", "The sections as AMQP encodes them.";
    DataSections = As(Joined, "the bounds of data sections"), "content", "RFC 9110, 6.4", "";
    ContentType = Kept, "content-type", "RFC 9110, 8.3", "";
    ContentTypeNotAscii = Kept, "content-type", "RFC 9110, 8.3", "Percent-encoded.";
    ContentEncoding = Kept, "content-encoding", "RFC 9110, 8.4", "";
    PayloadFormat = Kept, "roadbed-utf8", FIELD, "";
    MessageIdText = Kept, "roadbed-message-id", FIELD, "";
    MessageIdUint = Kept, "roadbed-message-id", FIELD, "=uint:N";
    MessageIdUuid = Kept, "roadbed-message-id", FIELD, "=uuid:HEX";
    MessageIdBinary = Kept, "roadbed-message-id", FIELD, "=binary:BASE64URL";
    MessageIdOther = Kept, "roadbed-message-id", FIELD, "=KIND:VALUE";
    CorrelationIdText = Kept, "roadbed-correlation-id", FIELD, "";
    CorrelationIdUint = Kept, "roadbed-correlation-id", FIELD, "=uint:N";
    CorrelationIdUuid = Kept, "roadbed-correlation-id", FIELD, "=uuid:HEX";
    CorrelationIdBinary = Kept, "roadbed-correlation-id", FIELD, "=binary:BASE64URL";
    CorrelationIdOther = Kept, "roadbed-correlation-id", FIELD, "=KIND:VALUE";
    ReplyTo = Kept, "roadbed-reply-to", FIELD, "";
    ReplyToOther = Lost("a reply-to that is no address"), "", ABSENT, "";
    Subject = Kept, "roadbed-subject", FIELD, "";
    Group = Kept, "roadbed-group", FIELD, "";
    GroupSequence = Lost("group sequence"), "", ABSENT, "";
    ReplyToGroup = Lost("reply-to group"), "", ABSENT, "";
    CreatedAt = Kept, "roadbed-created-ms", FIELD, "";
    Ttl = Kept, "roadbed-ttl-ms", FIELD, "What is left, rounded up.";
    AbsoluteExpiry = Kept, "roadbed-ttl-ms", FIELD, "As the time to live.";
    DeliverAfter = Kept, "roadbed-deliver-after-ms", FIELD, "";
    Deadline = Kept, "roadbed-deadline-ms", FIELD, "";
    Priority = Kept, "roadbed-priority", FIELD, "";
    Stored = Kept, "roadbed-durability", FIELD, "";
    ForSession = Kept, "roadbed-durability", FIELD, "";
    DeliveryCount = Unsaid, "roadbed-delivery-count", FIELD, "How often the hub has delivered it in vain. Ignored in a request.";
    Retain = Kept, "roadbed-retain", FIELD, "";
    Live = Kept, "roadbed-live", FIELD, "";
    UserId = Lost("user-id"), "", ABSENT, "";
    To = Lost("to"), "", ABSENT, "";
    PropertyText = Kept, "roadbed-property-NAME", FIELD, "";
    PropertyBool = Kept, "roadbed-property-NAME", FIELD, "=bool:VALUE";
    PropertyInt = Kept, "roadbed-property-NAME", FIELD, "=int:N";
    PropertyUint = Kept, "roadbed-property-NAME", FIELD, "=uint:N";
    PropertyFloat = Kept, "roadbed-property-NAME", FIELD, "=float:N";
    PropertyBinary = Kept, "roadbed-property-NAME", FIELD, "=binary:BASE64URL";
    PropertyTimestamp = Kept, "roadbed-property-NAME", FIELD, "=time:MILLISECONDS";
    PropertyUuid = Kept, "roadbed-property-NAME", FIELD, "=uuid:HEX";
    PropertyNull = Kept, "roadbed-property-NAME", FIELD, "=null";
    PropertyNested = Lost("a property that is no simple value"), "", ABSENT, "";
    PropertyRepeated = Kept, "roadbed-property-NAME", "RFC 9110, 5.3", "All of them, in order.";
    PropertyName = Kept, "roadbed-property-NAME", FIELD, "Percent-encoded.";
    CloudAttribute = Kept, "ce-NAME", "CloudEvents HTTP binding, 3.1.3", "";
    CloudAttributeTime = As(Rfc3339, "type of a CloudEvents attribute"), "ce-NAME", "CloudEvents HTTP binding, 3.1.3", "";
    ForeignAnnotation = Lost("annotations of others"), "", ABSENT, "";
    HubAnnotation = Unsaid, "roadbed-annotation-NAME", FIELD, "Told to receivers; ignored in a request.";
    Origin = Unsaid, "roadbed-sender, roadbed-sender-protocol", FIELD, "Told to receivers; ignored in a request.";
    Footer = Lost("footer"), "", ABSENT, "";
    LongContentType = Lost("content type"), "", LIMITS, "16 KiB is the longest header.";
    LongContentEncoding = Lost("content encoding"), "", LIMITS, "16 KiB is the longest header.";
    LongMessageId = Lost("message id"), "", LIMITS, "16 KiB is the longest header.";
    LongCorrelationId = Lost("correlation id"), "", LIMITS, "16 KiB is the longest header.";
    LongReplyTo = Lost("reply-to"), "", LIMITS, "16 KiB is the longest header.";
    LongSubject = Lost("subject"), "", LIMITS, "16 KiB is the longest header.";
    LongGroup = Lost("group"), "", LIMITS, "16 KiB is the longest header.";
    LongProperty = Lost("properties"), "", LIMITS, "Together at most 16 KiB; a page in JSON has all.";
    LongAnnotation = Lost("annotations"), "", LIMITS, "A page in JSON has all.";
};

const JSON: &str = "CloudEvents JSON format, 2.2";
const DATA: &str = "CloudEvents JSON format, 3.1";
const CONTEXT: &str = "CloudEvents 1.0.2, context attributes";
const EXTENSION: &str = "CloudEvents 1.0.2, extension context attributes";
const NAMING: &str = "CloudEvents 1.0.2, naming conventions";

const EVENT_CELLS: &[Cell] = conversion_cells! {
    Address = Kept, "path of the request", "RFC 9110, 7.1", "An event itself has no destination.";
    Payload = Kept, "data; data_base64", DATA, "JSON as it is; text as a string, where its media type is not one of JSON; other bytes in base64.";
    ValueText = As(Plain), "data; datacontenttype", DATA, "The text; its content type, where the sender gave none, is text/plain.";
    ValueBinary = As(Undeclared), "data_base64", DATA, "";
    ValueOther = As(Sections), "data_base64; datacontenttype", DATA, "The section as AMQP encodes it.";
    Sequence = As(Sections), "data_base64; datacontenttype", DATA, "The sections as AMQP encodes them.";
    DataSections = As(Joined, "the bounds of data sections"), "data_base64", DATA, "";
    ContentType = Kept, "datacontenttype", CONTEXT, "";
    ContentTypeNotAscii = Kept, "datacontenttype", CONTEXT, "";
    ContentEncoding = Lost("content encoding"), "", CONTEXT, "";
    PayloadFormat = Lost("payload format"), "", CONTEXT, "";
    MessageIdText = Kept, "id", CONTEXT, "Unless the message is an event, which has an id of its own.";
    MessageIdUint = As(Text, "type of the message id"), "id", CONTEXT, "";
    MessageIdUuid = As(Text, "type of the message id"), "id", CONTEXT, "";
    MessageIdBinary = As(Text, "type of the message id"), "id", CONTEXT, "Hexadecimal.";
    MessageIdOther = As(Text, "type of the message id"), "id", CONTEXT, "";
    CorrelationIdText = Kept, "correlationid", EXTENSION, "";
    CorrelationIdUint = As(Text, "type of the correlation id"), "correlationid", EXTENSION, "";
    CorrelationIdUuid = As(Text, "type of the correlation id"), "correlationid", EXTENSION, "";
    CorrelationIdBinary = As(Text, "type of the correlation id"), "correlationid", EXTENSION, "Hexadecimal.";
    CorrelationIdOther = As(Text, "type of the correlation id"), "correlationid", EXTENSION, "";
    ReplyTo = Lost("reply-to"), "", EXTENSION, "";
    ReplyToOther = Lost("a reply-to that is no address"), "", EXTENSION, "";
    Subject = Kept, "subject", CONTEXT, "";
    Group = Kept, "partitionkey", "CloudEvents partitioning extension", "";
    GroupSequence = Lost("group sequence"), "", CONTEXT, "";
    ReplyToGroup = Lost("reply-to group"), "", CONTEXT, "";
    CreatedAt = Kept, "time", CONTEXT, "RFC 3339, with milliseconds.";
    Ttl = Kept, "expirytime", "CloudEvents expiry time extension", "The time at which it expires.";
    AbsoluteExpiry = Kept, "expirytime", "CloudEvents expiry time extension", "The sooner of it and the time to live.";
    DeliverAfter = Lost("delivery time"), "", EXTENSION, "";
    Deadline = Lost("deadline"), "", EXTENSION, "";
    Priority = Lost("priority"), "", EXTENSION, "";
    Stored = Unsaid, "", CONTEXT, "No part of an event: a header of the request says it for all of a batch.";
    ForSession = Unsaid, "", CONTEXT, "As for stored.";
    DeliveryCount = Unsaid, "", CONTEXT, "No part of an event.";
    Retain = Unsaid, "", CONTEXT, "No part of an event: a header of the request says it for all of a batch.";
    Live = Unsaid, "", CONTEXT, "As for retain.";
    UserId = Lost("user-id"), "", CONTEXT, "";
    To = Lost("to"), "", CONTEXT, "";
    PropertyText = Kept, "extension attribute", EXTENSION, "Where its name has small letters and digits alone.";
    PropertyBool = Kept, "extension attribute", JSON, "";
    PropertyInt = Kept, "extension attribute", JSON, "Of 32 bits; longer ones are text.";
    PropertyUint = As(Signed), "extension attribute", JSON, "Of 31 bits; longer ones are text.";
    PropertyFloat = As(Text, "type of a property"), "extension attribute", JSON, "";
    PropertyBinary = As(Base64, "type of a property"), "extension attribute", JSON, "";
    PropertyTimestamp = As(Rfc3339, "type of a property"), "extension attribute", JSON, "";
    PropertyUuid = As(Text, "type of a property"), "extension attribute", JSON, "";
    PropertyNull = Lost("a property that is null"), "", JSON, "An attribute that is null is not there.";
    PropertyNested = Lost("a property that is no simple value"), "", JSON, "";
    PropertyRepeated = As(First, "a second property of the same name"), "extension attribute", JSON, "An object has each name once.";
    PropertyName = Lost("a property whose name is none of an attribute"), "", NAMING, "A response of one event has it as a header.";
    CloudAttribute = Kept, "NAME", CONTEXT, "";
    CloudAttributeTime = As(Rfc3339, "type of a property"), "NAME", CONTEXT, "";
    ForeignAnnotation = Lost("annotations of others"), "", CONTEXT, "";
    HubAnnotation = Unsaid, "", CONTEXT, "No part of an event.";
    Origin = Unsaid, "", CONTEXT, "The source is the application's word.";
    Footer = Lost("footer"), "", CONTEXT, "";
    LongContentType = Kept, "datacontenttype", CONTEXT, "";
    LongContentEncoding = Lost("content encoding"), "", CONTEXT, "";
    LongMessageId = Kept, "id", CONTEXT, "";
    LongCorrelationId = Kept, "correlationid", EXTENSION, "";
    LongReplyTo = Lost("reply-to"), "", EXTENSION, "";
    LongSubject = Kept, "subject", CONTEXT, "";
    LongGroup = Kept, "partitionkey", "CloudEvents partitioning extension", "";
    LongProperty = Kept, "extension attribute", EXTENSION, "";
    LongAnnotation = Unsaid, "", CONTEXT, "No part of an event.";
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_whole() {
        super::HTTP.check().unwrap();
        super::CLOUD_EVENTS.check().unwrap();
    }
}
