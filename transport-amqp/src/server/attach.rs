//! What an attach asks for, in the core's terms.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use bytestring::ByteString;
use fe2o3_amqp_types::definitions::{ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{DistributionMode, Source, Target, TargetArchetype, TerminusExpiryPolicy};
use fe2o3_amqp_types::performatives::Attach;
use fe2o3_amqp_types::transaction::{Coordinator, TxnCapability};
use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, Detach, Error, ErrorKind, Filter, Fut, Hold, LogTerms, Mode, Node,
    Open, Origin, ProducerTerms, Qos, Result, RetainHandling, Scope, Session, Settle,
};

use super::Shared;
use super::again::{self, Tags};
use super::dynamic;
use super::links::{Kind, Rare, Suspended};
use super::node::{Kept, Place, address, invalid, is_exclusive, on_lapse, place};
use crate::log;
use crate::{Accept, UnsettledMap, unsettled_map};

/// A link that the endpoint has granted, and what to answer with.
pub(super) struct Granted {
    pub(super) kind: Kind,
    pub(super) accept: Accept,
    pub(super) rare: Option<Box<Rare>>,
}

/// Whose links are attached.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) origin: Arc<Origin>,
    pub(super) scope: Scope,
    /// The client's name for itself.
    pub(super) container: ByteString,
}

/// What an attachment comes after.
#[derive(Default)]
pub(super) struct Before {
    /// The link of the same name is still being closed.
    pub(super) closing: Option<Fut<()>>,
    /// The link was detached within its session.
    pub(super) suspended: Option<Suspended>,
    /// Begins the keys of what comes on this link, if it is not resumed.
    pub(super) prefix: Bytes,
}

/// Attaches to the endpoint. Several of these run at once.
pub(super) fn attach(client: &Client, session: &dyn Session, asked: Attach, before: Before) -> Fut<Granted> {
    let attached = match asked.role {
        Role::Sender => sending(client, session, asked, before),
        Role::Receiver => receiving(client, session, asked, before),
    };
    attached.unwrap_or_else(|error| Box::pin(core::future::ready(Err(error))))
}

fn sending(client: &Client, session: &dyn Session, asked: Attach, before: Before) -> Result<Fut<Granted>> {
    let target = match asked.target.as_deref() {
        Some(TargetArchetype::Target(target)) => target.clone(),
        Some(TargetArchetype::Coordinator(_)) => return Ok(coordinator(asked)),
        None => return Err(invalid("the target is missing")),
    };
    if target.dynamic {
        return Ok(dynamic::target(client, session, asked, target));
    }
    let to = target.address.as_ref().filter(|text| !text.is_empty()).map(|text| address(text)).transpose()?;
    let terms = ProducerTerms { to, name: Some(asked.name.clone().into()), qos_max: qos_asked(&asked) };
    match Kept::of(&target.expiry_policy, target.timeout) {
        Some(kept) => Ok(Box::pin(resumable_sender(client.clone(), asked, target, terms, kept, before.closing))),
        None => Ok(ordinary_sender(client, session, asked, target, terms, before)),
    }
}

fn coordinator(asked: Attach) -> Fut<Granted> {
    let capabilities =
        [TxnCapability::LocalTransactions, TxnCapability::MultiTxnsPerSsn, TxnCapability::MultiSsnsPerTxn];
    let coordinator = Coordinator::new(Some(capabilities.to_vec().into()));
    let target = Some(TargetArchetype::Coordinator(coordinator));
    let accept = Accept { source: asked.source.map(|source| *source), target, ..Accept::default() };
    Box::pin(core::future::ready(Ok(Granted { kind: Kind::Coordinator, accept, rare: None })))
}

/// A link that lives in its connection: what its sender has not forgotten is recognised as long as its session is there.
fn ordinary_sender(
    client: &Client,
    session: &dyn Session,
    asked: Attach,
    target: Target,
    terms: ProducerTerms,
    before: Before,
) -> Fut<Granted> {
    let (to, qos_max, granted_max) = (terms.to.clone(), terms.qos_max, session.opened().qos_max);
    let (producer, origin) = (session.producer(terms), Arc::clone(&client.origin));
    let (prefix, tags) = match before.suspended {
        Some(Suspended::Sender { prefix, tags }) => (prefix, tags),
        _ => (before.prefix, Vec::new()),
    };
    Box::pin(async move {
        let (mut producer, attached) = producer.await?;
        keeps(qos_max, granted_max.min(attached.qos_max))?;
        let in_doubt: Vec<_> = tags.iter().map(|tag| (again::key(&prefix, tag), None)).collect();
        let theirs = unsettled_map(&asked);
        let unsettled = again::got(&mut *producer, &in_doubt, &prefix, &theirs, asked.incomplete_unsettled);
        let target = Some(TargetArchetype::Target(target));
        let accept = Accept { source: asked.source.map(|source| *source), target, unsettled, ..Accept::default() };
        Ok(Granted { kind: Kind::Producer { producer, to, prefix, origin }, accept, rare: None })
    })
}

