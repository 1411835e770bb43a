//! The words of `$management`: the core's requests about nodes as operations with a map, both ways.

mod binding;
mod log;
mod map;
mod node;

use alloc::format;
use alloc::string::String;

use roadbed_core::{Binding, Error, ErrorKind, QueueSettings, Result, Unbind};
use serde_amqp::Value;

pub(crate) use binding::{binding_map, bound, unbind_map, unbound};
pub(crate) use log::{
    CheckpointOf, LogChanges, checkpoint_map, is_log, log_description, log_map, log_settings_map, unknown_type,
};
pub(crate) use map::Map;
pub(crate) use node::{Changes, description, description_map, settings_map};

/// The address of the node.
pub(crate) const MANAGEMENT: &str = "$management";
/// The address of the node that takes tokens.
pub(crate) const CBS: &str = "$cbs";

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// Makes a queue, or gives one these settings.
    Create(QueueSettings),
    /// Describes a queue.
    Read,
    /// Changes some settings of a queue.
    Update(Changes),
    /// Removes a queue.
    Delete,
    /// Removes the messages of a queue.
    Purge,
    Bind(Binding),
    Unbind(Unbind),
    /// Makes a log, or gives one these settings.
    CreateLog(LogChanges),
    /// Changes some settings of a log.
    UpdateLog(LogChanges),
    /// Removes the messages of a log before a position.
    Trim(u64),
    /// Asks for the checkpoint of a group, or sets it.
    Checkpoint(CheckpointOf),
}

impl Operation {
    /// The operation of this name on a log; those that have no settings are the same as on a queue.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub(crate) fn read_log(name: &str, body: Value) -> Result<Self> {
        if !matches!(name, "CREATE" | "UPDATE" | "TRIM" | "CHECKPOINT") {
            return Self::read(name, body);
        }
        let mut map = Map::read(body)?;
        let operation = match name {
            "CREATE" => Self::CreateLog(LogChanges::read(&mut map)?),
            "UPDATE" => Self::UpdateLog(LogChanges::read(&mut map)?),
            "TRIM" => Self::Trim(map.number("before")?.ok_or_else(|| invalid("before is missing"))?),
            _ => Self::Checkpoint(CheckpointOf::read(&mut map)?),
        };
        map.end().map(|()| operation)
    }

    /// The operation of this name, with the map that is its body.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for an operation that is not known, [`ErrorKind::Invalid`] for a body that is not its own.
    pub(crate) fn read(name: &str, body: Value) -> Result<Self> {
        let mut map = Map::read(body)?;
        let operation = match name {
            "CREATE" => Self::Create(Changes::read(&mut map)?.over(&QueueSettings::default())),
            "READ" => Self::Read,
            "UPDATE" => Self::Update(Changes::read(&mut map)?),
            "DELETE" => Self::Delete,
            "PURGE" => Self::Purge,
            "BIND" => Self::Bind(binding::binding(&mut map)?),
            "UNBIND" => Self::Unbind(binding::unbind(&mut map)?),
            "" => return Err(invalid("a request says what is to be done: operation")),
            _ => {
                let words = format!(
                    "there is no operation {name}: CREATE, READ, UPDATE, DELETE, PURGE, BIND, UNBIND, of a log also TRIM, CHECKPOINT"
                );
                return Err(Error::new(ErrorKind::NotSupported, "manage").detail(words));
            }
        };
        map.end()?;
        Ok(operation)
    }
}

/// The number that says how a request went.
pub(crate) fn status(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Protocol => 400,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::Unauthorized => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::TimedOut => 408,
        ErrorKind::Conflict | ErrorKind::Stolen => 409,
        ErrorKind::Exhausted => 429,
        ErrorKind::NotSupported => 501,
        ErrorKind::StoreFull => 507,
        ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Disconnected => 503,
        _ => 500,
    }
}

/// The error that a number stands for; what it says is `description`.
pub(crate) fn refusal(status: u16, description: Option<String>) -> Error {
    let kind = match status {
        400 => ErrorKind::Invalid,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Unauthorized,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::TimedOut,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::Exhausted,
        501 => ErrorKind::NotSupported,
        507 => ErrorKind::StoreFull,
        503 => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    };
    let error = Error::new(kind, "manage");
    match description {
        Some(words) => error.detail(words),
        None => error,
    }
}

fn invalid(words: impl core::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, "manage").detail(words)
}
