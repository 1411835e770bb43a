//! From nothing to open: the carrier, SASL, the connection.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::{Context, Poll};

use bytes::Bytes;
use fe2o3_amqp_types::performatives::Open;
use roadbed_core::client::{Carrier, Connector, tcp};
use roadbed_core::{Error, ErrorKind, Output, Result, Socket};

use super::{ClientConfig, words};
use crate::{Event, Machine};

/// How connections are opened.
pub(super) struct Dial {
    pub(super) config: Arc<ClientConfig>,
    pub(super) connector: Option<Arc<dyn Connector>>,
}

/// A connection that is open.
pub(super) struct Dialed {
    pub(super) socket: Socket<Box<dyn Carrier>>,
    pub(super) machine: Machine,
    /// What came after the server's open.
    pub(super) held: Bytes,
}

impl Dial {
    /// Opens a connection.
    ///
    /// *Cancel safety*: dropped, the connection is dropped.
    pub(super) async fn dial(&self) -> Result<Dialed> {
        match tokio::time::timeout(self.config.connect_timeout, self.handshake()).await {
            Ok(dialed) => dialed,
            Err(_) => Err(Error::new(ErrorKind::TimedOut, "connect").detail(format_args!(
                "{} does not answer within {:?}",
                self.server(),
                self.config.connect_timeout
            ))),
        }
    }

    async fn handshake(&self) -> Result<Dialed> {
        let config = &self.config;
        let stream = match &self.connector {
            Some(connector) => connector.connect().await,
            None => tcp(&config.host, config.port).await.map(|stream| Box::new(stream) as Box<dyn Carrier>),
        };
        let mut socket = Socket::new(stream.map_err(|error| self.unreachable(error))?);
        let mut out = socket.output();
        let hostname = config.hostname.clone().unwrap_or_else(|| config.host.clone());
        let machine = Arc::new(config.machine.clone());
        let machine = Machine::client(machine, config.sasl.clone(), Some(hostname), config.clock.now(), &mut out);
        let mut handshake = Handshake { socket, machine, held: Bytes::new() };
        let mut out = Some(out);
        let _open = poll_fn(|cx| handshake.poll(cx, self, &mut out)).await?;
        let Handshake { socket, machine, held } = handshake;
        Ok(Dialed { socket, machine, held })
    }

    fn server(&self) -> String {
        let ClientConfig { host, port, .. } = &*self.config;
        match self.connector {
            Some(_) => "the server".into(),
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        }
    }

    fn unreachable(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, "connect")
            .detail(format_args!("{} cannot be reached: {error}", self.server()))
            .because(error)
    }

    fn lost(&self, error: Option<std::io::Error>) -> Error {
        let said = Error::new(ErrorKind::Disconnected, "connect")
            .detail(format_args!("{} closes the connection instead of opening it", self.server()));
        match error {
            Some(error) => said.because(error),
            None => said,
        }
    }
}

/// Whether trying again later may help.
pub(super) fn may_pass(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Unauthenticated
            | ErrorKind::Unauthorized
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::NotSupported
    )
}

struct Handshake {
    socket: Socket<Box<dyn Carrier>>,
    machine: Machine,
    held: Bytes,
}

impl Handshake {
    fn poll(&mut self, cx: &mut Context<'_>, dial: &Dial, out: &mut Option<Output>) -> Poll<Result<Box<Open>>> {
        loop {
            let mut pending = out.take().unwrap_or_else(|| self.socket.output());
            let event = self.next(dial, &mut pending);
            let flushed = self.socket.poll_flush(cx, pending);
            match event? {
                Some(Event::Open(open)) => return Poll::Ready(Ok(open)),
                Some(Event::Close(fault)) => {
                    let error = fault.as_ref().map_or_else(|| dial.lost(None), |fault| words::error(fault, "connect"));
                    return Poll::Ready(Err(error));
                }
                Some(_) => {
                    let error = Error::new(ErrorKind::Protocol, "connect");
                    return Poll::Ready(Err(error.detail("open was expected")));
                }
                None => flushed.map_err(|error| dial.lost(Some(error)))?,
            };
            match self.socket.poll_chunk(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(chunk))) => self.held = chunk,
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(dial.lost(None))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(dial.lost(Some(error)))),
            }
        }
    }

    fn next(&mut self, dial: &Dial, out: &mut Output) -> Result<Option<Event>> {
        let Self { socket, machine, held, .. } = self;
        Ok(socket.next_event(machine, held, dial.config.clock.now(), out)?)
    }
}
