//! Requests to `$management` and `$cbs`: a link for the requests of a session to each, and one for the answers.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{AmqpValue, ApplicationProperties, MessageId, Properties};
use roadbed_core::{
    Address, Binding, Credential, Error, ErrorKind, Fut, Granted, Manage, Managed, Qos, Result, Time, Unbind,
};
use serde_amqp::Value;
use tokio::sync::oneshot;

use super::calls::{Answer, Call, Calls, Target};
use super::replies::{Replies, Reply};
use super::shared::{Alive, State, gone};
use super::state::{Kind, Link, LinkStage, Session};
use crate::management::{
    CBS, MANAGEMENT, Map, binding_map, checkpoint_map, description, log_description, log_settings_map, refusal,
    settings_map, unbind_map,
};

/// How many bindings are asked for at a time.
const AT_ONCE: usize = 16;

/// What is asked of a node of the server.
struct Request {
    node: &'static str,
    operation: &'static str,
    name: String,
    kind: &'static str,
    body: Value,
}

impl Request {
    fn manage(operation: &'static str, name: &Address, body: impl Into<Value>) -> Self {
        let kind = if name.log().is_some() { "log" } else { "queue" };
        Self { node: MANAGEMENT, operation, name: name.as_str().into(), kind, body: body.into() }
    }

    /// As a message that is answered to `reply_to`.
    fn message(self, id: u64, reply_to: &str) -> Bytes {
        let properties = Properties {
            message_id: Some(MessageId::Ulong(id)),
            reply_to: Some(reply_to.into()),
            to: Some(self.node.into()),
            ..Properties::default()
        };
        let named = ApplicationProperties::builder()
            .insert("operation", self.operation)
            .insert("name", self.name)
            .insert("type", self.kind)
            .build();
        let mut message = encoded(&properties);
        message.extend(encoded(&named));
        message.extend(encoded(&AmqpValue(self.body)));
        message.into()
    }
}

fn encoded(section: &impl serde::Serialize) -> Vec<u8> {
    serde_amqp::to_vec(section).expect("sections of our own can be encoded")
}

/// Declares, describes, purges, deletes, binds.
pub(super) fn manage(alive: &Arc<Alive>, request: &Manage) -> Fut<Managed> {
    let request = match request {
        Manage::Declare(name, settings) => Request::manage("CREATE", name, settings_map(settings)),
        Manage::DeclareLog(name, settings) => Request::manage("CREATE", name, log_settings_map(settings)),
        Manage::Trim(name, before) => {
            let mut map = Map::default();
            map.set("before", *before);
            Request::manage("TRIM", name, map)
        }
        Manage::Checkpoint(asked) => Request::manage("CHECKPOINT", &asked.partition, checkpoint_map(asked)),
        Manage::Delete(name) => Request::manage("DELETE", name, Value::Null),
        Manage::Purge(name) => Request::manage("PURGE", name, Value::Null),
        Manage::Describe(name) => Request::manage("READ", name, Value::Null),
        Manage::Bind(name, binding) => Request::manage("BIND", name, binding_map(binding)),
        Manage::Unbind(name, unbind) => Request::manage("UNBIND", name, unbind_map(unbind)),
        _ => {
            let error = Error::new(ErrorKind::NotSupported, "manage").detail("there is no such operation over AMQP");
            return Box::pin(core::future::ready(Err(error)));
        }
    };
    let (operation, is_log) = (request.operation, request.kind == "log");
    let asked = ask(alive, request, "manage");
    Box::pin(async move {
        let body = asked.await?;
        match operation {
            "READ" if is_log => Ok(Managed::Log(Box::new(log_description(Map::read(body)?)?))),
            "READ" => Ok(Managed::Description(Box::new(description(body)?))),
            "CHECKPOINT" => Ok(Managed::Checkpoint(Map::read(body)?.number("next")?)),
            "PURGE" | "TRIM" | "DELETE" => Ok(Managed::Done(Map::read(body)?.number("count")?.unwrap_or(0))),
            "UNBIND" => Ok(Managed::Done(Map::read(body)?.flag("found")?.unwrap_or(true).into())),
            _ => Ok(Managed::Done(0)),
        }
    })
}

