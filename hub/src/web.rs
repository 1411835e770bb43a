//! HTTP: the messages, and beside them the hub's own pages.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, header, request};
use roadbed::Broker;
use roadbed::http::{HttpConfig, Server};

use crate::error::{Failure, Result};
use crate::hub::Serving;
use crate::metrics;

/// The HTTP server of a hub.
///
/// # Errors
/// If the system has no randomness to sign lock tokens with.
pub(crate) fn server(serving: Serving, config: &HttpConfig, broker: Broker, started: Instant) -> Result<Server> {
    let pages = Arc::new(Pages { broker, started });
    let server = Server::builder(serving.endpoint)
        .config(config.clone())
        .authenticator(serving.authenticator)
        .fallback(move |head| pages.answer(head))
        .build();
    server.map_err(|error| Failure::unavailable(format!("cannot serve HTTP: {error}")))
}

/// The hub's own pages.
struct Pages {
    broker: Broker,
    started: Instant,
}

impl Pages {
    fn answer(&self, head: &request::Parts) -> Option<Response<Bytes>> {
        match head.uri.path() {
            "/healthz" => Some(page("text/plain; charset=utf-8", "ok\n")),
            "/metrics" => {
                let text = metrics::render(&self.broker.counters(), self.started.elapsed().as_secs());
                Some(page(metrics::CONTENT_TYPE, text))
            }
            _ => None,
        }
    }
}

fn page(content_type: &'static str, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
