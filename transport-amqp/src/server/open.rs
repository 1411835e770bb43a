use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{
    Credential, Error, ErrorKind, Identity, Open, Origin, Output, Peer, Protocol, Result, Scope, Session, Socket, Time,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::attach::Client;
use super::identities::Nobody;
use super::turn::Running;
use crate::{Event, Machine, dialect};
use roadbed_core::Timer;

/// A connection that is being opened.
pub(super) struct Opening<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: Socket<S>,
    pub(super) machine: Machine,
    pub(super) timer: Timer,
    /// What has been read and not looked at.
    held: Bytes,
    pub(super) peer: Arc<Peer>,
}

/// What a client that was let in holds.
pub(super) struct Admitted {
    pub(super) client: Client,
    pub(super) session: Box<dyn Session>,
    pub(super) valid_until: Option<Time>,
    /// It is nobody yet: a token comes first.
    pub(super) guest: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Opening<S> {
    pub(super) fn new(shared: Arc<Shared>, socket: Socket<S>, held: Bytes, peer: Arc<Peer>) -> Self {
        let config = if peer.name.is_some() { &shared.machine_external } else { &shared.machine };
        let machine = Machine::server(Arc::clone(config), shared.config.clock.now());
        Self { shared, socket, machine, timer: Timer::default(), held, peer }
    }

    /// From the first byte to open.
    pub(super) async fn open(mut self) -> Result<Box<Running<S>>> {
        let mut identity = None;
        loop {
            match self.next().await? {
                Event::Sasl { mechanism, response } => identity = self.sasl(&mechanism, response).await?,
                Event::Open(open) => return self.opened(identity, open.container_id.into()).await,
                _ => return Err(Error::new(ErrorKind::Protocol, "open").detail("open was expected")),
            }
        }
    }

    async fn opened(mut self, identity: Option<Identity>, container: ByteString) -> Result<Box<Running<S>>> {
        let (shared, peer) = (Arc::clone(&self.shared), Arc::clone(&self.peer));
        match self.in_time(attach(&shared, &peer, identity, container)).await {
            Ok(admitted) => {
                let mut out = self.socket.output();
                self.machine.open(&mut out)?;
                self.flush(out).await?;
                let Self { shared, socket, machine, timer, held, peer } = self;
                Ok(Box::new(Running::new(shared, socket, machine, timer, held, peer, admitted)))
            }
            Err(error) => {
                let mut out = self.socket.output();
                self.machine.close(Some(dialect::error_fault(&error)), &mut out)?;
                self.socket.farewell(out, self.shared.config.close_timeout).await;
                Err(error)
            }
        }
    }

    pub(super) async fn next(&mut self) -> Result<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        loop {
            let now = self.shared.config.clock.now();
            let mut out = self.socket.output();
            let event = self.socket.next_event(&mut self.machine, &mut self.held, now, &mut out).map_err(Error::from);
            let flushed = self.socket.poll_flush(cx, out);
            match event {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => flushed.map_err(lost)?,
            };
            if self.timer.poll(cx, now, self.machine.poll_timeout()).is_ready() {
                let mut out = self.socket.output();
                let expired = self.machine.handle_timeout(now, &mut out);
                self.socket.poll_flush(cx, out).map_err(lost)?;
                expired.map_err(Error::from)?;
            }
            match self.socket.poll_chunk(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(chunk))) => self.held = chunk,
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(Error::new(ErrorKind::Disconnected, "open"))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
            }
        }
    }

    pub(super) async fn flush(&mut self, out: Output) -> Result<()> {
        let mut out = Some(out);
        poll_fn(|cx| {
            let pending = out.take().unwrap_or_else(|| self.socket.output());
            match self.socket.poll_flush(cx, pending) {
                Ok(flushed) if flushed.done => Poll::Ready(Ok(())),
                Ok(_) => Poll::Pending,
                Err(error) => Poll::Ready(Err(lost(error))),
            }
        })
        .await
    }
}

/// Opens the client's session. Without SASL, the client is nobody in particular; where tokens are taken and nobody else may come in, it has the time of
/// an open to show one.
async fn attach(
    shared: &Arc<Shared>,
    peer: &Peer,
    identity: Option<Identity>,
    container: ByteString,
) -> Result<Admitted> {
    let config = &shared.config;
    let identity = match identity {
        Some(identity) => Ok(identity),
        None => config.authenticator.authenticate(peer, "", &Credential::Anonymous).await,
    };
    let (identity, guest) = match identity {
        Err(error) if error.kind() == ErrorKind::Unauthenticated && config.authenticator.takes_tokens() => {
            let valid_until = Some(config.clock.now() + config.machine.open_timeout);
            let mut nobody = Identity::default();
            nobody.valid_until = valid_until;
            (nobody, true)
        }
        identity => (identity?, false),
    };
    let origin = Arc::new(Origin { principal: identity.principal, protocol: "amqp" });
    let scope = Scope::unique();
    let session = match guest {
        true => Nobody::session(),
        false => shared.endpoint.open(Open { origin: Arc::clone(&origin), scope, ..Open::default() }).await?,
    };
    let client = Client { shared: Arc::clone(shared), origin, scope, container };
    Ok(Admitted { client, session, valid_until: identity.valid_until, guest })
}

pub(super) fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Disconnected, "serve").because(error)
}
