//! The names of the headers.

use http::HeaderName;

macro_rules! names {
    ($($name:ident = $text:literal,)+) => {
        $(pub(crate) const $name: HeaderName = HeaderName::from_static($text);)+
    };
}

names! {
    ADDRESS = "roadbed-address",
    ATTEMPT = "roadbed-attempt",
    BACKLOG = "roadbed-backlog",
    CORRELATION_ID = "roadbed-correlation-id",
    CREATED_MS = "roadbed-created-ms",
    DEADLINE_MS = "roadbed-deadline-ms",
    DELIVERY_COUNT = "roadbed-delivery-count",
    DELIVERY_ID = "roadbed-delivery-id",
    DELIVER_AFTER_MS = "roadbed-deliver-after-ms",
    DURABILITY = "roadbed-durability",
    ENQUEUED_MS = "roadbed-enqueued-ms",
    GROUP = "roadbed-group",
    IDEMPOTENCY_KEY = "idempotency-key",
    LIVE = "roadbed-live",
    LOCK_UNTIL_MS = "roadbed-lock-until-ms",
    LOST = "roadbed-lost",
    MESSAGE_ID = "roadbed-message-id",
    NEXT = "roadbed-next",
    PARTITION = "roadbed-partition",
    POSITION = "roadbed-position",
    PREFER = "prefer",
    PREFERENCE_APPLIED = "preference-applied",
    PRIORITY = "roadbed-priority",
    PROPERTIES = "roadbed-properties",
    QOS = "roadbed-qos",
    REPEATED = "roadbed-repeated",
    REPLY_TO = "roadbed-reply-to",
    RETAIN = "roadbed-retain",
    RETAINED = "roadbed-retained",
    SENDER = "roadbed-sender",
    SENDER_PROTOCOL = "roadbed-sender-protocol",
    SETTLED = "roadbed-settled",
    SIDECAR = "roadbed-sidecar",
    SUBJECT = "roadbed-subject",
    TRANSACTION = "roadbed-transaction",
    TTL_MS = "roadbed-ttl-ms",
    UTF8 = "roadbed-utf8",
}

/// Before every name of this crate's own.
pub(crate) const OWN: &str = "roadbed-";
/// Before the name of an application property.
pub(crate) const PROPERTY: &str = "roadbed-property-";
/// Before the name of an annotation of the hub.
pub(crate) const ANNOTATION: &str = "roadbed-annotation-";
/// Before the name of a CloudEvents attribute.
pub(crate) const CLOUD: &str = "ce-";
