//! What a cell says, compared with what comes back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::{Failed, Trial};
use roadbed::cloudevents::{PREFIX, rfc3339};
use roadbed::conversion::{Cell, Fate, Field, Form};
use roadbed::settlement::slug;
use roadbed::{Durability, Losses, Message, Properties, Value};

use crate::dialects::{ALL, Dialect, NOW};
use crate::examples::{blank, example};

/// One trial for every cell.
pub(crate) fn cells() -> Vec<Trial> {
    let all = ALL.into_iter().flat_map(|dialect| dialect.table.cells.iter().map(move |cell| (dialect, cell)));
    let trial = |(dialect, cell): (Dialect, &'static Cell)| {
        let name = format!("cell/{}/{}", dialect.table.slug, slug(cell.field.as_str()));
        Trial::test(name, move || check(dialect, cell, &example(cell.field), &blank()))
    };
    all.map(trial).collect()
}

/// One trial for every field and ordered pair of dialects of which the first keeps it.
pub(crate) fn pairs() -> Vec<Trial> {
    let pairs = ALL.into_iter().flat_map(|first| ALL.into_iter().map(move |second| (first, second)));
    let trials = pairs.flat_map(|(first, second)| {
        let kept = second.table.cells.iter().filter(move |cell| crosses(first, cell.field));
        kept.map(move |cell| {
            let name = format!("pair/{}/{}/{}", first.table.slug, second.table.slug, slug(cell.field.as_str()));
            Trial::test(name, move || {
                let once = |message: &Message| (first.pass)(message, &mut Losses::default());
                check(second, cell, &once(&example(cell.field)), &once(&blank()))
            })
        })
    });
    trials.collect()
}

/// Whether the first dialect says the field as it is. An event's properties are attributes, which is another row; and it never lacks an id.
pub(crate) fn crosses(first: Dialect, field: Field) -> bool {
    let another = matches!(field, Field::PropertyBool | Field::PropertyInt | Field::LongMessageId);
    first.table.keeps(field) && !(first.table.slug == "cloudevents" && another)
}

fn check(dialect: Dialect, cell: &Cell, sent: &Message, nothing: &Message) -> Result<(), Failed> {
    let mut losses = Losses::default();
    let came = (dialect.pass)(sent, &mut losses);
    let without = (dialect.pass)(nothing, &mut Losses::default());
    let expected = match cell.fate {
        Fate::Kept => facet(cell.field, sent, true),
        Fate::As { form, .. } => facet(cell.field, &changed(form, sent), false),
        Fate::Lost(_) | Fate::Unsaid => facet(cell.field, &without, false),
    };
    let found = facet(cell.field, &came, cell.fate == Fate::Kept);
    if found != expected {
        return Err(format!("{cell:?}\nexpected {}\n   found {}", short(&expected), short(&found)).into());
    }
    let counted: Vec<_> = losses.iter().map(|(loss, _)| loss.what).collect();
    // What an event says of itself is in its attributes, and is not lost where those are kept.
    let is_event = roadbed::cloudevents::is_event(&sent.details().properties);
    match cell.counted() {
        Some(what) if !counted.contains(&what) && !is_event => {
            Err(format!("{what:?} is not counted: {counted:?}").into())
        }
        None if !counted.is_empty() && !is_event => Err(format!("nothing is lost, and counted are {counted:?}").into()),
        _ => Ok(()),
    }
}

fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

