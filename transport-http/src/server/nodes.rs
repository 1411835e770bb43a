//! `/v1/subscriptions/{name}` and `/v1/queues/{name}`: making, changing, describing and deleting queues.

use bytes::Bytes;
use http::{StatusCode, request};
use http_body::Body;
use roadbed_core::{Address, Binding, ErrorKind, Manage, Managed, NodeDescription, Qos, Result, Unbind};
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::locks::document;
use super::reply::{Failure, Reply, json};
use super::routes::address;
use super::{Shared, poll};
use crate::codec::nodes::{ChangeDoc, ChangedDoc, DescriptionDoc, DocError, NodeDoc, PurgedDoc};

/// Requests on the nodes of an endpoint, by one principal.
struct Nodes<'a> {
    shared: &'a Shared,
    attachment: std::sync::Arc<super::attach::Attachment>,
}

/// `PUT /v1/subscriptions/{name}`: the queue exists, and follows these filters and no others.
pub(super) async fn subscribe<B>(
    connection: &Connection,
    name: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let doc: NodeDoc = required(connection, body).await?;
    if doc.filters.is_none() {
        return Err(Failure::invalid("A subscription has filters: {\"filters\":[\"plant/+/alarm\"]}."));
    }
    put(connection, name, head, &doc).await
}

/// `PUT /v1/queues/{name}`: the queue exists with these settings.
pub(super) async fn declare<B>(
    connection: &Connection,
    name: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let doc: NodeDoc = document(connection, body).await?.unwrap_or_default();
    put(connection, name, head, &doc).await
}

async fn put(connection: &Connection, name: &str, head: &request::Parts, doc: &NodeDoc) -> Result<Reply, Failure> {
    let bindings = doc.bindings(Qos::AtLeastOnce).map_err(|error| wrong(&error))?;
    let (queue, nodes) = (queue(name)?, Nodes::of(connection, head).await?);
    let before = nodes.find(&queue).await?;
    nodes.manage(Manage::Declare(queue.clone(), doc.settings())).await?;
    if let Some(bindings) = bindings {
        let bound = nodes.follow(&queue, before.as_deref(), bindings).await;
        if bound.is_err() && before.is_none() {
            // A new queue that does not follow what it was made for would only be in the way.
            let _ = nodes.manage(Manage::Delete(queue.clone())).await;
        }
        bound?;
    }
    let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &DescriptionDoc::new(nodes.describe(&queue).await?.as_ref())))
}

/// `POST /v1/subscriptions/{name}`: some filters come, others go.
pub(super) async fn change<B>(
    connection: &Connection,
    name: &str,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let doc: ChangeDoc = required(connection, body).await?;
    let bindings = doc.bind.iter().map(|filter| filter.binding(Qos::AtLeastOnce)).collect::<Result<Vec<_>, _>>();
    let unbinds = doc.unbind.iter().map(|unbind| unbind.unbind()).collect::<Result<Vec<_>, _>>();
    let (bindings, unbinds) = (bindings.map_err(|error| wrong(&error))?, unbinds.map_err(|error| wrong(&error))?);
    let (queue, nodes) = (queue(name)?, Nodes::of(connection, head).await?);
    let mut changed = ChangedDoc::default();
    for binding in bindings {
        changed.bound.push(nodes.manage(Manage::Bind(queue.clone(), binding)).await?.0);
    }
    for unbind in unbinds {
        changed.unbound.push(nodes.manage(Manage::Unbind(queue.clone(), unbind)).await?.0);
    }
    Ok(json(StatusCode::OK, &changed))
}

pub(super) async fn describe(connection: &Connection, name: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (queue, nodes) = (queue(name)?, Nodes::of(connection, head).await?);
    Ok(json(StatusCode::OK, &DescriptionDoc::new(nodes.describe(&queue).await?.as_ref())))
}

pub(super) async fn delete(connection: &Connection, name: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (queue, nodes) = (queue(name)?, Nodes::of(connection, head).await?);
    let (purged, _) = nodes.manage(Manage::Delete(queue)).await?;
    Ok(json(StatusCode::OK, &PurgedDoc { purged }))
}

/// `DELETE /v1/messages/{address}`: all messages of a queue that nobody holds.
pub(super) async fn purge(connection: &Connection, path: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (queue, nodes) = (poll::queue(path)?, Nodes::of(connection, head).await?);
    let (purged, _) = nodes.manage(Manage::Purge(queue)).await?;
    Ok(json(StatusCode::OK, &PurgedDoc { purged }))
}

/// The queue with this name; `$dead/NAME` is the queue of NAME's dead letters.
fn queue(name: &str) -> Result<Address, Failure> {
    let name = address(name)?;
    match name.dead_letters() {
        Some(_) => Ok(name),
        None => Address::new(format!("queues/{name}")).map_err(|error| Failure::invalid(error.to_string())),
    }
}

async fn required<T, B>(connection: &Connection, body: B) -> Result<T, Failure>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
{
    let doc = document(connection, body).await?;
    doc.ok_or_else(|| Failure::invalid("The body is a JSON document, and it is empty."))
}

fn wrong(error: &DocError) -> Failure {
    Failure::invalid(error.to_string())
}

impl<'a> Nodes<'a> {
    async fn of(connection: &'a Connection, head: &request::Parts) -> Result<Self, Failure> {
        let shared = &*connection.shared;
        let attachment = connection.attachments.get(shared, &head.headers, shared.clock.now()).await?;
        Ok(Self { shared, attachment })
    }

    async fn manage(&self, request: Manage) -> Result<(u64, Option<Box<NodeDescription>>), Failure> {
        match self.attachment.session.manage(request).await {
            Ok(Managed::Done(count)) => Ok((count, None)),
            Ok(Managed::Description(node)) => Ok((0, Some(node))),
            Ok(_) => Ok((0, None)),
            Err(error) => Err(Failure::of_error(&error, &self.shared.config)),
        }
    }

    async fn find(&self, queue: &Address) -> Result<Option<Box<NodeDescription>>, Failure> {
        match self.attachment.session.manage(Manage::Describe(queue.clone())).await {
            Ok(Managed::Description(node)) => Ok(Some(node)),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::of_error(&error, &self.shared.config)),
            _ => Ok(None),
        }
    }

    async fn describe(&self, queue: &Address) -> Result<Box<NodeDescription>, Failure> {
        let not_found = || roadbed_core::Error::new(ErrorKind::NotFound, "describe");
        let node = self.manage(Manage::Describe(queue.clone())).await?.1;
        node.ok_or_else(|| Failure::of_error(&not_found(), &self.shared.config))
    }

    /// Binds what is new or has changed, and unbinds what is not named any more, so that the same request twice changes nothing.
    async fn follow(
        &self,
        queue: &Address,
        before: Option<&NodeDescription>,
        now: Vec<Binding>,
    ) -> Result<(), Failure> {
        let before = before.map_or(&[][..], |node| &node.bindings);
        let same = |one: &Binding, other: &Binding| one.filter == other.filter && one.share == other.share;
        let gone = before.iter().filter(|old| !now.iter().any(|new| same(old, new)));
        for Binding { filter, share, .. } in gone.cloned() {
            self.manage(Manage::Unbind(queue.clone(), Unbind { filter, share })).await?;
        }
        for binding in now {
            self.manage(Manage::Bind(queue.clone(), binding)).await?;
        }
        Ok(())
    }
}
