//! Declaring, describing, binding, purging and deleting queues over the wire.

mod logs;

use http::Method;
use roadbed_core::{Address, Binding, Error, ErrorKind, Manage, Managed, Result, Unbind};

use super::session::Link;
use crate::codec::nodes::{ChangeDoc, ChangedDoc, DescriptionDoc, FilterDoc, NodeDoc, PurgedDoc, UnbindDoc};

pub(super) use logs::{checkpoint_path, describe as describe_log};

pub(super) async fn manage(link: Link, request: Manage) -> Result<Managed> {
    if let Some(asked) = logs::request(&link, &request) {
        return logs::manage(&link, asked?).await;
    }
    match request {
        Manage::Declare(queue, settings) => {
            let call = link.request(Method::PUT, path("queues", &queue)?).json(&NodeDoc::new(&settings));
            let created = link.ask(&call, "declare").await?.status.as_u16() == 201;
            Ok(Managed::Done(created.into()))
        }
        Manage::Delete(queue) => {
            let answered = link.ask(&link.request(Method::DELETE, path("queues", &queue)?), "delete").await?;
            Ok(Managed::Done(answered.json::<PurgedDoc>()?.purged))
        }
        Manage::Purge(queue) => {
            let call = link.request(Method::DELETE, format!("/v1/messages/{}", queue.to_path()));
            Ok(Managed::Done(link.ask(&call, "purge").await?.json::<PurgedDoc>()?.purged))
        }
        Manage::Describe(queue) => {
            let answered = link.ask(&link.request(Method::GET, path("queues", &queue)?), "describe").await?;
            let node = answered.json::<DescriptionDoc>()?.description();
            let broken = || Error::new(ErrorKind::Protocol, "describe").detail("the server's description is not legal");
            Ok(Managed::Description(Box::new(node.ok_or_else(broken)?)))
        }
        Manage::Bind(queue, binding) => Ok(Managed::Done(bind(&link, &queue, &binding).await?)),
        Manage::Unbind(queue, unbind) => Ok(Managed::Done(self::unbind(&link, &queue, &unbind).await?)),
        _ => Err(Error::new(ErrorKind::NotSupported, "manage").detail("HTTP has no such request")),
    }
}

pub(super) async fn bind(link: &Link, queue: &Address, binding: &Binding) -> Result<u64> {
    let change = ChangeDoc { bind: vec![FilterDoc::new(binding)], unbind: Vec::new() };
    Ok(self::change(link, queue, &change).await?.bound.first().copied().unwrap_or_default())
}

pub(super) async fn unbind(link: &Link, queue: &Address, unbind: &Unbind) -> Result<u64> {
    let change = ChangeDoc { bind: Vec::new(), unbind: vec![UnbindDoc::new(unbind)] };
    Ok(self::change(link, queue, &change).await?.unbound.first().copied().unwrap_or_default())
}

async fn change(link: &Link, node: &Address, change: &ChangeDoc) -> Result<ChangedDoc> {
    let path = match node.log_place() {
        Some((_, None)) => format!("/v1/{}", node.to_path()),
        _ => path("subscriptions", node)?,
    };
    link.ask(&link.request(Method::POST, path).json(change), "bind").await?.json()
}

fn path(collection: &str, queue: &Address) -> Result<String> {
    let path = queue.to_path();
    match (path.strip_prefix("queues/"), queue.dead_letters()) {
        (Some(name), _) if !name.is_empty() => Ok(format!("/v1/{collection}/{name}")),
        (None, Some(_)) => Ok(format!("/v1/{collection}/{path}")),
        _ => Err(Error::new(ErrorKind::Invalid, "manage").detail("only queues/NAME and $dead/NAME are nodes here")),
    }
}
