//! Answers, as messages.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{AmqpValue, ApplicationProperties, MessageId, Properties};
use roadbed_core::Error;
use serde_amqp::Value;

use super::Token;
use crate::management::{Map, status};

/// What a request comes to.
pub(super) struct Answer {
    status: u16,
    description: String,
    body: Value,
    /// Who has shown a token.
    pub(super) token: Option<Token>,
}

impl Answer {
    pub(super) fn ok(status: u16, description: &str) -> Self {
        Self { status, description: description.into(), body: Value::Null, token: None }
    }

    pub(super) fn with(self, body: Map) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) fn token(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    pub(super) fn refused(error: &Error) -> Self {
        Self::ok(status(error), &error.to_string())
    }

    /// The message: how it went in the words of the management draft and in those of claims-based security, which spell it another way.
    pub(super) fn write(&self, correlation: &[u8]) -> Bytes {
        let named = ApplicationProperties::builder()
            .insert("statusCode", i32::from(self.status))
            .insert("status-code", i32::from(self.status))
            .insert("statusDescription", self.description.clone())
            .insert("status-description", self.description.clone())
            .build();
        let mut message = correlation.to_vec();
        message.extend(encoded(&named));
        message.extend(encoded(&AmqpValue(self.body.clone())));
        message.into()
    }
}

/// The section that says to whose request it is the answer, in the type in which it was asked.
pub(super) fn correlation(correlation_id: Option<MessageId>) -> Bytes {
    encoded(&Properties { correlation_id, ..Properties::default() }).into()
}

fn encoded(section: &impl serde::Serialize) -> Vec<u8> {
    serde_amqp::to_vec(section).expect("sections of our own can be encoded")
}
