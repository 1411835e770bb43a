//! SASL (Part 5, section 5.3): the frames of an exchange of any number of rounds.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::Output;
use roadbed_sasl::{ScramClient, ScramHash};

use super::{Event, Machine, State};
use crate::codec::{Frame, FrameType, ProtocolHeader, SaslCode, SaslFrame, put_frame, put_sasl};
use crate::error::{Error, SendError};

/// How a client proves who it is (Part 5, section 5.3).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sasl {
    /// It does not.
    Anonymous,
    /// By a name and a password, which the server gets to see.
    Plain {
        /// The name.
        user: ByteString,
        /// The password.
        password: ByteString,
    },
    /// By showing that it knows the password, to a server that shows that it knows it, too: the strongest SCRAM that is offered.
    Scram {
        /// The name.
        user: ByteString,
        /// The password.
        password: ByteString,
    },
    /// By SCRAM, or by PLAIN where the server offers no SCRAM: whoever can pretend to be the server gets to see the password.
    Password {
        /// The name.
        user: ByteString,
        /// The password.
        password: ByteString,
    },
    /// By what the carrier has proved already: a TLS certificate.
    External,
}

impl core::fmt::Debug for Sasl {
    /// Never shows a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "ANONYMOUS",
            Self::Plain { .. } => "PLAIN",
            Self::Scram { .. } => "SCRAM",
            Self::Password { .. } => "SCRAM or PLAIN",
            Self::External => "EXTERNAL",
        })
    }
}

/// How SASL ends for a client (Part 5, section 5.3.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is let in; the data is the server's last word.
    Admitted(Option<Bytes>),
    /// It is not.
    Refused(SaslCode),
}

/// What a client does by the mechanism that was chosen.
pub(super) struct Exchange {
    mechanism: &'static str,
    first: Bytes,
    /// SCRAM goes on for more than one round.
    scram: Option<Box<ScramClient>>,
}

impl core::fmt::Debug for Exchange {
    /// Never shows a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.mechanism)
    }
}

impl Sasl {
    /// The strongest mechanism that both ends have.
    fn choose(&self, offered: &[String], iterations_max: u32) -> Result<Exchange, Error> {
        let offers = |mechanism: &str| offered.iter().any(|offered| offered == mechanism);
        match self {
            Self::Scram { user, password } | Self::Password { user, password } => {
                let hash = ScramHash::ALL.into_iter().find(|hash| offers(hash.mechanism()));
                if let Some(hash) = hash {
                    return Exchange::scram(hash, user, password, iterations_max);
                }
            }
            _ => {}
        }
        let exchange = match self {
            Self::Anonymous => Exchange::new("ANONYMOUS", Bytes::new()),
            Self::External => Exchange::new("EXTERNAL", Bytes::new()),
            Self::Scram { .. } => return Err(Error::SaslMechanism),
            Self::Plain { user, password } | Self::Password { user, password } => {
                Exchange::new("PLAIN", Bytes::from(format!("\0{user}\0{password}").into_bytes()))
            }
        };
        if offers(exchange.mechanism) { Ok(exchange) } else { Err(Error::SaslMechanism) }
    }
}

impl Exchange {
    const fn new(mechanism: &'static str, first: Bytes) -> Self {
        Self { mechanism, first, scram: None }
    }

    fn scram(hash: ScramHash, user: &str, password: &str, iterations_max: u32) -> Result<Self, Error> {
        let scram = ScramClient::new(hash, user, password.as_bytes(), iterations_max);
        let mut scram = scram.map_err(|_| Error::SaslCredentials)?;
        let first = scram.step(&[]).map_err(|_| Error::SaslCredentials)?;
        Ok(Self { mechanism: hash.mechanism(), first, scram: Some(Box::new(scram)) })
    }

    fn answer(&mut self, challenge: &Bytes) -> Result<Bytes, Error> {
        match &mut self.scram {
            // The server's last word may also come as a challenge; the answer to it is empty.
            Some(scram) => scram.step(challenge).map_err(|_| Error::SaslServer),
            // Asked to begin, though it has.
            None if challenge.is_empty() => Ok(self.first.clone()),
            None => Err(Error::Unexpected("a challenge")),
        }
    }

    /// Whether the server may be believed that the client is in.
    fn finish(&mut self, last: Option<&Bytes>) -> Result<(), Error> {
        let Some(scram) = &mut self.scram else { return Ok(()) };
        if let Some(last) = last.filter(|_| !scram.is_done()) {
            scram.step(last).map_err(|_| Error::SaslServer)?;
        }
        if scram.is_done() { Ok(()) } else { Err(Error::SaslServer) }
    }
}

