//! From the first byte to open: protocol headers, SASL, open.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use fe2o3_amqp_types::performatives::{ChannelMax, MaxFrameSize, Open};
use roadbed_core::{Output, Time};

use super::{Clock, Event, Machine, Sasl, State};
use crate::codec::{Performative, ProtocolHeader};
use crate::config::MachineConfig;
use crate::error::{Error, SendError};

impl Machine {
    /// A server's end.
    pub fn server(config: Arc<MachineConfig>, now: Time) -> Self {
        Self::new(config, None, now, State::Header(ProtocolHeader::Amqp))
    }

    /// A client's end: writes the first protocol header. Without `sasl`, AMQP begins at once. `hostname` is told in SASL and open.
    pub fn client(
        config: Arc<MachineConfig>,
        sasl: Option<Sasl>,
        hostname: Option<String>,
        now: Time,
        out: &mut Output,
    ) -> Self {
        let header = if sasl.is_some() { ProtocolHeader::Sasl } else { ProtocolHeader::Amqp };
        let mut machine = Self::new(config, sasl, now, State::Header(header));
        machine.hostname = Some(hostname.unwrap_or_default());
        out.put_slice(&header.bytes());
        if header == ProtocolHeader::Amqp {
            machine.say_open(out);
        }
        machine
    }

    fn new(config: Arc<MachineConfig>, sasl: Option<Sasl>, now: Time, state: State) -> Self {
        Self {
            clock: Clock::new(now, config.open_timeout),
            config,
            state,
            sasl,
            exchange: None,
            sasl_rounds: 0,
            hostname: None,
            open_sent: false,
            peer_frame_max: 512,
            peer_channel_max: 0,
            peer_idle: None,
            sessions: Default::default(),
            channels: Default::default(),
            names: Default::default(),
            later: Default::default(),
            scratch: Default::default(),
        }
    }

    /// Server: answers the client's open.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if no [`Event::Open`] waits for it.
    pub fn open(&mut self, out: &mut Output) -> Result<(), SendError> {
        if self.state != State::Asked {
            return Err(SendError::NotAttached);
        }
        self.say_open(out);
        self.run();
        Ok(())
    }

    pub(super) fn say_open(&mut self, out: &mut Output) {
        let idle = u32::try_from(self.config.idle_timeout.as_millis() / 2).unwrap_or(u32::MAX);
        let open = Open {
            container_id: self.config.container_id.clone(),
            hostname: self.hostname.clone().filter(|name| !name.is_empty()),
            max_frame_size: MaxFrameSize(self.config.frame_bytes_max),
            channel_max: ChannelMax(self.config.sessions_max.saturating_sub(1)),
            idle_time_out: (idle > 0).then_some(idle),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: Some(alloc::vec!["ANONYMOUS-RELAY".into()].into()),
            desired_capabilities: None,
            properties: None,
        };
        self.open_sent = true;
        self.put(0, &Performative::Open(Box::new(open)), out);
    }

    /// The peer's open.
    pub(super) fn opened(&mut self, open: Open) -> Result<Event, Error> {
        let frame_max = open.max_frame_size.0;
        if frame_max < 512 {
            return Err(Error::TooLittle("the largest frame"));
        }
        let idle = open.idle_time_out.filter(|&millis| millis > 0).map(|millis| Duration::from_millis(millis.into()));
        if idle.is_some_and(|idle| idle < self.config.idle_timeout_min) {
            return Err(Error::TooLittle("the idle time-out"));
        }
        self.peer_frame_max = frame_max;
        self.peer_channel_max = open.channel_max.0;
        self.peer_idle = idle;
        match self.is_client() {
            true => self.run(),
            false => self.state = State::Asked,
        }
        Ok(Event::Open(Box::new(open)))
    }

    fn run(&mut self) {
        self.state = State::Open;
        self.clock.open(self.config.idle_timeout, self.peer_idle);
    }

    pub(super) const fn is_client(&self) -> bool {
        self.hostname.is_some()
    }

    /// A protocol header: of the server's first layer, `wanted` is AMQP; of the layer after SASL, or as a client, `wanted` says what was sent or done.
    pub(super) fn headed(
        &mut self,
        wanted: ProtocolHeader,
        header: ProtocolHeader,
        out: &mut Output,
    ) -> Result<(), Error> {
        if self.is_client() {
            return self.answered(wanted, header);
        }
        let after_sasl = wanted == ProtocolHeader::Sasl;
        match header {
            ProtocolHeader::Amqp if after_sasl || !self.config.sasl_required => {
                out.put_slice(&ProtocolHeader::Amqp.bytes());
                self.state = State::Opening;
                Ok(())
            }
            ProtocolHeader::Sasl if !after_sasl => {
                out.put_slice(&ProtocolHeader::Sasl.bytes());
                self.say_mechanisms(out);
                Ok(())
            }
            _ => Err(self.wrong_header(Error::ProtocolHeader, out)),
        }
    }

    /// Client: the server's answer to our header.
    fn answered(&mut self, sent: ProtocolHeader, header: ProtocolHeader) -> Result<(), Error> {
        if sent != header {
            return Err(Error::ProtocolHeader);
        }
        self.state = if header == ProtocolHeader::Sasl { State::Sasl } else { State::Opening };
        Ok(())
    }

    /// Says the header that we want instead (Part 2, section 2.2).
    pub(super) fn wrong_header(&mut self, error: Error, out: &mut Output) -> Error {
        if !self.is_client() {
            let wanted = if self.config.sasl_required { ProtocolHeader::Sasl } else { ProtocolHeader::Amqp };
            out.put_slice(&wanted.bytes());
        }
        error
    }
}
