//! Several identities on one connection: each has come in by a token of its own, and has its own links.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use bytestring::ByteString;
use roadbed_core::{
    Address, Attached, Close, Consumer, ConsumerTerms, Credential, Disposition, Done, Error, ErrorKind, Fut, Manage,
    Managed, Opened, Producer, ProducerTerms, Session, SessionEvent, Time, Transaction,
};

use super::attach::Client;
use crate::LinkId;

/// How many names of resources are remembered for one identity, and how long each may be, in bytes. They only choose between identities.
const AUDIENCES_MAX: usize = 256;
const AUDIENCE_BYTES_MAX: usize = 512;

/// Who is on a connection beside the one that it belongs to.
#[derive(Default)]
pub(super) struct Identities {
    /// What the tokens of the connection's own identity were for.
    own: Vec<String>,
    others: Vec<Other>,
    owners: BTreeMap<LinkId, ByteString>,
}

/// One of them.
pub(super) struct Other {
    pub(super) client: Client,
    pub(super) session: Box<dyn Session>,
    valid_until: Option<Time>,
    audiences: Vec<String>,
}

/// Somebody who has shown a token.
pub(super) struct Arrival {
    /// What the token is for, as the client says.
    pub(super) audience: String,
    pub(super) client: Client,
    pub(super) valid_until: Option<Time>,
    /// What it is to do its work with; `None`: it is here already.
    pub(super) session: Option<Box<dyn Session>>,
}

impl Identities {
    pub(super) const fn len(&self) -> usize {
        self.others.len()
    }

    /// Who is here beside the connection's own identity.
    pub(super) fn principals(&self) -> Vec<ByteString> {
        self.others.iter().map(|other| other.client.origin.principal.clone()).collect()
    }

    /// The connection's own identity has shown a token for this.
    pub(super) fn own_for(&mut self, audience: &str) {
        remember(&mut self.own, audience);
    }

    /// Somebody else has shown a token: the first, or another one.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        let Arrival { audience, client, valid_until, session } = arrival;
        let known = self.others.iter_mut().find(|other| other.client.origin.principal == client.origin.principal);
        match (known, session) {
            (Some(known), _) => {
                known.valid_until = valid_until;
                remember(&mut known.audiences, &audience);
            }
            (None, Some(session)) => {
                let mut audiences = Vec::new();
                remember(&mut audiences, &audience);
                self.others.push(Other { client, session, valid_until, audiences });
            }
            // It has left meanwhile.
            (None, None) => {}
        }
    }

    /// Whose a link to this address is: of whoever has a token for it or for what is above it, the nearest. `None`: the connection's own.
    pub(super) fn choose(&mut self, link: LinkId, address: Option<&str>) -> Option<&Other> {
        let address = path(address.filter(|_| !self.others.is_empty())?);
        let reach = |audiences: &[String]| audiences.iter().filter_map(|audience| reach(audience, &address)).max();
        let found = self.others.iter().filter_map(|other| Some((reach(&other.audiences)?, other)));
        let (far, other) = found.max_by_key(|(far, _)| *far)?;
        if reach(&self.own).is_some_and(|own| own >= far) {
            return None;
        }
        self.owners.insert(link, other.client.origin.principal.clone());
        Some(other)
    }

    /// Whose this link is, if not the connection's own.
    pub(super) fn of(&self, link: LinkId) -> Option<&Other> {
        let owner = self.owners.get(&link)?;
        self.others.iter().find(|other| other.client.origin.principal == *owner)
    }

    /// The link is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.owners.remove(&link);
    }

    /// Those whose right to be here has ended, with their links.
    pub(super) fn leaving(&mut self, cx: &mut Context<'_>, now: Time) -> Vec<(Other, Vec<LinkId>)> {
        let leaves = |other: &mut Other| other.valid_until.is_some_and(|at| at.has_passed(now)) || other.is_revoked(cx);
        let gone: Vec<_> = self.others.extract_if(.., leaves).collect();
        let links = |other: &Other| {
            let owned = self.owners.iter().filter(|(_, owner)| **owner == other.client.origin.principal);
            owned.map(|(link, _)| *link).collect::<Vec<_>>()
        };
        gone.into_iter().map(|other| (links(&other), other)).map(|(links, other)| (other, links)).collect()
    }

    /// When the next one's right ends.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.others.iter().filter_map(|other| other.valid_until).min()
    }
}

