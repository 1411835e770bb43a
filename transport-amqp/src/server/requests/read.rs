//! Requests, as messages.

use alloc::string::String;

use fe2o3_amqp_types::messaging::{ApplicationProperties, MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;

use crate::DecodeError;
use crate::codec::{Body, GuardLimits, sections, walk};
use crate::dialect::{Encoded, Pieces};

/// What a request says.
pub(super) struct Request {
    /// What its answer is known by: its correlation-id, or its message-id.
    pub(super) correlation: Option<MessageId>,
    pub(super) reply_to: Option<String>,
    pub(super) operation: String,
    pub(super) name: String,
    pub(super) kind: String,
    /// An amqp-value; one data section counts as a binary.
    pub(super) body: Value,
}

pub(super) fn read(pieces: Pieces, limits: &GuardLimits) -> Result<Request, DecodeError> {
    let bytes = Encoded::new(pieces).to_bytes();
    let found = sections(&bytes, bytes.len(), limits)?;
    let properties = found.properties.map(|at| serde_amqp::from_slice::<Properties>(&bytes[at])).transpose();
    let properties = properties.map_err(|_| DecodeError::Malformed)?.unwrap_or_default();
    let named = found.application_properties.map(|at| serde_amqp::from_slice::<ApplicationProperties>(&bytes[at]));
    let named = named.transpose().map_err(|_| DecodeError::Malformed)?;
    let text = |name: &str| match named.as_ref().and_then(|named| named.0.get(name)) {
        Some(SimpleValue::String(text)) => text.clone(),
        Some(SimpleValue::Symbol(text)) => text.0.clone(),
        _ => String::new(),
    };
    let body = match found.body {
        Body::Empty => Value::Null,
        Body::Value(at) => {
            walk(&bytes[at.clone()], 0, limits)?;
            serde_amqp::from_slice(&bytes[at]).map_err(|_| DecodeError::Malformed)?
        }
        Body::Data(pieces) if pieces.len() == 1 => {
            Value::Binary(serde_amqp::primitives::Binary::from(bytes[pieces[0].clone()].to_vec()))
        }
        _ => return Err(DecodeError::Section),
    };
    let correlation = properties.correlation_id.or(properties.message_id);
    let (operation, name, kind) = (text("operation"), text("name"), text("type"));
    Ok(Request { correlation, reply_to: properties.reply_to, operation, name, kind, body })
}
