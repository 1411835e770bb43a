//! `GET /v1`: what the server can do.

use http::{StatusCode, request};

use super::connection::Connection;
use super::reply::{Failure, Reply, json};
use crate::codec::info::InfoDoc;

pub(super) async fn info(connection: &Connection, head: &request::Parts) -> Result<Reply, Failure> {
    let shared = &*connection.shared;
    let attachment = connection.attachment(head).await?;
    let capabilities = shared.endpoint.capabilities();
    Ok(json(
        StatusCode::OK,
        &InfoDoc {
            principal: attachment.origin.principal.to_string(),
            message_bytes_max: attachment.bytes_max,
            page_max: shared.config.page_max,
            long_poll_ms_max: shared.config.long_poll_ms_max,
            lock_ms: shared.config.lock_ms,
            lock_ms_max: shared.config.lock_ms_max,
            qos_max: capabilities.qos_in.level(),
            manage: capabilities.manage,
        },
    ))
}