impl Other {
    fn is_revoked(&self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(event) = self.session.poll_event(cx) {
            match event {
                SessionEvent::Revoked(_) | SessionEvent::TakenOver => return true,
                // The connection's own session is told the same.
                _ => {}
            }
        }
        false
    }
}

fn remember(audiences: &mut Vec<String>, audience: &str) {
    let path = audience_path(audience);
    let fits = path.len() <= AUDIENCE_BYTES_MAX && audiences.len() < AUDIENCES_MAX;
    if fits && !audiences.contains(&path) {
        audiences.push(path);
    }
}

/// What stands behind the host, decoded; without a slash, the whole is a host, which is above everything.
fn audience_path(audience: &str) -> String {
    let decoded =
        Address::from_path(audience).map_or_else(|_| audience.into(), |address| String::from(address.as_str()));
    let rest = decoded.split_once("://").map_or(&*decoded, |(_, rest)| rest);
    rest.split_once('/').map_or("", |(_, path)| path.trim_end_matches('/')).into()
}

/// The address of a link, which some clients write with scheme and host.
fn path(address: &str) -> String {
    let rest = address.split_once("://").map(|(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    rest.unwrap_or(address).trim_start_matches('/').into()
}

/// How much of `address` the audience covers, in bytes, if any.
fn reach(audience: &str, address: &str) -> Option<usize> {
    let rest = address.strip_prefix(audience)?;
    (audience.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(audience.len())
}

/// The session of whoever has not shown a token yet.
pub(super) struct Nobody(Opened);

impl Nobody {
    pub(super) fn session() -> Box<dyn Session> {
        Box::new(Self(Opened::default()))
    }
}

fn refused<T: Send + 'static>(operation: &'static str) -> Fut<T> {
    let error = Error::new(ErrorKind::Unauthenticated, operation).detail("a token comes first: put-token to $cbs");
    Box::pin(core::future::ready(Err(error)))
}

impl Session for Nobody {
    fn opened(&self) -> &Opened {
        &self.0
    }

    fn producer(&self, _: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        refused("attach")
    }

    fn consumer(&self, _: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        refused("attach")
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        refused("begin")
    }

    fn settle(&self, _: Vec<Disposition>) -> Fut<Vec<Done>> {
        refused("settle")
    }

    fn manage(&self, _: Manage) -> Fut<Managed> {
        refused("manage")
    }

    fn credential(&self, _: Credential) -> Fut<Option<Time>> {
        Box::pin(core::future::ready(Ok(None)))
    }

    fn poll_event(&self, _: &mut Context<'_>) -> Poll<SessionEvent> {
        Poll::Pending
    }

    fn close(&self, _: Close) -> Fut<()> {
        Box::pin(core::future::ready(Ok(())))
    }
}

impl Client {
    /// The same connection, for somebody else.
    pub(super) fn of(&self, principal: ByteString) -> Self {
        let origin = Arc::new(roadbed_core::Origin { principal, protocol: "amqp" });
        Self { origin, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_reaches_what_is_below_it() {
        for (audience, address, far) in [
            ("hub.example%2Fdevices%2Fd1", "/devices/d1/messages/events", Some(10)),
            ("amqp://hub.example/queues/q", "queues/q", Some(8)),
            ("sb://hub.example/queues/q/", "amqps://hub.example/queues/q", Some(8)),
            ("hub.example", "queues/q", Some(0)),
            ("hub.example/devices/d1", "devices/d10", None),
            ("hub.example/devices/d1", "devices", None),
        ] {
            assert_eq!(reach(&audience_path(audience), &path(address)), far, "{audience} {address}");
        }
    }
}
