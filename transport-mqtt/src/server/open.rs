use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::hash::Hasher;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use core::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{
    AuthStep, ConsumerTerms, Error, ErrorKind, Grant, Identity, Open, Origin, Output, Peer, ProducerTerms, Protocol,
    Result, Scope, Socket, Time,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::turn::Running;
use super::{AUTH_ROUNDS_MAX, Shared};
use crate::codec::{Connect, Notes, ReasonCode};
use crate::{Event, Machine, Welcome, dialect};
use roadbed_core::Timer;

/// A connection that is being opened.
pub(super) struct Opening<S> {
    shared: Arc<Shared>,
    socket: Socket<S>,
    machine: Machine,
    timer: Timer,
    /// What has been read and not looked at.
    held: Bytes,
    peer: Arc<Peer>,
}

/// Why a client is not let in.
struct Refusal(ReasonCode, Error);

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Opening<S> {
    pub(super) fn new(shared: Arc<Shared>, socket: Socket<S>, held: Bytes, peer: Arc<Peer>) -> Self {
        let machine = Machine::server(Arc::clone(&shared.machine), shared.config.clock.now());
        Self { shared, socket, machine, timer: Timer::default(), held, peer }
    }

    /// From the first byte to CONNACK.
    pub(super) async fn open(mut self) -> Result<Box<Running<S>>> {
        let Event::Connect(connect) = self.next().await? else {
            return Err(Error::new(ErrorKind::Protocol, "open").detail("the first event was not CONNECT"));
        };
        let admitted = match self.admit(&connect).await {
            Ok(admitted) => self.attach(*connect, admitted).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok((links, welcome)) => self.welcome(links, welcome).await,
            Err(Refusal(reason, error)) => {
                let mut out = self.socket.output();
                let said = self.machine.refuse(reason, Notes::default(), &mut out);
                self.socket.last_words(out, self.shared.config.close_timeout).await;
                said.map_err(Error::from).and(Err(error))
            }
        }
    }

    async fn admit(&mut self, connect: &Connect) -> Result<Admitted, Refusal> {
        if let Some(method) = &connect.auth_method {
            return self.exchange(connect, method).await;
        }
        let credential = dialect::credential(connect);
        let (shared, peer) = (Arc::clone(&self.shared), Arc::clone(&self.peer));
        let asked = shared.config.authenticator.authenticate(&peer, &connect.client_id, &credential);
        let identity = self.in_time(asked).await;
        let identity = identity.map_err(|error| Refusal(unproven(&error, ReasonCode::BadUserNameOrPassword), error))?;
        Ok(Admitted { identity, auth_data: None })
    }

    /// What looks credentials up may take no longer than the client may.
    async fn in_time<T>(&mut self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let times = || (self.shared.config.clock.now(), self.machine.poll_timeout());
        self.timer.limit("authenticate", asked, times).await
    }

    /// Enhanced authentication (section 4.12).
    async fn exchange(&mut self, connect: &Connect, method: &str) -> Result<Admitted, Refusal> {
        let Some(mut exchange) = self.shared.config.authenticator.exchange(&self.peer, &connect.client_id, method)
        else {
            let error = Error::new(ErrorKind::Unauthenticated, "open").detail("unknown authentication method");
            return Err(Refusal(ReasonCode::BadAuthenticationMethod, error));
        };
        let mut data = connect.auth_data.clone();
        for _ in 0..AUTH_ROUNDS_MAX {
            let stepped = self.in_time(exchange.step(data)).await;
            match stepped.map_err(|error| Refusal(unproven(&error, ReasonCode::NotAuthorized), error))? {
                AuthStep::Success(identity, auth_data) => return Ok(Admitted { identity, auth_data }),
                AuthStep::Continue(challenge) => data = self.challenge(challenge).await?,
            }
        }
        let error = Error::new(ErrorKind::Unauthenticated, "open").detail("the authentication does not end");
        Err(Refusal(ReasonCode::NotAuthorized, error))
    }

    async fn challenge(&mut self, challenge: Bytes) -> Result<Option<Bytes>, Refusal> {
        let lost = |error: Error| Refusal(ReasonCode::UnspecifiedError, error);
        let mut out = self.socket.output();
        let reason = ReasonCode::ContinueAuthentication;
        let said = self.machine.authenticate(reason, Some(challenge), Notes::default(), &mut out);
        said.map_err(|error| lost(error.into()))?;
        self.flush(out).await.map_err(lost)?;
        match self.next().await.map_err(lost)? {
            Event::Auth(auth) => Ok(auth.data),
            _ => Err(lost(Error::new(ErrorKind::Protocol, "open").detail("AUTH was expected"))),
        }
    }

    async fn attach(&mut self, connect: Connect, admitted: Admitted) -> Result<(Links, Welcome), Refusal> {
        let config = &self.shared.config;
        let principal = admitted.identity.principal.clone();
        let origin = Arc::new(Origin { principal, protocol: "mqtt" });
        let durability = config.machine.durability;
        let asked = dialect::open(&connect, &origin, durability, Scope::unique(), config.clock.now());
        let asked = asked.map_err(|error| Refusal(ReasonCode::TopicNameInvalid, error))?;
        let open = Open {
            name: asked.name.or_else(|| self.shared.assign_name(&connect)),
            expiry: asked.expiry.min(Duration::from_secs(config.session_expiry_secs_max.into())),
            window: asked.window.min(config.in_flight_max),
            ..asked
        };
        let refused = |error: Error| Refusal(dialect::refusal(&error), error);
        let session = self.shared.endpoint.open(open).await.map_err(refused)?;
        // A client may publish as it likes; what the endpoint takes of it is its own.
        let qos_max = session.opened().qos_max;
        let terms = ProducerTerms { qos_max, ..ProducerTerms::default() };
        let (producer, _) = session.producer(terms).await.map_err(refused)?;
        let (mut consumer, attached) = session.consumer(ConsumerTerms::session()).await.map_err(refused)?;
        consumer.grant(Grant::credit(Grant::UNLIMITED));
        let welcome = Welcome { auth_data: admitted.auth_data, ..Welcome::new(Arc::clone(&origin), session.opened()) };
        let (valid_until, resumed) = (admitted.identity.valid_until, attached.unsettled.into());
        Ok((Links { origin, session, producer, consumer, resumed, valid_until }, welcome))
    }

    async fn welcome(mut self, links: Links, welcome: Welcome) -> Result<Box<Running<S>>> {
        let mut out = self.socket.output();
        self.machine.accept(welcome, self.shared.config.clock.now(), &mut out)?;
        self.flush(out).await?;
        Ok(Box::new(Running::new(self.shared, self.socket, self.machine, self.timer, self.held, self.peer, links)))
    }

    async fn next(&mut self) -> Result<Event> {
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

    async fn flush(&mut self, out: Output) -> Result<()> {
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

/// What a client is told whose credentials were not found right: whether they are wrong, or were not looked at.
fn unproven(error: &Error, wrong: ReasonCode) -> ReasonCode {
    match error.kind() {
        ErrorKind::Exhausted => ReasonCode::QuotaExceeded,
        ErrorKind::Unavailable | ErrorKind::TimedOut => ReasonCode::ServerUnavailable,
        _ => wrong,
    }
}

struct Admitted {
    identity: Identity,
    auth_data: Option<Bytes>,
}

/// What a client that was let in holds of the endpoint.
pub(super) struct Links {
    pub(super) origin: Arc<Origin>,
    pub(super) session: Box<dyn roadbed_core::Session>,
    pub(super) producer: Box<dyn roadbed_core::Producer>,
    pub(super) consumer: Box<dyn roadbed_core::Consumer>,
    pub(super) resumed: VecDeque<roadbed_core::Unsettled>,
    pub(super) valid_until: Option<Time>,
}

impl Shared {
    /// A name for a client that gave none; only MQTT 5 can be told it.
    fn assign_name(&self, connect: &Connect) -> Option<ByteString> {
        if !connect.version.is_v5() {
            return None;
        }
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.config.seed);
        hasher.write_u64(number);
        Some(format!("auto-{:016x}{number:x}", hasher.finish()).into())
    }
}

pub(super) fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Disconnected, "serve").because(error)
}
