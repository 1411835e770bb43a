//! The sessions of one connection: one for each principal, opened once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use roadbed_core::{ErrorKind, Identity, Open, Origin, Peer, ProducerTerms, Result, Scope, Sender, Session, Time};

use super::reply::Failure;
use super::{Shared, auth};
use crate::config::ms;

/// A principal's session and its producer.
///
/// The session has no name: two requests of one device must not steal each other's poll.
pub(super) struct Attachment {
    // The producer goes before its session.
    pub(super) sender: Sender,
    pub(super) session: Box<dyn Session>,
    pub(super) origin: Arc<Origin>,
    /// The longest message that the session takes, in bytes.
    pub(super) bytes_max: usize,
}

/// The attachments of one connection, the one used last first.
pub(super) struct Attachments {
    entries: Mutex<Vec<Entry>>,
    opening: tokio::sync::Mutex<()>,
    scope: Scope,
}

struct Entry {
    authorization: Option<HeaderValue>,
    attachment: Arc<Attachment>,
    good_until: Time,
}

impl Attachments {
    pub(super) fn new(scope: Scope) -> Self {
        Self { entries: Mutex::default(), opening: tokio::sync::Mutex::default(), scope }
    }

    /// The attachment of whoever sends these headers.
    pub(super) async fn get(
        &self,
        shared: &Shared,
        peer: &Peer,
        headers: &HeaderMap,
        now: Time,
    ) -> Result<Arc<Attachment>, Failure> {
        let authorization = headers.get(AUTHORIZATION);
        if let Some(found) = self.find(authorization, now) {
            return Ok(found);
        }
        let _alone = self.opening.lock().await;
        if let Some(found) = self.find(authorization, now) {
            return Ok(found);
        }
        let known = self.remove(authorization);
        let identity = authenticate(shared, peer, authorization).await?;
        let valid_until = identity.valid_until.unwrap_or(Time::MAX);
        let good_until = valid_until.min(now + ms(shared.config.credential_recheck_ms));
        let attachment = match known.filter(|known| known.origin.principal == identity.principal) {
            Some(known) => known,
            None => {
                let opened = open(shared, identity, self.scope).await;
                Arc::new(opened.map_err(|error| Failure::of_error(&error, &shared.config))?)
            }
        };
        let entry = Entry { authorization: authorization.cloned(), attachment: attachment.clone(), good_until };
        self.insert(entry, shared.config.principals_max);
        Ok(attachment)
    }

    /// Forgets an attachment that failed, so that the next request opens another.
    pub(super) fn forget(&self, failed: &Arc<Attachment>) {
        self.lock().retain(|entry| !Arc::ptr_eq(&entry.attachment, failed));
    }

    fn find(&self, authorization: Option<&HeaderValue>, now: Time) -> Option<Arc<Attachment>> {
        let mut entries = self.lock();
        let at = entries.iter().position(|entry| entry.authorization.as_ref() == authorization)?;
        if entries[at].good_until.has_passed(now) {
            return None;
        }
        entries[..=at].rotate_right(1);
        Some(entries[0].attachment.clone())
    }

    fn remove(&self, authorization: Option<&HeaderValue>) -> Option<Arc<Attachment>> {
        let mut entries = self.lock();
        let at = entries.iter().position(|entry| entry.authorization.as_ref() == authorization)?;
        Some(entries.remove(at).attachment)
    }

    fn insert(&self, entry: Entry, max: usize) {
        let mut entries = self.lock();
        entries.insert(0, entry);
        entries.truncate(max.max(1));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn authenticate(shared: &Shared, peer: &Peer, authorization: Option<&HeaderValue>) -> Result<Identity, Failure> {
    let refused = || {
        shared.meters.unauthenticated.one();
        Failure::unauthenticated()
    };
    let credential = auth::credential(authorization).ok_or_else(refused)?;
    let identity = shared.authenticator.authenticate(peer, auth::user(&credential), &credential).await;
    identity.map_err(|error| match error.kind() {
        ErrorKind::Unauthenticated => refused(),
        _ => Failure::of_error(&error, &shared.config),
    })
}

async fn open(shared: &Shared, identity: Identity, scope: Scope) -> Result<Attachment> {
    let origin = Arc::new(Origin { principal: identity.principal, protocol: "http" });
    let session = shared.endpoint.open(Open { origin: origin.clone(), scope, ..Open::default() }).await?;
    let qos_max = shared.endpoint.capabilities().qos_in;
    let (producer, _) = session.producer(ProducerTerms { to: None, name: None, qos_max }).await?;
    let bytes_max = match session.opened().message_bytes_max {
        0 => shared.config.body_bytes_max,
        max => max.min(shared.config.body_bytes_max),
    };
    Ok(Attachment { sender: Sender::new(producer), session, origin, bytes_max })
}
