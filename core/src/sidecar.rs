//! What travels beside a message because the next protocol has no place for it.

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use bytestring::ByteString;

use crate::conversion::{Conversion, Field};
use crate::{Address, Bare, Durability, Message, MessageBuilder, Payload, Properties, Time, Value};

/// What a dialect does not keep of a message, in a form that any dialect can carry: with it, a message that crosses another protocol and comes back is what
/// it was.
///
/// A version byte, then items of a tag, a length (LEB128) and as many bytes. Who reads it knows the peer: a sidecar says things
/// that are otherwise a hub's to say, so that one from elsewhere is dropped unread. It has no place for what only a hub may say at all: the
/// sender and the hub's annotations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sidecar {
    durability: Option<Durability>,
    priority: Option<u8>,
    retain: bool,
    live: bool,
    utf8: Option<bool>,
    content_type: Option<ByteString>,
    content_encoding: Option<ByteString>,
    subject: Option<ByteString>,
    group: Option<ByteString>,
    reply_to: Option<Address>,
    message_id: Option<Value>,
    correlation_id: Option<Value>,
    expires_at: Option<Time>,
    created_at: Option<Time>,
    deliver_after: Option<Time>,
    deadline: Option<Time>,
    properties: Option<Properties>,
    bare: Option<Bare>,
}

/// The first byte.
const VERSION: u8 = 1;
/// How many properties it carries at most: each takes more memory than it has bytes.
const PROPERTIES_MAX: usize = 256;

/// How much later a protocol that counts seconds may make a message expire; the rest is a clock that goes wrong.
const SECOND: core::time::Duration = core::time::Duration::from_secs(1);

macro_rules! tags {
    ($($name:ident = $number:literal,)+) => {
        $(const $name: u8 = $number;)+
    };
}

// Tags never change their meaning; what is unknown is skipped.
tags! {
    DURABILITY = 1,
    PRIORITY = 2,
    RETAIN = 3,
    LIVE = 4,
    UTF8 = 5,
    CONTENT_TYPE = 6,
    CONTENT_ENCODING = 7,
    SUBJECT = 8,
    GROUP = 9,
    REPLY_TO = 10,
    MESSAGE_ID = 11,
    CORRELATION_ID = 12,
    CREATED_AT = 13,
    DELIVER_AFTER = 14,
    DEADLINE = 15,
    // A name and a value, in turn; present once for each.
    PROPERTY_NAME = 16,
    PROPERTY_VALUE = 17,
    // There are no properties but those that follow.
    PROPERTIES = 18,
    AMQP_HEAD = 19,
    AMQP_TAIL = 20,
    AMQP_ANNOTATIONS = 21,
    EXPIRES_AT = 22,
}

impl Sidecar {
    /// What `table` does not keep of `message`; `None` if that is nothing, or more than `bytes_max` bytes.
    pub fn encode(message: &Message, table: &Conversion, bytes_max: usize) -> Option<Vec<u8>> {
        let mut out = Items(alloc::vec![VERSION]);
        let lost = |field: Field| !table.keeps(field);
        if message.priority() != Message::PRIORITY_DEFAULT && lost(Field::Priority) {
            out.byte(PRIORITY, message.priority());
        }
        if message.retain() && lost(Field::Retain) {
            out.item(RETAIN, &[]);
        }
        if message.live() && lost(Field::Live) {
            out.item(LIVE, &[]);
        }
        if message.has_details() {
            encode_details(message, &lost, &mut out)?;
        }
        if let Some(at) = message.expires_at().filter(|_| lost(Field::Ttl)) {
            out.item(EXPIRES_AT, &at.as_millis().to_be_bytes());
        }
        // Volatile is what nearly all are: no reason for a sidecar, but part of one.
        let volatile = message.durability() == Durability::Volatile;
        if lost(Field::Stored) && (!volatile || out.0.len() > 1) {
            out.byte(DURABILITY, durability_byte(message.durability()));
        }
        (out.0.len() > 1 && out.0.len() <= bytes_max).then_some(out.0)
    }

