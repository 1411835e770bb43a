//! One connection.

use std::pin::pin;
use std::sync::Arc;

use http::request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use roadbed_core::{Endpoint, Peer, Scope};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;

use super::attach::{Attachment, Attachments};
use super::counters::Meters;
use super::reply::Failure;
use super::routes::Routes;
use super::watch::{Watch, Watched};
use super::{Server, Shared};
use crate::config::{HttpConfig, ms};
use crate::error::HttpError;
use crate::machine::Cut;

/// The least that hyper takes as the size of its read buffer, in bytes.
const READ_BYTES_MIN: usize = 8192;

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) attachments: Attachments,
    pub(super) watch: Option<Watch>,
    pub(super) peer: Arc<Peer>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, watch: Option<Watch>, peer: Arc<Peer>) -> Self {
        Self { shared, attachments: Attachments::new(Scope::unique()), watch, peer }
    }

    /// The attachment of whoever sends a request.
    pub(super) async fn attachment(&self, head: &request::Parts) -> Result<Arc<Attachment>, Failure> {
        self.attachments.get(&self.shared, &self.peer, &head.headers, self.shared.clock.now()).await
    }
}

/// Serves one connection, over any byte stream, until it ends.
///
/// # Errors
/// If the peer broke HTTP, was too slow, or is gone.
pub async fn serve<IO>(io: IO, endpoint: Arc<dyn Endpoint>, config: HttpConfig) -> Result<(), HttpError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Server::new(endpoint, config)?.serve(io).await
}

impl Server {
    /// Serves one connection, over any byte stream, until it ends. HTTP/1.1 and HTTP/2 are told apart by their first bytes.
    ///
    /// *Cancel safety*: dropped, it ends the connection at once; held polls lose nothing.
    ///
    /// # Errors
    /// If the peer broke HTTP, was too slow, or is gone.
    pub async fn serve<IO>(&self, io: IO) -> Result<(), HttpError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_peer(io, Arc::default()).await
    }

    /// As [`serve`](Self::serve), of a stream of whose other end something is known, which the authenticator is told, and whoever decides about
    /// [upgrades](super::ServerBuilder::upgrades), by an `Arc<Peer>` among the extensions of the request.
    ///
    /// *Cancel safety*: that of [`serve`](Self::serve).
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_peer<IO>(&self, io: IO, peer: Arc<Peer>) -> Result<(), HttpError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let watch = Watch::new();
        let routes = Routes::on(Connection::new(self.0.clone(), Some(watch.clone()), peer));
        let builder = builder(&self.0.config);
        let io = TokioIo::new(Watched { io, watch: watch.clone() });
        let _counted = Counted::new(&self.0.meters);
        let ended = self.drive(pin!(builder.serve_connection_with_upgrades(io, routes)), &watch).await;
        match &ended {
            Err(HttpError::HeaderTimeout) => self.0.meters.heads_late.one(),
            Err(HttpError::WriteStalled) => self.0.meters.writes_stalled.one(),
            _ => {}
        }
        ended
    }

    async fn drive<IO>(
        &self,
        mut connection: std::pin::Pin<&mut auto::UpgradeableConnection<'_, IO, Routes, TokioExecutor>>,
        watch: &Watch,
    ) -> Result<(), HttpError>
    where
        IO: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let (mut ending, mut idle) = (false, false);
        let mut timer = pin!(sleep_until(watch.instant(watch.now())));
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended.map_err(HttpError::Connection),
                () = timer.as_mut() => {
                    let now = watch.now();
                    let looked = watch.vitals().look(now, &self.0.config);
                    match looked {
                        Ok(next) => timer.as_mut().reset(watch.instant(next)),
                        Err(Cut::Fault(fault)) => return Err(fault),
                        Err(Cut::Idle) if idle => return Ok(()),
                        Err(Cut::Idle) => {
                            idle = true;
                            self.0.meters.idle.one();
                            timer.as_mut().reset(watch.instant(now + ms(self.0.config.header_read_ms)));
                            connection.as_mut().graceful_shutdown();
                        }
                    }
                }
                () = self.0.draining.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Counts a connection, and its end however it comes.
struct Counted<'a>(&'a Meters);

impl<'a> Counted<'a> {
    fn new(meters: &'a Meters) -> Self {
        meters.connections.one();
        Self(meters)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections_ended.one();
    }
}

fn builder(config: &HttpConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Heads and idle connections are watched by this crate: hyper's one time-out would end idle connections, too.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(config.headers_max)
        .max_buf_size(config.header_bytes_max.max(READ_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.h2_streams_max)
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(ms(config.idle_ms.max(1000)))
        .keep_alive_timeout(ms(config.write_stall_ms.max(1000)));
    builder
}
