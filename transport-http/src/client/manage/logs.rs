//! The same for logs, and the checkpoints of their groups.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roadbed_core::{Address, Checkpoint, Error, ErrorKind, LogDescription, Manage, Managed, Result};

use super::super::http::Call;
use super::super::session::Link;
use crate::codec::logs::{CheckpointDoc, LogDescriptionDoc, LogDoc, LogSettingsDoc};
use crate::codec::nodes::PurgedDoc;

/// A request about a log, and how its answer is read.
pub(super) struct Asked {
    call: Call,
    answer: Answer,
}

enum Answer {
    Declared,
    Described,
    Removed,
    Checkpoint,
}

/// `None`: it is about something else, or the same for logs and queues.
pub(super) fn request(link: &Link, request: &Manage) -> Option<Result<Asked>> {
    let (method, answer, address) = match request {
        Manage::DeclareLog(log, _) => (Method::PUT, Answer::Declared, log),
        Manage::Describe(log) => (Method::GET, Answer::Described, log),
        Manage::Delete(log) => (Method::DELETE, Answer::Removed, log),
        Manage::Trim(partition, _) | Manage::Purge(partition) => (Method::DELETE, Answer::Removed, partition),
        Manage::Checkpoint(asked) if asked.set.is_some() => (Method::PUT, Answer::Checkpoint, &asked.partition),
        Manage::Checkpoint(asked) => (Method::GET, Answer::Checkpoint, &asked.partition),
        _ => return None,
    };
    let (name, partition) = address.log_place()?;
    let of_partition = matches!(request, Manage::Trim(..) | Manage::Purge(_) | Manage::Checkpoint(_));
    if of_partition && partition.is_none() {
        let words = "over HTTP this is asked of one partition: logs/NAME/N";
        return Some(Err(Error::new(ErrorKind::NotSupported, "manage").detail(words)));
    }
    let path = match request {
        Manage::Checkpoint(asked) => checkpoint_path(asked),
        Manage::Trim(_, before) => format!("{}?before={before}", path(address)),
        Manage::Purge(_) => path(address),
        _ => path(&Address::from_checked(format!("logs/{name}").into())),
    };
    let call = link.request(method, path);
    let call = match request {
        Manage::DeclareLog(_, settings) => call.json(&LogDoc { filters: None, log: LogSettingsDoc::new(settings) }),
        Manage::Checkpoint(Checkpoint { set: Some(next), force, .. }) => {
            call.json(&CheckpointDoc { next: *next, force: *force })
        }
        _ => call,
    };
    Some(Ok(Asked { call, answer }))
}

pub(super) async fn manage(link: &Link, Asked { call, answer }: Asked) -> Result<Managed> {
    match answer {
        Answer::Declared => Ok(Managed::Done((link.ask(&call, "declare").await?.status.as_u16() == 201).into())),
        Answer::Described => Ok(Managed::Log(Box::new(description(link, &call).await?))),
        Answer::Removed => Ok(Managed::Done(link.ask(&call, "delete").await?.json::<PurgedDoc>()?.purged)),
        Answer::Checkpoint => match link.ask(&call, "checkpoint").await {
            Ok(answered) => Ok(Managed::Checkpoint(Some(answered.json::<CheckpointDoc>()?.next))),
            // A log that is not there has no checkpoints either, but that is for whoever reads it to learn.
            Err(error) if error.kind() == ErrorKind::NotFound && call.method == Method::GET => {
                Ok(Managed::Checkpoint(None))
            }
            Err(error) => Err(error),
        },
    }
}

/// What a log is like.
pub(in crate::client) async fn describe(link: &Link, log: &str) -> Result<LogDescription> {
    let address = Address::from_checked(format!("logs/{log}").into());
    description(link, &link.request(Method::GET, path(&address))).await
}

async fn description(link: &Link, call: &Call) -> Result<LogDescription> {
    let broken = || Error::new(ErrorKind::Protocol, "describe").detail("the server's description is not legal");
    link.ask(call, "describe").await?.json::<LogDescriptionDoc>()?.description().ok_or_else(broken)
}

/// Where the checkpoint of a group in a partition is.
pub(in crate::client) fn checkpoint_path(asked: &Checkpoint) -> String {
    let (name, partition) = asked.partition.log_place().unwrap_or_default();
    let (name, group) = (Address::from_checked(name.into()), utf8_percent_encode(&asked.group, NON_ALPHANUMERIC));
    format!("/v1/logs/{}/groups/{group}/{}", name.to_path(), partition.unwrap_or_default())
}

fn path(address: &Address) -> String {
    format!("/v1/{}", address.to_path())
}
