use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roadbed_core::cloudevents::{self, PREFIX, REQUIRED, rfc3339};
use roadbed_core::{Delivery, Losses, Message, Time, Value};
use serde_json::value::RawValue;

use super::{is_json, is_text};

const CONTEXT: &str = "CloudEvents 1.0.2, context attributes";
const EXTENSION: &str = "CloudEvents 1.0.2, extension context attributes";
const JSON: &str = "CloudEvents JSON format, 2.2";
const NAMING: &str = "CloudEvents 1.0.2, naming conventions";

/// Writes a delivery as an event. What is no event becomes one: its id is the message's, or the copy's; its source the address; its type
/// `roadbed.message`. `lock` is the token to settle it with, as the attribute `roadbedlock`.
pub(crate) fn write(delivery: &Delivery, lock: Option<&str>, losses: &mut Losses) -> String {
    let mut event = Event { out: String::from("{"), names: BTreeSet::new(), losses };
    required(delivery, &mut event);
    attributes(&delivery.message, &mut event);
    if let Some(lock) = lock {
        event.text("roadbedlock", lock);
    }
    if let Some((place, at)) = delivery.info.as_ref().and_then(|info| Some((info.log?, info.enqueued_at))) {
        event.text("roadbedpartition", &place.partition.to_string());
        event.text("roadbedposition", &place.position.to_string());
        event.text("roadbedenqueued", &time(at));
    }
    note_losses(&delivery.message, event.losses);
    data(&delivery.message, &mut event.out);
    event.out.push('}');
    event.out
}

struct Event<'a> {
    out: String,
    /// The names that are there.
    names: BTreeSet<String>,
    losses: &'a mut Losses,
}

impl Event<'_> {
    fn text(&mut self, name: &str, text: &str) {
        let text = serde_json::to_string(text).expect("text is JSON");
        self.raw(name, &text);
    }

    /// Writes a value that is JSON already; whether there was no such name before.
    fn raw(&mut self, name: &str, json: &str) -> bool {
        if self.names.contains(name) {
            return false;
        }
        let comma = if self.names.is_empty() { "" } else { "," };
        write!(self.out, "{comma}\"{name}\":{json}").expect("text can be written");
        self.names.insert(name.to_owned());
        true
    }

    fn value(&mut self, name: &str, value: &Value) {
        let changed = match value {
            Value::Text(_) | Value::Bool(_) => false,
            Value::Int(number) => i32::try_from(*number).is_err(),
            Value::Uint(number) => i32::try_from(*number).is_err(),
            _ => true,
        };
        let new = match value {
            Value::Null => {
                self.losses.note("a property that is null", JSON);
                return;
            }
            Value::Bool(value) => self.raw(name, &value.to_string()),
            Value::Int(number) if !changed => self.raw(name, &number.to_string()),
            Value::Uint(number) if !changed => self.raw(name, &number.to_string()),
            Value::Binary(bytes) => self.raw(name, &format!("\"{}\"", STANDARD.encode(bytes))),
            other => {
                let text = cloudevents::text(other);
                let text = serde_json::to_string(&*text).expect("text is JSON");
                self.raw(name, &text)
            }
        };
        if !new {
            self.losses.note("a second property of the same name", JSON);
        } else if changed {
            self.losses.note("type of a property", JSON);
        }
    }
}

fn required(delivery: &Delivery, event: &mut Event<'_>) {
    let (message, properties) = (&delivery.message, &delivery.message.details().properties);
    if cloudevents::is_event(properties) {
        for name in REQUIRED {
            event.text(name, cloudevents::find(properties, name).unwrap_or_default());
        }
        return;
    }
    event.text("specversion", "1.0");
    match &message.details().message_id {
        Some(id) => {
            if !matches!(id, Value::Text(_)) {
                event.losses.note("type of the message id", CONTEXT);
            }
            event.text("id", &id.to_string());
        }
        None => event.text("id", &name_of_copy(delivery)),
    }
    event.text("source", &format!("/v1/messages/{}", message.address().to_path()));
    event.text("type", "roadbed.message");
}