    /// Reads a sidecar; `None` if it is none, or of a version that is not known.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut rest = bytes.clone();
        if !rest.has_remaining() || rest.get_u8() != VERSION {
            return None;
        }
        let (mut sidecar, mut name) = (Self::default(), None);
        while rest.has_remaining() {
            let tag = rest.get_u8();
            let len = length(&mut rest)?;
            let bytes = (len <= rest.len()).then(|| rest.split_to(len))?;
            sidecar.set(tag, bytes, &mut name)?;
        }
        Some(sidecar)
    }

    /// Gives a message that has just been read what it lost on the way. What somebody has changed on the way is left as it now is: properties other than those that
    /// were sent make it forget its own.
    pub fn restore(self, mut message: MessageBuilder) -> MessageBuilder {
        message = match self.durability {
            Some(durability) => message.durability(durability),
            None => message,
        };
        message = match self.priority {
            Some(priority) => message.priority(priority),
            None => message,
        };
        if let (Some(sent), Some(came)) = (self.expires_at, message.expiry())
            && sent <= came
            && came <= sent + SECOND
        {
            message = message.expires_at(sent);
        }
        if self.retain {
            message = message.retain(true);
        }
        if self.live {
            message = message.live(true);
        }
        message.details(|details| {
            details.utf8 = self.utf8.or(details.utf8);
            replace(&mut details.content_type, self.content_type);
            replace(&mut details.content_encoding, self.content_encoding);
            replace(&mut details.subject, self.subject);
            replace(&mut details.group, self.group);
            replace(&mut details.reply_to, self.reply_to);
            replace(&mut details.message_id, self.message_id);
            replace(&mut details.correlation_id, self.correlation_id);
            replace(&mut details.created_at, self.created_at);
            replace(&mut details.deliver_after, self.deliver_after);
            replace(&mut details.deadline, self.deadline);
            let untouched = self.properties.as_ref().is_none_or(|sent| are_from(&details.properties, sent));
            if untouched {
                replace(&mut details.bare, self.bare);
                if let Some(sent) = self.properties {
                    details.properties = sent;
                }
            }
        })
    }

    fn set(&mut self, tag: u8, bytes: Bytes, name: &mut Option<ByteString>) -> Option<()> {
        match tag {
            DURABILITY => {
                self.durability = match bytes.first()? {
                    0 => Some(Durability::Volatile),
                    1 => Some(Durability::Session),
                    _ => Some(Durability::Stored),
                }
            }
            PRIORITY => self.priority = bytes.first().copied(),
            RETAIN => self.retain = true,
            LIVE => self.live = true,
            UTF8 => self.utf8 = Some(*bytes.first()? != 0),
            CONTENT_TYPE => self.content_type = Some(text(bytes)?),
            CONTENT_ENCODING => self.content_encoding = Some(text(bytes)?),
            SUBJECT => self.subject = Some(text(bytes)?),
            GROUP => self.group = Some(text(bytes)?),
            REPLY_TO => self.reply_to = Some(Address::new(text(bytes)?).ok()?),
            MESSAGE_ID => self.message_id = Some(value(bytes)?),
            CORRELATION_ID => self.correlation_id = Some(value(bytes)?),
            CREATED_AT => self.created_at = Some(time(&bytes)?),
            DELIVER_AFTER => self.deliver_after = Some(time(&bytes)?),
            DEADLINE => self.deadline = Some(time(&bytes)?),
            PROPERTIES => self.properties = Some(Properties::EMPTY),
            PROPERTY_NAME => *name = Some(text(bytes)?),
            PROPERTY_VALUE => {
                let properties = self.properties.as_mut().filter(|list| list.len() < PROPERTIES_MAX)?;
                properties.push(name.take()?, value(bytes)?);
            }
            EXPIRES_AT => self.expires_at = Some(time(&bytes)?),
            AMQP_HEAD => self.bare().head = Payload::from(bytes),
            AMQP_TAIL => self.bare().tail = bytes,
            AMQP_ANNOTATIONS => self.bare().annotations = bytes,
            _ => {}
        }
        Some(())
    }

    fn bare(&mut self) -> &mut Bare {
        self.bare.get_or_insert_with(|| Bare { protocol: "amqp", around: true, ..Bare::default() })
    }
}

