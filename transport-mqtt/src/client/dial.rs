//! From nothing to CONNACK.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::client::{Carrier, tcp};
use roadbed_core::{Delivery, Error, ErrorKind, Losses, Open, Origin, Qos, Result, Socket, WireMessage, WireQos};

use super::{ClientConfig, Connector};
use crate::codec::{ConnAck, Connect, Disconnect, Publish, QoS, ReasonCode, Will};
use crate::dialect::seconds;
use crate::{Event, Machine, MachineConfig};

/// How the connections of one session are opened.
pub(super) struct Dial {
    config: Arc<ClientConfig>,
    connector: Option<Arc<dyn Connector>>,
    machine: Arc<MachineConfig>,
    pub(super) client_id: ByteString,
    /// Seconds that the server is asked to keep the session.
    expiry_secs: u32,
    will: Option<Will>,
}

/// A connection that the server has let in.
pub(super) struct Dialed {
    pub(super) socket: Socket<Box<dyn Carrier>>,
    pub(super) machine: Machine,
    /// What was read after CONNACK.
    pub(super) held: Bytes,
    pub(super) connack: Box<ConnAck>,
}

impl Dial {
    pub(super) fn new(
        config: Arc<ClientConfig>,
        connector: Option<Arc<dyn Connector>>,
        client_id: ByteString,
        open: &Open,
    ) -> Result<Self> {
        let mut machine = config.machine.clone();
        machine.receive_maximum = window(&config, open);
        let will = open.will.as_ref().map(|will| will_packet(will, &config)).transpose()?;
        Ok(Self { machine: Arc::new(machine), connector, client_id, expiry_secs: seconds(open.expiry), will, config })
    }

    /// Whether the session outlives its connections.
    pub(super) const fn is_kept(&self) -> bool {
        self.expiry_secs != 0
    }

    /// Opens a connection; `resume` goes on with the session that the server has kept.
    ///
    /// # Errors
    /// If the server cannot be reached, or refuses.
    pub(super) async fn dial(&self, resume: bool) -> Result<Dialed> {
        let clean_start = if self.config.version.is_v5() { !resume } else { !self.is_kept() };
        self.within(self.connect(clean_start, self.expiry_secs, self.will.clone())).await
    }

    /// Ends the session that the server has kept: what MQTT 3 needs a connection of its own for.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub(super) async fn purge(&self) -> Result<()> {
        let Dialed { mut socket, mut machine, .. } = self.within(self.connect(true, 0, None)).await?;
        let mut out = socket.output();
        machine.disconnect(Disconnect::default(), &mut out)?;
        socket.farewell(out, self.config.close_timeout).await;
        Ok(())
    }

    async fn within(&self, dialing: impl Future<Output = Result<Dialed>>) -> Result<Dialed> {
        let timeout = self.config.connect_timeout;
        tokio::time::timeout(timeout, dialing).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::TimedOut, "connect")
                .detail(format_args!("{} does not answer within {timeout:?}", self.server())))
        })
    }

    async fn connect(&self, clean_start: bool, expiry_secs: u32, will: Option<Will>) -> Result<Dialed> {
        let stream = match &self.connector {
            Some(connector) => connector.connect().await,
            None => tcp(&self.config.host, self.config.port).await.map(|stream| Box::new(stream) as Box<dyn Carrier>),
        };
        let mut socket = Socket::new(stream.map_err(|error| self.unreachable(error))?);
        let (config, mut out) = (&self.config, socket.output());
        let connect = Connect {
            clean_start,
            keep_alive_secs: config.keep_alive_secs,
            will,
            user_name: config.user.clone(),
            password: config.password.clone(),
            session_expiry_secs: Some(expiry_secs).filter(|&secs| secs != 0 && config.version.is_v5()),
            ..Connect::new(config.version, self.client_id.clone())
        };
        let origin = Arc::new(Origin { principal: ByteString::default(), protocol: "mqtt" });
        let machine = Machine::client(Arc::clone(&self.machine), connect, origin, config.clock.now(), &mut out)?;
        let mut handshake = Handshake { socket, machine, held: Bytes::new() };
        let mut out = Some(out);
        let connack = poll_fn(|cx| handshake.poll(cx, self, &mut out)).await?;
        if clean_start && connack.session_present {
            // There is nothing that it could be present of [MQTT-3.2.2-4].
            let error = Error::new(ErrorKind::Protocol, "connect");
            return Err(error.detail("the server claims to have kept a session that it was asked to drop"));
        }
        let Handshake { socket, machine, held } = handshake;
        Ok(Dialed { socket, machine, held, connack })
    }

    fn server(&self) -> impl core::fmt::Display + '_ {
        let ClientConfig { host, port, .. } = &*self.config;
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        match self.connector {
            Some(_) => alloc::string::String::from("the server"),
            None => alloc::format!("{}{host}{}:{port}", brackets.0, brackets.1),
        }
    }

    fn unreachable(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, "connect")
            .detail(format_args!("{} cannot be reached: {error}", self.server()))
            .because(error)
    }

    fn lost(&self, error: Option<std::io::Error>) -> Error {
        let said = Error::new(ErrorKind::Disconnected, "connect")
            .detail(format_args!("{} closes the connection instead of answering CONNECT", self.server()));
        match error {
            Some(error) => said.because(error),
            None => said,
        }
    }

    /// Why the server does not let the session in.
    fn refused(&self, connack: &ConnAck) -> Error {
        let (reason, version) = (connack.reason, self.config.version);
        let (kind, what) = match reason {
            ReasonCode::BadUserNameOrPassword => (ErrorKind::Unauthenticated, "the user name or the password is wrong"),
            ReasonCode::BadAuthenticationMethod => (ErrorKind::Unauthenticated, "it asks for another authentication"),
            ReasonCode::NotAuthorized => (ErrorKind::Unauthorized, "the user may not connect, or is not known"),
            ReasonCode::Banned => (ErrorKind::Unauthorized, "the client is banned"),
            ReasonCode::ClientIdentifierNotValid => (ErrorKind::Invalid, "it does not take the client identifier"),
            ReasonCode::UnsupportedProtocolVersion if version.is_v5() => {
                (ErrorKind::NotSupported, "it does not speak MQTT 5: use version 3.1.1")
            }
            ReasonCode::UnsupportedProtocolVersion => (ErrorKind::NotSupported, "it does not speak this version"),
            ReasonCode::QosNotSupported => (ErrorKind::NotSupported, "it does not take a will of this QoS"),
            ReasonCode::RetainNotSupported => (ErrorKind::NotSupported, "it does not retain a will"),
            ReasonCode::TopicNameInvalid => (ErrorKind::Invalid, "it does not take the topic of the will"),
            ReasonCode::UseAnotherServer | ReasonCode::ServerMoved => {
                (ErrorKind::Conflict, "another server is to be used")
            }
            ReasonCode::QuotaExceeded | ReasonCode::ConnectionRateExceeded => {
                (ErrorKind::Exhausted, "a limit is reached")
            }
            _ => (ErrorKind::Unavailable, "it cannot now"),
        };
        let text = connack.notes.reason_string.as_deref().or(connack.server_reference.as_deref());
        let text = text.map(|text| alloc::format!(": {text}")).unwrap_or_default();
        let words = alloc::format!("{} refuses: {what} ({reason}{text})", self.server());
        Error::new(kind, "connect").detail(words)
    }
}