impl Machine {
    /// Server: asks the client on; [`Event::SaslResponse`] follows.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if no [`Event::Sasl`] or [`Event::SaslResponse`] waits for it.
    pub fn challenge(&mut self, data: Bytes, out: &mut Output) -> Result<(), SendError> {
        if self.state != State::SaslAsked || self.is_client() {
            return Err(SendError::NotAttached);
        }
        self.put_sasl(&SaslFrame::Challenge(data), out);
        self.state = State::SaslChallenged;
        Ok(())
    }

    /// Server: tells the client whether it is let in. Otherwise the connection ends.
    ///
    /// # Errors
    /// [`SendError::NotAttached`] if no [`Event::Sasl`] or [`Event::SaslResponse`] waits for it.
    pub fn admit(&mut self, admission: Admission, out: &mut Output) -> Result<(), SendError> {
        if self.state != State::SaslAsked || self.is_client() {
            return Err(SendError::NotAttached);
        }
        match admission {
            Admission::Admitted(data) => {
                self.put_sasl(&SaslFrame::Outcome { code: SaslCode::Ok, data }, out);
                self.state = State::Header(ProtocolHeader::Sasl);
            }
            Admission::Refused(code) => {
                self.put_sasl(&SaslFrame::Outcome { code, data: None }, out);
                self.end();
            }
        }
        Ok(())
    }

    pub(super) fn say_mechanisms(&mut self, out: &mut Output) {
        let mechanisms: Vec<String> = self.config.mechanisms.clone();
        self.put_sasl(&SaslFrame::Mechanisms(mechanisms), out);
        self.state = State::Sasl;
    }

    pub(super) fn sasl_frame(&mut self, found: &Frame, out: &mut Output) -> Result<Option<Event>, Error> {
        let expected = matches!(self.state, State::Sasl | State::SaslAsked | State::SaslChallenged);
        if found.kind != FrameType::Sasl || !expected {
            return Err(Error::Unexpected("a frame of another layer"));
        }
        let said = SaslFrame::decode(&found.body, &self.config.guard)?;
        if self.is_client() {
            self.sasl_client(said, out).map(|()| None)
        } else {
            self.sasl_server(said, out).map(Some)
        }
    }

    fn sasl_server(&mut self, said: SaslFrame, out: &mut Output) -> Result<Event, Error> {
        match (self.state, said) {
            (State::Sasl, SaslFrame::Init { mechanism, response, .. }) => {
                if !self.config.mechanisms.contains(&mechanism) {
                    self.put_sasl(&SaslFrame::Outcome { code: SaslCode::Auth, data: None }, out);
                    return Err(Error::SaslMechanism);
                }
                self.state = State::SaslAsked;
                Ok(Event::Sasl { mechanism, response })
            }
            (State::SaslChallenged, SaslFrame::Response(data)) => {
                self.state = State::SaslAsked;
                Ok(Event::SaslResponse(data))
            }
            _ => Err(Error::Unexpected("a SASL frame")),
        }
    }

    fn sasl_client(&mut self, said: SaslFrame, out: &mut Output) -> Result<(), Error> {
        match (self.state, said) {
            (State::Sasl, SaslFrame::Mechanisms(offered)) => {
                let sasl = self.sasl.take().ok_or(Error::SaslMechanism)?;
                let exchange = sasl.choose(&offered, self.config.scram_iterations_max)?;
                let (response, hostname) = (Some(exchange.first.clone()), self.hostname.clone());
                let init = SaslFrame::Init { mechanism: exchange.mechanism.to_string(), response, hostname };
                self.put_sasl(&init, out);
                self.exchange = Some(exchange);
                self.state = State::SaslAsked;
                Ok(())
            }
            (State::SaslAsked, SaslFrame::Challenge(challenge)) => {
                self.sasl_rounds += 1;
                let exchange = self.exchange.as_mut().filter(|_| self.sasl_rounds <= SASL_ROUNDS_MAX);
                let answer = exchange.ok_or(Error::Unexpected("another challenge"))?.answer(&challenge)?;
                self.put_sasl(&SaslFrame::Response(answer), out);
                Ok(())
            }
            (State::SaslAsked, SaslFrame::Outcome { code: SaslCode::Ok, data }) => {
                self.exchange.take().ok_or(Error::SaslMechanism)?.finish(data.as_ref())?;
                out.put_slice(&ProtocolHeader::Amqp.bytes());
                self.state = State::Header(ProtocolHeader::Amqp);
                self.say_open(out);
                Ok(())
            }
            (State::SaslAsked, SaslFrame::Outcome { code, .. }) => Err(Error::SaslRefused(code)),
            _ => Err(Error::Unexpected("a SASL frame")),
        }
    }

    fn put_sasl(&mut self, said: &SaslFrame, out: &mut Output) {
        out.flat(|buffer| put_frame(buffer, FrameType::Sasl, 0, |buffer| put_sasl(buffer, said)));
    }
}

/// How many challenges a client answers.
const SASL_ROUNDS_MAX: u8 = 8;
