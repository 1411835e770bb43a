//! `/v1/subscriptions/{name}` and `/v1/queues/{name}`: making, changing, describing and deleting queues.

use bytes::Bytes;
use http::{StatusCode, request};
use http_body::Body;
use roadbed_core::{Address, Error, ErrorKind, Manage, Managed, NodeDescription, Qos, Result};
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::locks::document;
use super::managing::Managing;
use super::poll;
use super::reply::{Failure, Reply, json};
use super::routes::address;
use crate::codec::nodes::{ChangeDoc, ChangedDoc, DescriptionDoc, DocError, NodeDoc};

/// Queues of an endpoint, for one principal.
struct Nodes<'a>(Managing<'a>);

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
    nodes.0.manage(Manage::Declare(queue.clone(), doc.settings())).await?;
    if let Some(bindings) = bindings {
        let old = before.as_ref().map_or(&[][..], |node| &node.bindings);
        let bound = nodes.0.follow(&queue, old, bindings).await;
        if bound.is_err() && before.is_none() {
            // A new queue that does not follow what it was made for would only be in the way.
            let _ = nodes.0.manage(Manage::Delete(queue.clone())).await;
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
    follow(connection, queue(name)?, Qos::AtLeastOnce, head, body).await
}

/// Some filters of a node come, others go.
pub(super) async fn follow<B>(
    connection: &Connection,
    node: Address,
    default: Qos,
    head: &request::Parts,
    body: B,
) -> Result<Reply, Failure>
where
    B: Body<Data = Bytes>,
{
    let doc: ChangeDoc = required(connection, body).await?;
    let bindings = doc.bind.iter().map(|filter| filter.binding(default)).collect::<Result<Vec<_>, _>>();
    let unbinds = doc.unbind.iter().map(|unbind| unbind.unbind()).collect::<Result<Vec<_>, _>>();
    let (bindings, unbinds) = (bindings.map_err(|error| wrong(&error))?, unbinds.map_err(|error| wrong(&error))?);
    let nodes = Nodes::of(connection, head).await?;
    let mut changed = ChangedDoc::default();
    for binding in bindings {
        changed.bound.push(nodes.change(Manage::Bind(node.clone(), binding)).await?);
    }
    for unbind in unbinds {
        changed.unbound.push(nodes.change(Manage::Unbind(node.clone(), unbind)).await?);
    }
    Ok(json(StatusCode::OK, &changed))
}

pub(super) async fn describe(connection: &Connection, name: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (queue, nodes) = (queue(name)?, Nodes::of(connection, head).await?);
    Ok(json(StatusCode::OK, &DescriptionDoc::new(nodes.describe(&queue).await?.as_ref())))
}

pub(super) async fn delete(connection: &Connection, name: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (queue, nodes) = (queue(name)?, Nodes::of(connection, head).await?);
    nodes.0.removed(Manage::Delete(queue)).await
}

/// `DELETE /v1/messages/{address}`: all messages of a queue that nobody holds.
pub(super) async fn purge(connection: &Connection, path: &str, head: &request::Parts) -> Result<Reply, Failure> {
    let (queue, nodes) = (poll::queue(path)?, Nodes::of(connection, head).await?);
    nodes.0.removed(Manage::Purge(queue)).await
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
        Managing::of(connection, head).await.map(Self)
    }

    /// Does it; the number that it is answered with, if it is one.
    async fn change(&self, request: Manage) -> Result<u64, Failure> {
        Ok(match self.0.manage(request).await? {
            Managed::Done(count) => count,
            _ => 0,
        })
    }

    async fn find(&self, queue: &Address) -> Result<Option<Box<NodeDescription>>, Failure> {
        Ok(match self.0.find(queue).await? {
            Some(Managed::Description(node)) => Some(node),
            _ => None,
        })
    }

    async fn describe(&self, queue: &Address) -> Result<Box<NodeDescription>, Failure> {
        match self.0.manage(Manage::Describe(queue.clone())).await? {
            Managed::Description(node) => Ok(node),
            _ => Err(self.0.failed(&Error::new(ErrorKind::NotFound, "describe"))),
        }
    }
}