/// Shows a token. How long it is good for the server does not say.
pub(super) fn credential(alive: &Arc<Alive>, credential: Credential) -> Fut<Option<Time>> {
    let Credential::Token { kind, token } = credential else {
        let error = Error::new(ErrorKind::NotSupported, "renew");
        return Box::pin(core::future::ready(Err(
            error.detail("only tokens are renewed over AMQP; a password is shown when the connection is opened")
        )));
    };
    let kind = match &*kind {
        "jwt" => "amqp:jwt",
        "sas" => "servicebus.windows.net:sastoken",
        _ => "",
    };
    let body = match String::from_utf8(token.to_vec()) {
        Ok(token) => Value::String(token),
        Err(_) => Value::Binary(token.to_vec().into()),
    };
    let request = Request { node: CBS, operation: "put-token", name: "$connection".into(), kind, body };
    let asked = ask(alive, request, "renew");
    Box::pin(async move { asked.await.map(|_| None) })
}

/// Makes the queue of a link follow filters.
pub(super) fn bind(alive: &Arc<Alive>, link: u64, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
    let node = of_link(alive, link);
    let alive = Arc::clone(alive);
    Box::pin(async move {
        let (node, qos_max) = node?;
        let mut answers = Vec::with_capacity(bindings.len());
        for some in bindings.chunks(AT_ONCE) {
            let limited = |binding: &Binding| Binding { qos_max: binding.qos_max.min(qos_max), ..binding.clone() };
            let some: Vec<Binding> = some.iter().map(limited).collect();
            let requests = some.iter().map(|binding| Request::manage("BIND", &node, binding_map(binding)));
            let asked: Vec<_> = requests.map(|request| ask(&alive, request, "bind")).collect();
            for (asked, binding) in asked.into_iter().zip(some) {
                answers.push(bound(asked.await, binding, &alive, link));
            }
        }
        Ok(answers)
    })
}

fn bound(answer: Result<Value>, binding: Binding, alive: &Alive, link: u64) -> Result<Granted> {
    let mut map = Map::read(answer?)?;
    let qos = map.number::<u8>("qos")?.and_then(Qos::from_level).unwrap_or(binding.qos_max);
    let replaced = map.flag("replaced")?.unwrap_or(false);
    alive.shared.with(|state| {
        if let Some(inbound) = state.sessions.get_mut(&alive.session).and_then(|session| session.inbound(link)) {
            inbound.bindings.retain(|known| known.filter != binding.filter || known.share != binding.share);
            inbound.bindings.push(binding);
        }
    });
    Ok(Granted { qos, replaced })
}

/// Makes it stop.
pub(super) fn unbind(alive: &Arc<Alive>, link: u64, unbinds: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
    let node = of_link(alive, link);
    let alive = Arc::clone(alive);
    Box::pin(async move {
        let (node, _) = node?;
        let mut answers = Vec::with_capacity(unbinds.len());
        for some in unbinds.chunks(AT_ONCE) {
            let requests = some.iter().map(|unbind| Request::manage("UNBIND", &node, unbind_map(unbind)));
            let asked: Vec<_> = requests.map(|request| ask(&alive, request, "unbind")).collect();
            for (asked, unbind) in asked.into_iter().zip(some) {
                answers.push(unbound(asked.await, unbind, &alive, link));
            }
        }
        Ok(answers)
    })
}

fn unbound(answer: Result<Value>, unbind: &Unbind, alive: &Alive, link: u64) -> Result<bool> {
    let found = Map::read(answer?)?.flag("found")?.unwrap_or(true);
    alive.shared.with(|state| {
        if let Some(inbound) = state.sessions.get_mut(&alive.session).and_then(|session| session.inbound(link)) {
            inbound.bindings.retain(|known| known.filter != unbind.filter || known.share != unbind.share);
        }
    });
    Ok(found)
}

/// The queue of a link, and the strongest assurance that it takes.
fn of_link(alive: &Alive, link: u64) -> Result<(Address, Qos)> {
    alive.shared.with(|state| {
        let session = state.sessions.get(&alive.session).ok_or_else(|| gone("bind"))?;
        session.check("bind")?;
        let found = session.links.get(&link).ok_or_else(|| gone("bind"))?;
        found.check("bind")?;
        let address = found.attached.address.clone().ok_or_else(|| {
            Error::new(ErrorKind::NotSupported, "bind")
                .detail("the server does not say the address of the link's queue")
        })?;
        Ok((address, found.attached.qos_max))
    })
}