/// A link with a session of its own, which outlives the connection.
async fn resumable_sender(
    client: Client,
    asked: Attach,
    mut target: Target,
    terms: ProducerTerms,
    kept: Kept,
    closing: Option<Fut<()>>,
) -> Result<Granted> {
    let core = client.open('s', &asked.name, &kept, closing).await?;
    let (to, qos_max) = (terms.to.clone(), terms.qos_max);
    let (mut producer, attached) = core.producer(terms).await?;
    keeps(qos_max, core.opened().qos_max.min(attached.qos_max))?;
    let theirs = unsettled_map(&asked);
    let in_doubt = &core.opened().in_doubt;
    let unsettled = again::got(&mut *producer, in_doubt, &[], &theirs, asked.incomplete_unsettled);
    (target.expiry_policy, target.timeout) = kept.granted(core.opened().expiry);
    let target = Some(TargetArchetype::Target(target));
    let (source, resumed) = (asked.source.map(|source| *source), core.opened().resumed);
    let accept = Accept { source, target, unsettled, resumed, ..Accept::default() };
    let rare = Some(Rare::resumable(core, kept, VecDeque::new()));
    let origin = Arc::clone(&client.origin);
    Ok(Granted { kind: Kind::Producer { producer, to, prefix: Bytes::new(), origin }, accept, rare })
}

fn receiving(client: &Client, session: &dyn Session, asked: Attach, before: Before) -> Result<Fut<Granted>> {
    let source = asked.source.as_deref().ok_or_else(|| invalid("the source is missing"))?;
    let log = log::log(source)?;
    let browse = matches!(source.distribution_mode, Some(DistributionMode::Copy));
    let second = asked.rcv_settle_mode == ReceiverSettleMode::Second;
    let terms = ConsumerTerms {
        name: Some(format!("{}/{}", client.container, asked.name).into()),
        mode: if browse { Mode::Browse } else { Mode::Move },
        settle: if second { Settle::Second } else { Settle::First },
        on_lapse: on_lapse(source),
        qos_max: qos_asked(&asked),
        exclusive: is_exclusive(source),
        ..ConsumerTerms::default()
    };
    if let Some(log) = log {
        return log_reader(session, asked, log, terms);
    }
    let place = place(source)?;
    match Kept::of(&source.expiry_policy, source.timeout).filter(|_| !browse) {
        Some(kept) => Ok(Box::pin(resumable_receiver(client.clone(), asked, place, terms, kept, before.closing))),
        None => ordinary_receiver(session, asked, place, terms, before.suspended),
    }
}

/// A link that lives in its connection. One of a queue can be attached again as long as its session is there.
fn ordinary_receiver(
    session: &dyn Session,
    asked: Attach,
    place: Place,
    terms: ConsumerTerms,
    suspended: Option<Suspended>,
) -> Result<Fut<Granted>> {
    let (on_lapse, qos_max) = (terms.on_lapse.clone(), terms.qos_max);
    let queue = match &place {
        Place::Queue(address) => Some(address.clone()),
        _ => None,
    };
    let before = match suspended {
        Some(Suspended::Receiver { consumer, queue: before, .. }) => {
            Some(consumer.detach(if queue.as_ref() == Some(&before) { Detach::Suspend } else { Detach::Close }))
        }
        _ => None,
    };
    let (node, filter) = match place {
        Place::Queue(address) | Place::Topic(address) => (Node::Address(address), None),
        Place::Pattern(filter) => (Node::Dynamic, Some(filter)),
        Place::Dynamic => (Node::Dynamic, None),
    };
    let made = node == Node::Dynamic && filter.is_none();
    let attaching = session.consumer(ConsumerTerms { node, ..terms });
    Ok(Box::pin(async move {
        if let Some(before) = before {
            before.await?;
        }
        let (mut consumer, Attached { address, unsettled, .. }) = attaching.await?;
        let mut source = asked.source.clone().map(|source| *source).unwrap_or_default();
        let (mut queue, mut rare) = (queue, None);
        if let Some(filter) = filter {
            bind(&mut *consumer, filter, qos_max, RetainHandling::Always).await?;
        } else if let Some(granted) = address {
            source.address = Some(String::from(granted.as_str()));
            if made {
                rare = dynamic::node(&mut source.dynamic_node_properties, &granted);
                queue = Some(granted);
            }
        }
        let (again, ours) = again::sent(&mut *consumer, unsettled, Tags::Connection, &unsettled_map(&asked)).await?;
        let accept = accepted(asked, source, ours);
        Ok(Granted { kind: Kind::Consumer { consumer, on_lapse, queue }, accept, rare: Rare::with_again(rare, again) })
    }))
}

