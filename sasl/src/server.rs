use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadbed_core::{AuthExchange, AuthStep, Error, ErrorKind, Identity, Result};
use rsasl::prelude::Session;

use crate::decoy::decoy;
use crate::message::{self, ClientFirst};
use crate::rounds::{self, Proved};
use crate::{ITERATIONS, ScramHash, Verifier};

/// Where a server finds its users.
#[async_trait]
pub trait ScramStore: Send + Sync {
    /// What is kept of the password of `user`, for this hash; `None` if nothing is.
    ///
    /// # Errors
    /// If it cannot be looked up now.
    async fn verifier(&self, user: &str, hash: ScramHash) -> Result<Option<Verifier>>;

    /// Who `user` is, once the proof is right.
    ///
    /// # Errors
    /// If this user may not come in all the same.
    async fn identity(&self, user: &str) -> Result<Identity> {
        Ok(Identity::new(user))
    }

    /// How many iterations are claimed for users who are not there: as many as most have. Default [`ITERATIONS`].
    fn iterations(&self) -> u32 {
        ITERATIONS
    }
}

/// The server's end of SCRAM, for every user of a store.
#[derive(Clone)]
pub struct ScramServer {
    store: Arc<dyn ScramStore>,
    secret: [u8; 32],
}

impl ScramServer {
    /// Checks users of `store`. From `secret` come the salts of users who are not there: who knew it could tell them from others, and
    /// so could who sees it change while salts of real users stay. Keep it over restarts.
    pub fn new(store: Arc<dyn ScramStore>, secret: [u8; 32]) -> Self {
        Self { store, secret }
    }

    /// Begins an exchange; `None` if this is no mechanism of SCRAM that is known here.
    pub fn exchange(&self, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        let hash = ScramHash::of_mechanism(mechanism)?;
        Some(Box::new(Exchange { server: self.clone(), hash, asked: false, state: State::First }))
    }
}

impl core::fmt::Debug for ScramServer {
    /// Never shows the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ScramServer").finish_non_exhaustive()
    }
}

struct Exchange {
    server: ScramServer,
    hash: ScramHash,
    /// The client has been asked to begin.
    asked: bool,
    state: State,
}

enum State {
    First,
    /// The user is named, and whether there is such a user.
    Final {
        session: Box<Session<Proved>>,
        user: String,
        known: bool,
    },
    Ended,
}

#[async_trait]
impl AuthExchange for Exchange {
    async fn step(&mut self, data: Option<Bytes>) -> Result<AuthStep> {
        match core::mem::replace(&mut self.state, State::Ended) {
            State::First => match data.filter(|data| !data.is_empty()) {
                Some(first) => self.first(&first).await,
                None => self.ask(),
            },
            State::Final { session, user, known } => {
                self.proof(*session, &data.unwrap_or_default(), &user, known).await
            }
            State::Ended => Err(refused()),
        }
    }
}

impl Exchange {
    /// The client goes first, also where the protocol had no place for its first words.
    fn ask(&mut self) -> Result<AuthStep> {
        if core::mem::replace(&mut self.asked, true) {
            return Err(message::malformed());
        }
        self.state = State::First;
        Ok(AuthStep::Continue(Bytes::new()))
    }

    async fn first(&mut self, said: &[u8]) -> Result<AuthStep> {
        let first = ClientFirst::parse(said)?;
        if !(first.authzid.is_empty() || first.authzid == first.user) {
            return Err(refused().detail("nobody acts as somebody else"));
        }
        let store = &self.server.store;
        let found = store.verifier(&first.user, self.hash).await?.filter(|found| found.hash() == self.hash);
        // Made up in any case, so that the time does not tell.
        let decoy = decoy(&self.server.secret, self.hash, &first.user, store.iterations());
        let known = found.is_some();
        let mut session = Box::new(rounds::server(found.unwrap_or(decoy))?);
        let answer = rounds::step(&mut session, Some(said))?;
        self.state = State::Final { session, user: first.user.into_owned(), known };
        Ok(AuthStep::Continue(answer.into()))
    }

    async fn proof(&self, mut session: Session<Proved>, said: &[u8], user: &str, known: bool) -> Result<AuthStep> {
        message::check(said, &["c", "r"])?;
        let signature = rounds::step(&mut session, Some(said))?;
        if session.validation().is_none() || !known {
            return Err(refused());
        }
        Ok(AuthStep::Success(self.server.store.identity(user).await?, Some(signature.into())))
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::Unauthenticated, "authenticate")
}