/// The same for every attempt.
fn name_of_copy(delivery: &Delivery) -> String {
    match &delivery.info {
        Some(info) => format!("{:x}-{:x}", info.id.copy.queue.0, info.id.copy.seq),
        None => "0".to_owned(),
    }
}

fn attributes(message: &Message, event: &mut Event<'_>) {
    let details = message.details();
    for (name, value) in details.properties.iter() {
        match name.strip_prefix(PREFIX).unwrap_or(name) {
            // Those that are required have been written.
            attribute if name.starts_with(PREFIX) && REQUIRED.contains(&attribute) => {}
            "data" | "data_base64" | "datacontenttype" => event.losses.note(NAME, NAMING),
            attribute if cloudevents::is_attribute_name(attribute) => event.value(attribute, value),
            _ => event.losses.note(NAME, NAMING),
        }
    }
    let mut fill = |name: &str, text: Option<String>| {
        if let Some(text) = text.filter(|_| !event.names.contains(name)) {
            event.text(name, &text);
        }
    };
    fill("subject", details.subject.as_deref().map(str::to_owned));
    fill("time", details.created_at.map(time));
    fill("correlationid", details.correlation_id.as_ref().map(Value::to_string));
    fill("partitionkey", details.group.as_deref().map(str::to_owned));
    fill("expirytime", message.expires_at().map(time));
    fill("datacontenttype", details.content_type.as_deref().map(str::to_owned));
}

const NAME: &str = "a property whose name is none of an attribute";

fn time(at: Time) -> String {
    rfc3339(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

fn note_losses(message: &Message, losses: &mut Losses) {
    let details = message.details();
    let typed = !matches!(details.correlation_id, None | Some(Value::Text(_)));
    for (lost, what, section) in [
        (details.content_encoding.is_some(), "content encoding", CONTEXT),
        (details.utf8.is_some_and(|utf8| !says_text(message, utf8)), "payload format", CONTEXT),
        (typed, "type of the correlation id", EXTENSION),
        (details.reply_to.is_some(), "reply-to", EXTENSION),
        (details.deliver_after.is_some(), "delivery time", EXTENSION),
        (details.deadline.is_some(), "deadline", EXTENSION),
        (message.priority() != Message::PRIORITY_DEFAULT, "priority", EXTENSION),
    ] {
        if lost {
            losses.note(what, section);
        }
    }
    let only = details.bare.iter().flat_map(|bare| &bare.only);
    only.for_each(|what| losses.note(what, CONTEXT));
}

/// Whether the media type says as much as the format does.
fn says_text(message: &Message, utf8: bool) -> bool {
    utf8 && message.details().content_type.as_deref().is_some_and(is_text)
}

/// JSON as it is, text as a string, everything else in base64.
fn data(message: &Message, out: &mut String) {
    let (payload, content_type) = (message.payload(), message.details().content_type.as_deref());
    if payload.is_empty() {
        return;
    }
    let bytes = payload.to_bytes();
    let json = content_type.is_none_or(is_json) && message.details().content_encoding.is_none();
    let text = content_type.is_some_and(|content_type| !is_json(content_type) && is_text(content_type));
    if let Some(raw) = json.then(|| serde_json::from_slice::<&RawValue>(&bytes).ok()).flatten() {
        out.push_str(",\"data\":");
        out.push_str(raw.get());
    } else if let Some(text) = text.then(|| std::str::from_utf8(&bytes).ok()).flatten() {
        out.push_str(",\"data\":");
        out.push_str(&serde_json::to_string(text).expect("text is JSON"));
    } else {
        out.push_str(",\"data_base64\":\"");
        STANDARD.encode_string(&bytes, out);
        out.push('"');
    }
}