/// A reader of a log. What it goes on with after its connection is the checkpoint of its group, not the link.
fn log_reader(session: &dyn Session, asked: Attach, log: LogTerms, terms: ConsumerTerms) -> Result<Fut<Granted>> {
    let on_lapse = terms.on_lapse.clone();
    let node = Node::Log(log::boxed(log, asked.properties.as_ref())?);
    let attaching = session.consumer(ConsumerTerms { node, info: true, ..terms });
    Ok(Box::pin(async move {
        let (consumer, _) = attaching.await?;
        let source = asked.source.clone().map(|source| *source).unwrap_or_default();
        let filter = source.filter.clone();
        let mut accept = Accept { first_only: true, ..accepted(asked, source, UnsettledMap::default()) };
        if let Some(source) = &mut accept.source {
            source.distribution_mode = Some(DistributionMode::Copy);
            (source.expiry_policy, source.timeout) = (TerminusExpiryPolicy::LinkDetach, 0);
            source.filter = filter;
        }
        Ok(Granted { kind: Kind::Consumer { consumer, on_lapse, queue: None }, accept, rare: None })
    }))
}

/// A link with a session of its own, which outlives the connection: what follows an address or a pattern is the session's own queue.
async fn resumable_receiver(
    client: Client,
    asked: Attach,
    place: Place,
    terms: ConsumerTerms,
    kept: Kept,
    closing: Option<Fut<()>>,
) -> Result<Granted> {
    let core = client.open('r', &asked.name, &kept, closing).await?;
    let mut source = asked.source.clone().map(|source| *source).unwrap_or_default();
    let (node, filter) = match place {
        Place::Queue(address) => (Node::Address(address), None),
        Place::Topic(address) => (Node::Session, Some(Filter::from(&address))),
        Place::Pattern(filter) => (Node::Session, Some(filter)),
        Place::Dynamic => {
            let address = dynamic::durable_address(&client.origin.principal, &client.container, &asked.name);
            source.address = Some(address.as_str().into());
            (Node::Session, Some(Filter::from(&address)))
        }
    };
    let (on_lapse, qos_max) = (terms.on_lapse.clone(), terms.qos_max);
    let terms = ConsumerTerms { node, hold: Hold::Session, info: true, ..terms };
    let (mut consumer, attached) = core.consumer(terms).await?;
    if let Some(filter) = filter {
        bind(&mut *consumer, filter, qos_max, RetainHandling::IfNew).await?;
    }
    let theirs = unsettled_map(&asked);
    let (again, ours) = again::sent(&mut *consumer, attached.unsettled, Tags::Durable, &theirs).await?;
    (source.expiry_policy, source.timeout) = kept.granted(core.opened().expiry);
    let accept = Accept { resumed: core.opened().resumed, ..accepted(asked, source, ours) };
    let rare = Some(Rare::resumable(core, kept, again));
    Ok(Granted { kind: Kind::Consumer { consumer, on_lapse, queue: None }, accept, rare })
}

impl Client {
    /// The session of a resumable link: of this client's, in this direction, by this name.
    async fn open(&self, role: char, name: &str, kept: &Kept, closing: Option<Fut<()>>) -> Result<Box<dyn Session>> {
        if let Some(closing) = closing {
            // What went wrong when it was closed, nobody waits for any more.
            let _ = closing.await;
        }
        let open = Open {
            origin: Arc::clone(&self.origin),
            name: Some(format!("amqp/{}/{role}/{name}", self.container).into()),
            resume: true,
            expiry: kept.expiry,
            scope: self.scope,
            ..Open::default()
        };
        self.shared.endpoint.open(open).await
    }
}

async fn bind(consumer: &mut dyn Consumer, filter: Filter, qos_max: Qos, retained: RetainHandling) -> Result<()> {
    let binding = Binding { retain_handling: retained, ..Binding::new(filter, qos_max) };
    let bound = consumer.bind(alloc::vec![binding]).await?;
    bound.into_iter().try_for_each(|bound| bound.map(drop))
}

/// With the source as it is, not as it was asked for (Part 2, section 2.6.3): two distribution modes, and no filters or extensions.
fn accepted(asked: Attach, mut source: Source, unsettled: UnsettledMap) -> Accept {
    source.distribution_mode.get_or_insert(DistributionMode::Move);
    (source.filter, source.capabilities) = (None, None);
    Accept { source: Some(source), target: asked.target.map(|target| *target), unsettled, ..Accept::default() }
}

/// What the settle modes of both ends ask for.
fn qos_asked(asked: &Attach) -> Qos {
    let second = asked.rcv_settle_mode == ReceiverSettleMode::Second;
    match (&asked.role, &asked.snd_settle_mode) {
        (Role::Receiver, SenderSettleMode::Settled) => Qos::AtMostOnce,
        _ if second => Qos::ExactlyOnce,
        _ => Qos::AtLeastOnce,
    }
}

/// A sender that settles last keeps what it sends until it is told: it has to know that this is in vain (Part 2, section 2.8.3).
fn keeps(asked: Qos, granted: Qos) -> Result<()> {
    match asked > granted {
        true => Err(Error::new(ErrorKind::NotSupported, "attach").detail("exactly once is not kept here")),
        false => Ok(()),
    }
}
