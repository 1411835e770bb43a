use bytes::Bytes;
use roadbed_core::{Error, ErrorKind, Result};
use rsasl::prelude::Session;

use crate::message::{self, attribute, check};
use crate::rounds;
use crate::verifier::prepared;
use crate::{ITERATIONS_MIN, ScramHash};

/// The client's end of SCRAM: first words, proof, and the server's proof.
pub struct ScramClient {
    session: Session,
    hash: ScramHash,
    iterations_max: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    First,
    Proved,
    Done,
    Failed,
}

impl ScramClient {
    /// For a user with this password. A server that asks for more than `iterations_max` rounds of hashing, or for fewer than
    /// [`ITERATIONS_MIN`], is refused: it could keep the processor busy, or guess the password from the proof.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the name is empty or has a NUL.
    pub fn new(hash: ScramHash, user: &str, password: &[u8], iterations_max: u32) -> Result<Self> {
        if user.is_empty() || user.contains('\0') {
            return Err(
                Error::new(ErrorKind::Invalid, "authenticate").detail("a user name is not empty, and has no NUL")
            );
        }
        let session = rounds::client(hash, user, &prepared(password))?;
        Ok(Self { session, hash, iterations_max, state: State::Start })
    }

    /// Which mechanism it is.
    pub const fn mechanism(&self) -> &'static str {
        self.hash.mechanism()
    }

    /// What is said next, to nothing or to what the server has said. The round with the server's salt costs as much as the server's iterations ask.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if what the server says is no answer, or it does not know the password either.
    pub fn step(&mut self, heard: &[u8]) -> Result<Bytes> {
        match core::mem::replace(&mut self.state, State::Failed) {
            State::Start => self.round(None, State::First),
            State::First => {
                check(heard, &["r", "s", "i"])?;
                self.bound(heard)?;
                self.round(Some(heard), State::Proved)
            }
            State::Proved => {
                check(heard, &["v"])?;
                self.round(Some(heard), State::Done)
            }
            State::Done | State::Failed => Err(message::malformed()),
        }
    }

    fn round(&mut self, heard: Option<&[u8]>, next: State) -> Result<Bytes> {
        let said = rounds::step(&mut self.session, heard)?;
        self.state = next;
        Ok(said.into())
    }

    /// Whether the server has proved that it knows the password, too: until then it may be anybody.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn bound(&self, heard: &[u8]) -> Result<()> {
        let iterations = attribute(heard, "i").and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
        if (ITERATIONS_MIN..=self.iterations_max).contains(&iterations) {
            return Ok(());
        }
        let words = format!(
            "the server asks for {iterations} iterations: {ITERATIONS_MIN} to {} are taken",
            self.iterations_max
        );
        Err(Error::new(ErrorKind::Unauthenticated, "authenticate").detail(words))
    }
}

impl core::fmt::Debug for ScramClient {
    /// Never shows a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ScramClient({}, {:?})", self.hash, self.state)
    }
}
