use crate::{Details, Value};

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What a message may have: the rows of the tables. Fields that may be of several types have a row for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Field { $($(#[doc = $doc])+ $name,)+ }

        impl Field {
            /// Every field, in the order of the tables.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The row's heading.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

fields! {
    /// Where it was sent to.
    Address = "address",
    /// Its bytes.
    Payload = "payload",
    /// An AMQP body of one text.
    ValueText = "amqp-value: text",
    /// An AMQP body of one run of bytes.
    ValueBinary = "amqp-value: bytes",
    /// An AMQP body of any other value.
    ValueOther = "amqp-value: any other",
    /// An AMQP body of sequences.
    Sequence = "amqp-sequence",
    /// An AMQP body of several data sections.
    DataSections = "several data sections",
    /// The media type of the payload.
    ContentType = "content type",
    /// A media type that is not ASCII.
    ContentTypeNotAscii = "content type that is not ASCII",
    /// How the payload is compressed.
    ContentEncoding = "content encoding",
    /// Whether the payload is declared to be UTF-8.
    PayloadFormat = "payload format",
    /// A message-id that is text.
    MessageIdText = "message-id: text",
    /// A message-id that is an unsigned number.
    MessageIdUint = "message-id: number",
    /// A message-id that is a UUID.
    MessageIdUuid = "message-id: UUID",
    /// A message-id that is bytes.
    MessageIdBinary = "message-id: bytes",
    /// A message-id of another type.
    MessageIdOther = "message-id: another type",
    /// A correlation-id that is text.
    CorrelationIdText = "correlation-id: text",
    /// A correlation-id that is an unsigned number.
    CorrelationIdUint = "correlation-id: number",
    /// A correlation-id that is a UUID.
    CorrelationIdUuid = "correlation-id: UUID",
    /// A correlation-id that is bytes.
    CorrelationIdBinary = "correlation-id: bytes",
    /// A correlation-id of another type.
    CorrelationIdOther = "correlation-id: another type",
    /// Where a response is to go.
    ReplyTo = "reply-to",
    /// AMQP's reply-to, where it is no address of ours.
    ReplyToOther = "reply-to that is no address",
    /// What it is about.
    Subject = "subject",
    /// Its group.
    Group = "group",
    /// AMQP's place in the group.
    GroupSequence = "group sequence",
    /// AMQP's group of responses.
    ReplyToGroup = "reply-to group",
    /// When it was made.
    CreatedAt = "creation time",
    /// How long it lives.
    Ttl = "time to live",
    /// AMQP's absolute expiry time.
    AbsoluteExpiry = "absolute expiry time",
    /// Not before this time.
    DeliverAfter = "delivery time",
    /// When feedback is due.
    Deadline = "deadline",
    /// Its priority.
    Priority = "priority",
    /// It is to survive a restart.
    Stored = "durability: stored",
    /// It is kept as long as its session is.
    ForSession = "durability: session",
    /// How often it was delivered and failed.
    DeliveryCount = "delivery count",
    /// Whether it becomes the last value.
    Retain = "retain",
    /// Whether it is for consumers attached now only.
    Live = "live",
    /// AMQP's user-id.
    UserId = "user-id",
    /// AMQP's `to`, where it is not the link's address.
    To = "to",
    /// A property that is text.
    PropertyText = "property: text",
    /// A property that is true or false.
    PropertyBool = "property: boolean",
    /// A property that is a signed number.
    PropertyInt = "property: signed number",
    /// A property that is an unsigned number.
    PropertyUint = "property: unsigned number",
    /// A property that is a floating-point number.
    PropertyFloat = "property: floating point",
    /// A property that is bytes.
    PropertyBinary = "property: bytes",
    /// A property that is a time.
    PropertyTimestamp = "property: timestamp",
    /// A property that is a UUID.
    PropertyUuid = "property: UUID",
    /// A property that is null.
    PropertyNull = "property: null",
    /// A property that is a list, a map, an array, a decimal or a described value.
    PropertyNested = "property: list, map, array, decimal, described",
    /// Two properties of one name.
    PropertyRepeated = "properties of the same name",
    /// A property whose name has more than small letters and digits.
    PropertyName = "property: name with other characters",
    /// A CloudEvents attribute.
    CloudAttribute = "CloudEvents attribute",
    /// A CloudEvents attribute that is a time.
    CloudAttributeTime = "CloudEvents attribute: time",
    /// An annotation that the sender or a hop wrote.
    ForeignAnnotation = "annotation of others",
    /// An annotation that the hub wrote.
    HubAnnotation = "annotation of the hub",
    /// Who sent it.
    Origin = "sender and its protocol",
    /// AMQP's footer.
    Footer = "footer",
    /// A media type of 70,000 bytes.
    LongContentType = "content type of 70,000 bytes",
    /// An encoding of 70,000 bytes.
    LongContentEncoding = "content encoding of 70,000 bytes",
    /// A message-id of 70,000 bytes.
    LongMessageId = "message-id of 70,000 bytes",
    /// A correlation-id of 70,000 bytes.
    LongCorrelationId = "correlation-id of 70,000 bytes",
    /// An address for responses of 60,000 bytes.
    LongReplyTo = "reply-to of 60,000 bytes",
    /// A subject of 70,000 bytes.
    LongSubject = "subject of 70,000 bytes",
    /// A group of 70,000 bytes.
    LongGroup = "group of 70,000 bytes",
    /// A property of 70,000 bytes.
    LongProperty = "property of 70,000 bytes",
    /// An annotation of 70,000 bytes.
    LongAnnotation = "annotation of 70,000 bytes",
}

impl Field {
    /// The row of a message-id.
    pub const fn of_message_id(value: &Value) -> Self {
        match value {
            Value::Text(_) => Self::MessageIdText,
            Value::Uint(_) => Self::MessageIdUint,
            Value::Uuid(_) => Self::MessageIdUuid,
            Value::Binary(_) => Self::MessageIdBinary,
            _ => Self::MessageIdOther,
        }
    }

    /// The row of a correlation-id.
    pub const fn of_correlation_id(value: &Value) -> Self {
        match value {
            Value::Text(_) => Self::CorrelationIdText,
            Value::Uint(_) => Self::CorrelationIdUint,
            Value::Uuid(_) => Self::CorrelationIdUuid,
            Value::Binary(_) => Self::CorrelationIdBinary,
            _ => Self::CorrelationIdOther,
        }
    }

    /// The row of a property.
    pub const fn of_property(value: &Value) -> Self {
        match value {
            Value::Null => Self::PropertyNull,
            Value::Bool(_) => Self::PropertyBool,
            Value::Int(_) => Self::PropertyInt,
            Value::Uint(_) => Self::PropertyUint,
            Value::Float(_) => Self::PropertyFloat,
            Value::Text(_) => Self::PropertyText,
            Value::Binary(_) => Self::PropertyBinary,
            Value::Timestamp(_) => Self::PropertyTimestamp,
            Value::Uuid(_) => Self::PropertyUuid,
        }
    }

    /// The rows of all properties, which share one list.
    pub(crate) fn of_properties(details: &Details) -> impl Iterator<Item = Self> {
        let list = &details.properties;
        let repeated = |n: usize, name: &str| list.iter().take(n).any(|(earlier, _)| *earlier == name);
        let twice = list.iter().enumerate().any(|(n, (name, _))| repeated(n, name));
        let kinds = list.iter().map(|(_, value)| Self::of_property(value));
        kinds.chain(twice.then_some(Self::PropertyRepeated))
    }
}
