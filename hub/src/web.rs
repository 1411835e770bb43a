//! HTTP: the messages, and beside them the hub's own pages.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, header, request};
use roadbed::http::{HttpConfig, Server};
use roadbed::journal::JournalMonitor;
use roadbed::{Broker, Losses};

use crate::access::Gates;
use crate::error::{Failure, Result};
use crate::hub::Serving;
use crate::metrics;
use crate::roads::Figures;
use crate::ws::Gate;

/// What the other protocols have lost in translation, by their names.
pub(crate) type LossesOf = Box<dyn Fn() -> Vec<(&'static str, Losses)> + Send + Sync>;

/// The HTTP server of a hub.
///
/// # Errors
/// If the system has no randomness to sign lock tokens with.
pub(crate) fn server(serving: Serving, config: HttpConfig, gate: Arc<Gate>, pages: Pages) -> Result<Server> {
    let pages = Arc::new(pages);
    let answering = pages.clone();
    let server = Server::builder(serving.endpoint)
        .config(config)
        .authenticator(serving.authenticator)
        .fallback(move |head| answering.answer(head))
        .upgrades(move |head| gate.open(head))
        .build();
    let server = server.map_err(|error| Failure::unavailable(format!("cannot serve HTTP: {error}")))?;
    Ok(pages.server.get_or_init(|| server).clone())
}

/// The hub's own pages.
pub(crate) struct Pages {
    broker: Broker,
    journal: Option<JournalMonitor>,
    gates: Gates,
    losses: LossesOf,
    roads: Figures,
    started: Instant,
    /// The server that shows them, for its counters. Each holds the other: a hub lives as long as its process.
    server: OnceLock<Server>,
}

impl Pages {
    pub(crate) fn new(
        broker: Broker,
        journal: Option<JournalMonitor>,
        gates: Gates,
        losses: LossesOf,
        roads: Figures,
        started: Instant,
    ) -> Self {
        Self { broker, journal, gates, losses, roads, started, server: OnceLock::new() }
    }

    fn answer(&self, head: &request::Parts) -> Option<Response<Bytes>> {
        match head.uri.path() {
            "/healthz" => Some(page("text/plain; charset=utf-8", "ok\n")),
            "/metrics" => {
                let http = self.server.get().map(Server::counters).unwrap_or_default();
                let journal = self.journal.as_ref().map(JournalMonitor::stats);
                let (counters, losses) = (self.broker.counters(), (self.losses)());
                let text = metrics::render(
                    &counters,
                    journal,
                    &http,
                    &self.gates.counters(),
                    &losses,
                    &self.roads,
                    self.started.elapsed().as_secs(),
                );
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