/// Asks; resolves to the body of the answer.
fn ask(alive: &Arc<Alive>, request: Request, operation: &'static str) -> Fut<Value> {
    let asked = alive.shared.with(|state| {
        let asked = state.ask(alive.session, request, alive.shared.config.requests_max, operation)?;
        state.touch(alive.session);
        Ok::<_, Error>(asked)
    });
    let alive = Arc::clone(alive);
    Box::pin(async move {
        let Asked { mut answered, failed } = asked?;
        let answer = async {
            tokio::select! {
                biased;
                Ok(error) = failed => Err(error),
                answer = &mut answered => answer.map_err(|_| gone(operation))?,
            }
        };
        let answer = tokio::time::timeout(alive.shared.config.request_timeout, answer).await;
        let Reply { status, description, body } = answer.map_err(|_| {
            Error::new(ErrorKind::TimedOut, operation).detail("the server does not answer the request")
        })??;
        match status {
            200..300 => Ok(body),
            _ => Err(refusal(status, description)),
        }
    })
}

/// A request that is under way.
struct Asked {
    answered: oneshot::Receiver<Result<Reply>>,
    failed: oneshot::Receiver<Error>,
}

impl State {
    fn ask(&mut self, session: u64, request: Request, requests_max: usize, operation: &'static str) -> Result<Asked> {
        let (replies, calls) = (self.next(), self.next());
        let session = self.sessions.get_mut(&session).ok_or_else(|| gone(operation))?;
        session.check(operation)?;
        let (replies, calls) = session.own_node(request.node, replies, calls);
        let Some(link) = session.links.get_mut(&replies) else { return Err(gone(operation)) };
        let reply_to = link.name.clone();
        let Kind::Replies(waiting) = &mut link.kind else { return Err(gone(operation)) };
        let (id, answered) = waiting.ask();
        let (said, failed) = oneshot::channel();
        let call = Call { message: request.message(id, &reply_to), answer: Answer::Reply(said) };
        if let Some(Kind::Calls(calls)) = session.links.get_mut(&calls).map(|link| &mut link.kind) {
            calls.push(call, requests_max, operation)?;
        }
        session.touch(replies);
        session.touch(calls);
        Ok(Asked { answered, failed })
    }

    /// The server has lost the queue of a link: it follows its filters anew.
    pub(super) fn bind_again(&mut self, session: u64, link: u64) {
        let Some(found) = self.sessions.get_mut(&session) else { return };
        let address = found.links.get(&link).and_then(|link| link.attached.address.clone());
        let bindings = found.inbound(link).map(|inbound| inbound.bindings.clone()).unwrap_or_default();
        let Some(address) = address else { return };
        for binding in bindings {
            // Whoever asked for it the first time has had an answer.
            if let Err(error) =
                self.ask(session, Request::manage("BIND", &address, binding_map(&binding)), usize::MAX, "bind")
            {
                tracing::warn!(%error, filter = binding.filter.as_str(), "a binding cannot be made anew");
            }
        }
        self.touch(session);
    }
}

impl Session {
    /// The links to a node of the server's own, which are attached when they are first needed: for its answers, and for requests.
    fn own_node(&mut self, node: &'static str, replies: u64, calls: u64) -> (u64, u64) {
        let is_alive = |link: &Link| !matches!(link.stage, LinkStage::Failed(_));
        let leads_there = |link: &Link| match &link.kind {
            Kind::Replies(replies) => replies.node == node,
            Kind::Calls(calls) => matches!(calls.target(), Target::Node(to) if *to == node),
            _ => false,
        };
        let mut there = [None, None];
        for (&id, link) in self.links.iter().filter(|(_, link)| is_alive(link) && leads_there(link)) {
            there[usize::from(matches!(link.kind, Kind::Calls(_)))] = Some(id);
        }
        let replies = there[0].unwrap_or_else(|| {
            let name = self.unique_name(&format!("answers/{node}"), replies);
            self.links.insert(replies, Link::new(name, Kind::Replies(Replies::new(node))));
            replies
        });
        let calls = there[1].unwrap_or_else(|| {
            let name = self.unique_name(&format!("requests/{node}"), calls);
            self.links.insert(calls, Link::new(name, Kind::Calls(Calls::new(Target::Node(node)))));
            calls
        });
        (replies, calls)
    }
}