/// The part of a message that a field is about; with what AMQP wrote, where that is to be the same.
fn facet(field: Field, message: &Message, whole: bool) -> String {
    use Field as F;
    let details = message.details();
    let bare = details.bare.as_ref().filter(|_| whole);
    let bare = bare.map(|bare| (bare.head.to_bytes(), bare.tail.clone(), bare.annotations.clone()));
    match field {
        F::Address => message.address().as_str().to_owned(),
        F::Payload => format!("{:?}", message.payload().to_bytes()),
        F::ValueText | F::ValueBinary | F::ValueOther | F::Sequence | F::DataSections => {
            format!("{:?} {:?} {bare:?}", message.payload().to_bytes(), details.content_type)
        }
        F::ContentType | F::ContentTypeNotAscii | F::LongContentType => format!("{:?}", details.content_type),
        F::ContentEncoding | F::LongContentEncoding => format!("{:?}", details.content_encoding),
        F::PayloadFormat => format!("{:?}", details.utf8),
        F::MessageIdText | F::MessageIdUint | F::MessageIdUuid | F::MessageIdBinary | F::MessageIdOther => {
            format!("{:?}", details.message_id)
        }
        F::LongMessageId => format!("{:?}", details.message_id),
        F::CorrelationIdText | F::CorrelationIdUint | F::CorrelationIdUuid | F::CorrelationIdBinary => {
            format!("{:?}", details.correlation_id)
        }
        F::CorrelationIdOther | F::LongCorrelationId => format!("{:?}", details.correlation_id),
        F::ReplyTo | F::LongReplyTo => format!("{:?}", details.reply_to),
        F::Subject | F::LongSubject => format!("{:?}", details.subject),
        F::Group | F::LongGroup => format!("{:?}", details.group),
        F::CreatedAt => format!("{:?}", details.created_at),
        F::Ttl | F::AbsoluteExpiry => format!("{:?}", message.expires_at()),
        F::DeliverAfter => format!("{:?}", details.deliver_after),
        F::Deadline => format!("{:?}", details.deadline),
        F::Priority => message.priority().to_string(),
        F::Stored | F::ForSession => format!("{:?}", message.durability()),
        F::Retain => message.retain().to_string(),
        F::Live => message.live().to_string(),
        F::Origin => format!("{:?}", message.origin()),
        F::HubAnnotation | F::LongAnnotation => format!("{:?}", details.annotations),
        F::ReplyToOther | F::UserId | F::To | F::GroupSequence | F::ReplyToGroup => format!("{bare:?}"),
        F::PropertyNested | F::ForeignAnnotation | F::Footer => {
            format!("{bare:?}")
        }
        _ => properties(&details.properties),
    }
}

/// Under the names that they have in an event, if it is one; without what makes it one.
fn properties(list: &Properties) -> String {
    let made = ["specversion", "id", "source", "type"];
    let own = list.iter().map(|(name, value)| (name.strip_prefix(PREFIX).unwrap_or(name), value));
    format!("{:?}", own.filter(|(name, _)| !made.contains(name)).collect::<Vec<_>>())
}

/// The message in the other form.
fn changed(form: Form, message: &Message) -> Message {
    let each = |change: &dyn Fn(&Value) -> Value| {
        message.to_builder().details(|details| {
            let ids = [&mut details.message_id, &mut details.correlation_id];
            ids.into_iter().flatten().for_each(|id| *id = change(id));
            let list = details.properties.iter().map(|(name, value)| (name.clone(), change(value)));
            details.properties = list.collect();
        })
    };
    let text = |value: &Value| Value::from(&*value.to_string());
    let builder = match form {
        Form::Text => each(&text),
        Form::Bytes => each(&|value| match value {
            Value::Uuid(id) => Value::Binary(id.to_vec().into()),
            other => Value::Binary(other.to_string().into_bytes().into()),
        }),
        Form::Signed => each(&|value| match value {
            Value::Uint(number) => Value::Int(i64::try_from(*number).expect("small")),
            other => other.clone(),
        }),
        Form::Base64 => each(&|value| match value {
            Value::Binary(bytes) => Value::from(&*STANDARD.encode(bytes)),
            other => other.clone(),
        }),
        Form::Rfc3339 => each(&|value| match value {
            Value::Timestamp(millis) => Value::from(&*rfc3339(*millis)),
            other => other.clone(),
        }),
        Form::Seconds => {
            let left = message.expires_at().expect("it expires").remaining(NOW);
            let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            message.to_builder().expires_at(NOW + Duration::from_secs(secs.max(1)))
        }
        Form::First => message.to_builder().details(|details| {
            let mut first = Properties::EMPTY;
            for (name, value) in details.properties.iter() {
                if first.first(name).is_none() {
                    first.push(name.clone(), value.clone());
                }
            }
            details.properties = first;
        }),
        Form::Volatile => message.to_builder().durability(Durability::Volatile),
        Form::Plain | Form::Sections | Form::Joined => message.to_builder(),
        Form::Undeclared => message.to_builder().details(|details| details.content_type = None),
    };
    builder.build()
}
