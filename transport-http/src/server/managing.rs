//! What is asked of an endpoint about its nodes, whatever they are.

use std::sync::Arc;

use http::{StatusCode, request};
use roadbed_core::{Address, Binding, Error, ErrorKind, Manage, Managed, Unbind};

use super::attach::Attachment;
use super::connection::Connection;
use super::reply::{Failure, Reply, json};
use crate::codec::nodes::PurgedDoc;

/// Requests on the nodes of an endpoint, by one principal.
pub(super) struct Managing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) attachment: Arc<Attachment>,
}

impl<'a> Managing<'a> {
    pub(super) async fn of(connection: &'a Connection, head: &request::Parts) -> Result<Self, Failure> {
        Ok(Self { connection, attachment: connection.attachment(head).await? })
    }

    pub(super) fn failed(&self, error: &Error) -> Failure {
        Failure::of_error(error, &self.connection.shared.config)
    }

    pub(super) async fn manage(&self, request: Manage) -> Result<Managed, Failure> {
        self.attachment.session.manage(request).await.map_err(|error| self.failed(&error))
    }

    /// What a node is like; `None` if it is not there.
    pub(super) async fn find(&self, node: &Address) -> Result<Option<Managed>, Failure> {
        match self.attachment.session.manage(Manage::Describe(node.clone())).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// How many messages a request has removed.
    pub(super) async fn removed(&self, request: Manage) -> Result<Reply, Failure> {
        let purged = match self.manage(request).await? {
            Managed::Done(count) => count,
            _ => 0,
        };
        Ok(json(StatusCode::OK, &PurgedDoc { purged }))
    }

    /// Binds what is new or has changed, and unbinds what is not named any more, so that the same request twice changes nothing.
    pub(super) async fn follow(&self, node: &Address, before: &[Binding], now: Vec<Binding>) -> Result<(), Failure> {
        let gone = before.iter().filter(|old| !now.iter().any(|new| new.filter == old.filter));
        for Binding { filter, share, .. } in gone.cloned() {
            self.manage(Manage::Unbind(node.clone(), Unbind { filter, share })).await?;
        }
        for binding in now {
            self.manage(Manage::Bind(node.clone(), binding)).await?;
        }
        Ok(())
    }
}
