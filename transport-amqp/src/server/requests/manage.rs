//! `$management`: what is asked about nodes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use roadbed_core::{
    Address, Binding, Consumer, Error, ErrorKind, Fut, LogSettings, Manage, Managed, Result, Session, Unbind,
};

use super::read::Request;
use super::{Answer, Next, Work, invalid, then};
use crate::management::{
    Changes, LogChanges, Map, Operation, bound, description_map, is_log, log_map, unbound, unknown_type,
};

/// What is asked, and of which node.
pub(super) fn operation(request: Request) -> Result<(Address, Operation)> {
    if !matches!(&*request.kind, "" | "queue" | "log") {
        return Err(Error::new(ErrorKind::NotSupported, "manage").detail(unknown_type(&request.kind)));
    }
    let operation = match is_log(&request.name, &request.kind) {
        true => Operation::read_log(&request.operation, request.body)?,
        false => Operation::read(&request.operation, request.body)?,
    };
    if request.name.is_empty() {
        return Err(invalid("a request says which node it is about: name"));
    }
    let name = Address::new(request.name).map_err(|error| invalid(&alloc::format!("{error}")))?;
    Ok((name, operation))
}

/// A queue that was made for a link of the same connection: the link itself binds it, so that retained values come, and what the client
/// sends does not, as with every other protocol.
pub(super) fn on_link(name: Address, operation: Operation, consumer: &mut dyn Consumer, session: &dyn Session) -> Work {
    match operation {
        Operation::Bind(binding) => then(consumer.bind(alloc::vec![binding]), |granted| {
            Next::Done(one(granted, |granted| Answer::ok(200, "OK").with(bound(Some(&granted)))))
        }),
        Operation::Unbind(unbind) => then(consumer.unbind(alloc::vec![unbind]), |found| {
            Next::Done(one(found, |found| Answer::ok(200, "OK").with(unbound(found))))
        }),
        other => on_node(name, other, session),
    }
}

pub(super) fn on_node(name: Address, operation: Operation, session: &dyn Session) -> Work {
    match operation {
        Operation::Create(settings) => create(name.clone(), Manage::Declare(name, settings), session),
        Operation::CreateLog(changes) => {
            let settings = changes.over(&LogSettings::default());
            create(name.clone(), Manage::DeclareLog(name, settings), session)
        }
        Operation::UpdateLog(changes) => update_log(name, changes, session),
        Operation::Trim(before) => count(session.manage(Manage::Trim(name, before)), 200, "OK"),
        Operation::Checkpoint(of) => checkpoint(session.manage(Manage::Checkpoint(of.of(name)))),
        Operation::Read => describe(name, session, Answer::ok(200, "OK")),
        Operation::Update(changes) => update(name, changes, session),
        Operation::Delete => count(session.manage(Manage::Delete(name)), 204, "Deleted"),
        Operation::Purge => count(session.manage(Manage::Purge(name)), 200, "OK"),
        Operation::Bind(binding) => bind(name, binding, session),
        Operation::Unbind(unbind) => take_away(name, unbind, session),
    }
}

/// Whether it was there before is a question of its own.
fn create(name: Address, declare_as: Manage, session: &dyn Session) -> Work {
    let before = session.manage(Manage::Describe(name.clone()));
    Box::pin(async move {
        let answer = match before.await {
            Ok(_) => Answer::ok(200, "OK"),
            Err(error) if error.kind() == ErrorKind::NotFound => Answer::ok(201, "Created"),
            Err(error) => return Next::Done(Answer::refused(&error)),
        };
        Next::Then(Box::new(move |session| declare(name, declare_as, answer, session)))
    })
}

fn update_log(name: Address, changes: LogChanges, session: &dyn Session) -> Work {
    then(session.manage(Manage::Describe(name.clone())), move |managed| match managed {
        Managed::Log(log) => {
            let declare_as = Manage::DeclareLog(name.clone(), changes.over(&log.settings));
            Next::Then(Box::new(move |session| declare(name, declare_as, Answer::ok(200, "OK"), session)))
        }
        _ => Next::Done(Answer::ok(500, "the endpoint does not describe the log")),
    })
}

fn update(name: Address, changes: Changes, session: &dyn Session) -> Work {
    then(session.manage(Manage::Describe(name.clone())), move |managed| match managed {
        Managed::Description(node) => {
            let declare_as = Manage::Declare(name.clone(), changes.over(&node.settings));
            Next::Then(Box::new(move |session| declare(name, declare_as, Answer::ok(200, "OK"), session)))
        }
        _ => Next::Done(Answer::ok(500, "the endpoint does not describe the node")),
    })
}

fn declare(name: Address, declare_as: Manage, answer: Answer, session: &dyn Session) -> Work {
    let declared = session.manage(declare_as);
    then(declared, move |_| Next::Then(Box::new(move |session| describe(name, session, answer))))
}

fn describe(name: Address, session: &dyn Session, answer: Answer) -> Work {
    then(session.manage(Manage::Describe(name)), |managed| {
        Next::Done(match managed {
            Managed::Description(node) => answer.with(description_map(&node)),
            Managed::Log(log) => answer.with(log_map(&log)),
            _ => Answer::ok(500, "the endpoint does not describe the node"),
        })
    })
}

fn bind(name: Address, binding: Binding, session: &dyn Session) -> Work {
    then(session.manage(Manage::Bind(name, binding)), |_| Next::Done(Answer::ok(200, "OK").with(bound(None))))
}

fn take_away(name: Address, unbind: Unbind, session: &dyn Session) -> Work {
    then(session.manage(Manage::Unbind(name, unbind)), |managed| {
        let found = matches!(managed, Managed::Done(count) if count > 0);
        Next::Done(Answer::ok(200, "OK").with(unbound(found)))
    })
}

fn count(asked: Fut<Managed>, status: u16, words: &'static str) -> Work {
    then(asked, move |managed| {
        let mut map = Map::default();
        if let Managed::Done(count) = managed {
            map.set("count", count);
        }
        Next::Done(Answer::ok(status, words).with(map))
    })
}

/// Without a number, the group has no checkpoint.
fn checkpoint(asked: Fut<Managed>) -> Work {
    then(asked, |managed| {
        let mut map = Map::default();
        if let Managed::Checkpoint(Some(next)) = managed {
            map.set("next", next);
        }
        Next::Done(Answer::ok(200, "OK").with(map))
    })
}

/// The one answer to one binding.
fn one<T>(mut answers: Vec<Result<T>>, ok: impl FnOnce(T) -> Answer) -> Answer {
    match answers.pop() {
        Some(Ok(granted)) => ok(granted),
        Some(Err(error)) => Answer::refused(&error),
        None => Answer::ok(500, "the endpoint has not answered"),
    }
}