/// Whether trying again later may help.
pub(super) fn may_pass(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Unauthenticated
            | ErrorKind::Unauthorized
            | ErrorKind::Invalid
            | ErrorKind::NotSupported
            | ErrorKind::Conflict
    )
}

/// How many unsettled deliveries a session takes.
pub(super) fn window(config: &ClientConfig, open: &Open) -> u16 {
    let most = config.machine.receive_maximum.max(1);
    if open.window == 0 { most } else { most.min(open.window) }
}

struct Handshake {
    socket: Socket<Box<dyn Carrier>>,
    machine: Machine,
    held: Bytes,
}

impl Handshake {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        dial: &Dial,
        out: &mut Option<roadbed_core::Output>,
    ) -> Poll<Result<Box<ConnAck>>> {
        loop {
            let mut pending = out.take().unwrap_or_else(|| self.socket.output());
            let event = self.next(dial, &mut pending);
            let flushed = self.socket.poll_flush(cx, pending);
            match event? {
                Some(Event::ConnAck(connack)) if connack.reason.is_failure() => {
                    return Poll::Ready(Err(dial.refused(&connack)));
                }
                Some(Event::ConnAck(connack)) => return Poll::Ready(Ok(connack)),
                Some(_) => {
                    let error = Error::new(ErrorKind::Protocol, "connect");
                    return Poll::Ready(Err(error.detail("CONNACK was expected")));
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

    fn next(&mut self, dial: &Dial, out: &mut roadbed_core::Output) -> Result<Option<Event>> {
        let Self { socket, machine, held, .. } = self;
        Ok(socket.next_event(machine, held, dial.config.clock.now(), out)?)
    }
}

fn will_packet(will: &roadbed_core::Will, config: &ClientConfig) -> Result<Will> {
    let message = will.message.clone();
    let delivery =
        Delivery { retained: message.retain(), message, handle: None, qos: Qos::AtMostOnce, attempt: 1, info: None };
    let publish = Publish::write(&delivery, config.clock.now(), &mut Losses::default())?;
    let delay_secs = Some(seconds(will.delay)).filter(|&secs| secs != 0);
    Ok(Will {
        topic: publish.topic,
        payload: publish.payload,
        qos: QoS::write(will.qos)?,
        retain: publish.retain,
        delay_secs,
        payload_is_text: publish.payload_is_text,
        message_expiry_secs: will.ttl.map(seconds).or(publish.message_expiry_secs),
        content_type: publish.content_type,
        response_topic: publish.response_topic,
        correlation_data: publish.correlation_data,
        user: publish.user,
    })
}