fn encode_details(message: &Message, lost: &impl Fn(Field) -> bool, out: &mut Items) -> Option<()> {
    let details = message.details();
    if details.properties.len() > PROPERTIES_MAX {
        return None;
    }
    if let Some(utf8) = details.utf8.filter(|_| lost(Field::PayloadFormat)) {
        out.byte(UTF8, utf8.into());
    }
    let ascii = details.content_type.as_deref().is_none_or(str::is_ascii);
    let content_type = if ascii { Field::ContentType } else { Field::ContentTypeNotAscii };
    for (tag, field, text) in [
        (CONTENT_TYPE, content_type, details.content_type.as_deref()),
        (CONTENT_ENCODING, Field::ContentEncoding, details.content_encoding.as_deref()),
        (SUBJECT, Field::Subject, details.subject.as_deref()),
        (GROUP, Field::Group, details.group.as_deref()),
        (REPLY_TO, Field::ReplyTo, details.reply_to.as_ref().map(Address::as_str)),
    ] {
        if let Some(text) = text.filter(|_| lost(field)) {
            out.item(tag, text.as_bytes());
        }
    }
    for (tag, field, value) in [
        (MESSAGE_ID, Field::of_message_id as fn(&Value) -> Field, &details.message_id),
        (CORRELATION_ID, Field::of_correlation_id, &details.correlation_id),
    ] {
        if let Some(value) = value.as_ref().filter(|value| lost(field(value))) {
            out.value(tag, value);
        }
    }
    for (tag, field, at) in [
        (CREATED_AT, Field::CreatedAt, details.created_at),
        (DELIVER_AFTER, Field::DeliverAfter, details.deliver_after),
        (DEADLINE, Field::Deadline, details.deadline),
    ] {
        if let Some(at) = at.filter(|_| lost(field)) {
            out.item(tag, &at.as_millis().to_be_bytes());
        }
    }
    if Field::of_properties(details).any(lost) {
        out.item(PROPERTIES, &[]);
        for (name, value) in details.properties.iter() {
            out.item(PROPERTY_NAME, name.as_bytes());
            out.value(PROPERTY_VALUE, value);
        }
    }
    // A head that has the payload in it would carry it twice.
    let bare = details.bare.as_ref().filter(|bare| bare.protocol == "amqp" && bare.around);
    if let Some(bare) = bare.filter(|_| lost(Field::PropertyNested)) {
        out.item(AMQP_HEAD, &bare.head.to_bytes());
        for (tag, bytes) in [(AMQP_TAIL, &bare.tail), (AMQP_ANNOTATIONS, &bare.annotations)] {
            if !bytes.is_empty() {
                out.item(tag, bytes);
            }
        }
    }
    Some(())
}

fn durability_byte(durability: Durability) -> u8 {
    match durability {
        Durability::Volatile => 0,
        Durability::Session => 1,
        _ => 2,
    }
}

struct Items(Vec<u8>);

impl Items {
    fn item(&mut self, tag: u8, bytes: &[u8]) {
        self.head(tag, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn byte(&mut self, tag: u8, byte: u8) {
        self.item(tag, &[byte]);
    }

    /// A value: its kind, and its bytes.
    fn value(&mut self, tag: u8, value: &Value) {
        let (kind, bytes): (u8, &[u8]) = match value {
            Value::Null => (0, &[]),
            Value::Bool(false) => (1, &[]),
            Value::Bool(true) => (2, &[]),
            Value::Int(number) => (3, &number.to_be_bytes()),
            Value::Uint(number) => (4, &number.to_be_bytes()),
            Value::Float(number) => (5, &number.to_be_bytes()),
            Value::Text(text) => (6, text.as_bytes()),
            Value::Binary(bytes) => (7, bytes),
            Value::Timestamp(millis) => (8, &millis.to_be_bytes()),
            Value::Uuid(id) => (9, id),
        };
        self.head(tag, bytes.len() + 1);
        self.0.push(kind);
        self.0.extend_from_slice(bytes);
    }

    fn head(&mut self, tag: u8, mut len: usize) {
        self.0.push(tag);
        while len > 0x7f {
            self.0.push(len as u8 | 0x80);
            len >>= 7;
        }
        self.0.push(len as u8);
    }
}

fn length(rest: &mut Bytes) -> Option<usize> {
    let mut len = 0_usize;
    for shift in [0, 7, 14, 21] {
        let byte = rest.has_remaining().then(|| rest.get_u8())?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

fn text(bytes: Bytes) -> Option<ByteString> {
    ByteString::try_from(bytes).ok()
}

fn time(bytes: &[u8]) -> Option<Time> {
    Some(Time::from_millis(u64::from_be_bytes(bytes.try_into().ok()?)))
}

fn value(mut bytes: Bytes) -> Option<Value> {
    let kind = bytes.has_remaining().then(|| bytes.get_u8())?;
    let number = || <[u8; 8]>::try_from(&bytes[..]).ok();
    Some(match kind {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(i64::from_be_bytes(number()?)),
        4 => Value::Uint(u64::from_be_bytes(number()?)),
        5 => Value::Float(f64::from_be_bytes(number()?)),
        6 => Value::Text(text(bytes)?),
        7 => Value::Binary(bytes),
        8 => Value::Timestamp(i64::from_be_bytes(number()?)),
        9 => Value::Uuid(bytes[..].try_into().ok()?),
        _ => return None,
    })
}

fn replace<T>(into: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *into = value;
    }
}

/// Whether the properties that came are those that were sent, without some that could not be said.
fn are_from(came: &Properties, sent: &Properties) -> bool {
    let mut sent = sent.iter();
    came.iter().all(|(name, value)| {
        sent.any(|(other, original)| other == name && (value == original || is_text_of(value, original)))
    })
}

fn is_text_of(value: &Value, original: &Value) -> bool {
    value.as_str().is_some_and(|text| text == original.to_string())
}
