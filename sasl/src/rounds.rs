//! The rounds themselves, by `rsasl`.

use std::io::Cursor;
use std::sync::Arc;

use roadbed_core::{Error, ErrorKind, Result};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA512};
use rsasl::mechname::Mechname;
use rsasl::prelude::{Mechanism, Registry, SASLClient, SASLServer, Session, SessionError, Validation};
use rsasl::property::{AuthId, Password};
use rsasl::validate::{NoValidation, Validate, ValidationError};

use crate::{ScramHash, Verifier};

/// Without those of channel binding.
static MECHANISMS: [Mechanism; 2] = [SCRAM_SHA512, SCRAM_SHA256];

/// The client has proved that it knows the password.
pub(crate) struct Proved;

impl Validation for Proved {
    type Value = ();
}

/// A server's end that checks against `verifier`.
pub(crate) fn server(verifier: Verifier) -> Result<Session<Proved>> {
    let mechanism = mechanism(verifier.hash())?;
    let session = SASLServer::<Proved>::new(config(Against(verifier))?).start_suggested(mechanism);
    session.map_err(failed)
}

/// A client's end that knows the password.
pub(crate) fn client(hash: ScramHash, user: &str, password: &[u8]) -> Result<Session<NoValidation>> {
    let config = config(With { user: user.into(), password: password.into() })?;
    SASLClient::new(config).start_suggested(&[mechanism(hash)?]).map_err(failed)
}

/// One round: what is heard, and what is said.
pub(crate) fn step<V: Validation>(session: &mut Session<V>, heard: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut said = Cursor::new(Vec::new());
    session.step(heard, &mut said).map_err(failed)?;
    Ok(said.into_inner())
}

struct Against(Verifier);

impl SessionCallback for Against {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        let Verifier { iterations, salt, stored_key, server_key, .. } = &self.0;
        let stored = ScramStoredPassword::new(*iterations, salt, stored_key, server_key);
        request.satisfy::<ScramStoredPassword<'_>>(&stored)?;
        Ok(())
    }

    /// Called once the proof is right.
    fn validate(&self, _: &SessionData, _: &Context<'_>, validate: &mut Validate<'_>) -> Result<(), ValidationError> {
        validate.finalize::<Proved>(());
        Ok(())
    }
}

struct With {
    user: String,
    password: Vec<u8>,
}

impl SessionCallback for With {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(&self.user)?.satisfy::<Password>(&self.password)?;
        Ok(())
    }
}

fn config(callback: impl SessionCallback + 'static) -> Result<Arc<SASLConfig>> {
    SASLConfig::builder().with_registry(Registry::with_mechanisms(&MECHANISMS)).with_callback(callback).map_err(failed)
}

fn mechanism(hash: ScramHash) -> Result<&'static Mechname> {
    Mechname::parse(hash.mechanism().as_bytes()).map_err(failed)
}

fn failed(error: impl core::fmt::Display) -> Error {
    Error::new(ErrorKind::Unauthenticated, "authenticate").detail(error)
}
