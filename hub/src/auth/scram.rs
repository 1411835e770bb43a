//! Users who come in by SCRAM.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use async_trait::async_trait;
use roadbed::sasl::{ITERATIONS, SALT_BYTES, ScramHash, ScramServer, ScramStore, Verifier, secret_of};
use roadbed::{AuthExchange, Result};

/// The verifiers of a configuration.
#[derive(Debug)]
pub(super) struct Scram {
    mechanisms: Vec<&'static str>,
    users: BTreeSet<String>,
    server: ScramServer,
}

type Verifiers = BTreeMap<(String, ScramHash), Verifier>;

struct Store {
    verifiers: Verifiers,
    /// As most of them have.
    iterations: u32,
}

impl Scram {
    pub(super) fn new(verifiers: Verifiers) -> Self {
        let has = |wanted: &ScramHash| verifiers.keys().any(|(_, hash)| hash == wanted);
        let mut mechanisms: Vec<_> = ScramHash::ALL.into_iter().filter(has).map(ScramHash::mechanism).collect();
        mechanisms.push("PLAIN");
        let (secret, iterations) = (secret_of(verifiers.values()), most(&verifiers));
        let users = verifiers.keys().map(|(name, _)| name.clone()).collect();
        Self { mechanisms, users, server: ScramServer::new(Arc::new(Store { verifiers, iterations }), secret) }
    }

    /// Those of `names` whom a client keeps out that takes SCRAM because it is offered. It is offered all the same: without it, the
    /// passwords of all others would be sent as they are.
    pub(super) fn locked_out<'a>(&'a self, names: impl Iterator<Item = &'a String>) -> impl Iterator<Item = &'a str> {
        names.filter(|name| !self.users.is_empty() && !self.users.contains(*name)).map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The mechanisms by which anybody can come in.
    pub(super) fn mechanisms(&self) -> &[&'static str] {
        &self.mechanisms
    }

    pub(super) fn exchange(&self, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        self.mechanisms.contains(&mechanism).then(|| self.server.exchange(mechanism)).flatten()
    }
}

#[async_trait]
impl ScramStore for Store {
    async fn verifier(&self, user: &str, hash: ScramHash) -> Result<Option<Verifier>> {
        Ok(self.verifiers.get(&(user.into(), hash)).cloned())
    }

    fn iterations(&self) -> u32 {
        self.iterations
    }
}

/// A verifier of `password` for each mechanism.
pub(super) fn verifiers(password: &[u8], iterations: u32) -> Vec<String> {
    let verifier = |hash| {
        let mut salt = [0; SALT_BYTES];
        OsRng.fill_bytes(&mut salt);
        Verifier::derive(hash, password, &salt, iterations).to_string()
    };
    ScramHash::ALL.map(verifier).to_vec()
}

fn most(verifiers: &Verifiers) -> u32 {
    let mut counts = BTreeMap::<u32, usize>::new();
    verifiers.values().for_each(|verifier| *counts.entry(verifier.iterations()).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(ITERATIONS, |(iterations, _)| iterations)
}
