//! What an attach asks for, in the core's terms.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use bytestring::ByteString;
use fe2o3_amqp_types::definitions::{ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{DistributionMode, Outcome as WireOutcome, Source, TargetArchetype};
use fe2o3_amqp_types::performatives::Attach;
use fe2o3_amqp_types::transaction::{Coordinator, TxnCapability};
use roadbed_core::{
    Address, Binding, ConsumerTerms, Error, ErrorKind, Filter, Fut, Mode, Node, Outcome, ProducerTerms, Qos, Result,
    Session, Settle,
};

use super::links::Kind;

/// A link that the endpoint has granted, and the termini to answer with.
pub(super) struct Granted {
    pub(super) kind: Kind,
    pub(super) source: Option<Source>,
    pub(super) target: Option<TargetArchetype>,
}

/// Attaches to the endpoint. Several of these run at once.
pub(super) fn attach(session: &dyn Session, container: &ByteString, attach: Attach) -> Fut<Granted> {
    let asked = match attach.role {
        Role::Sender => producer(session, attach),
        Role::Receiver => consumer(session, container, attach),
    };
    asked.unwrap_or_else(|error| Box::pin(core::future::ready(Err(error))))
}

fn producer(session: &dyn Session, attach: Attach) -> Result<Fut<Granted>> {
    let (source, name) = (attach.source.map(|source| *source), ByteString::from(attach.name));
    let target = match attach.target.map(|target| *target) {
        Some(TargetArchetype::Target(target)) => target,
        Some(TargetArchetype::Coordinator(_)) => {
            let capabilities =
                [TxnCapability::LocalTransactions, TxnCapability::MultiTxnsPerSsn, TxnCapability::MultiSsnsPerTxn];
            let coordinator = Coordinator::new(Some(capabilities.to_vec().into()));
            let target = Some(TargetArchetype::Coordinator(coordinator));
            return Ok(Box::pin(core::future::ready(Ok(Granted { kind: Kind::Coordinator, source, target }))));
        }
        None => return Err(invalid("the target is missing")),
    };
    if target.dynamic {
        return Err(Error::new(ErrorKind::NotSupported, "attach").detail("a dynamic target is not made here"));
    }
    let to = target.address.as_ref().filter(|text| !text.is_empty()).map(|text| address(text)).transpose()?;
    let qos_max =
        if attach.rcv_settle_mode == ReceiverSettleMode::Second { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
    let asked = session.producer(ProducerTerms { to: to.clone(), name: Some(name.clone()), qos_max });
    let granted_max = session.opened().qos_max;
    Ok(Box::pin(async move {
        let (producer, attached) = asked.await?;
        if qos_max > granted_max.min(attached.qos_max) {
            // Its sender keeps what it sends until it is told: it has to know that this is in vain (Part 2, section 2.8.3).
            return Err(Error::new(ErrorKind::NotSupported, "attach").detail("exactly once is not kept here"));
        }
        let target = Some(TargetArchetype::Target(target));
        Ok(Granted { kind: Kind::Producer { producer, to, name }, source, target })
    }))
}

fn consumer(session: &dyn Session, container: &ByteString, attach: Attach) -> Result<Fut<Granted>> {
    let target = attach.target.map(|target| *target);
    let mut source = attach.source.map(|source| *source).ok_or_else(|| invalid("the source is missing"))?;
    let (node, filter) = node(&source)?;
    let on_lapse = source.default_outcome.as_ref().map_or(Outcome::FAILED, default_outcome);
    let second = attach.rcv_settle_mode == ReceiverSettleMode::Second;
    let qos_max = match (&attach.snd_settle_mode, second) {
        (SenderSettleMode::Settled, _) => Qos::AtMostOnce,
        (_, true) => Qos::ExactlyOnce,
        (_, false) => Qos::AtLeastOnce,
    };
    let browse = matches!(source.distribution_mode, Some(DistributionMode::Copy));
    let asked = session.consumer(ConsumerTerms {
        node,
        name: Some(format!("{container}/{}", attach.name).into()),
        mode: if browse { Mode::Browse } else { Mode::Move },
        settle: if second { Settle::Second } else { Settle::First },
        on_lapse: on_lapse.clone(),
        qos_max,
        ..ConsumerTerms::default()
    });
    Ok(Box::pin(async move {
        let (mut consumer, attached) = asked.await?;
        if let Some(filter) = filter {
            let bound = consumer.bind(alloc::vec![Binding::new(filter, qos_max)]).await?;
            bound.into_iter().collect::<Result<alloc::vec::Vec<_>>>()?;
        } else if let Some(granted) = attached.address {
            source.address = Some(String::from(granted.as_str()));
        }
        Ok(Granted { kind: Kind::Consumer { consumer, on_lapse }, source: Some(source), target })
    }))
}

/// Where a source leads; a pattern is a queue of its own that follows it.
fn node(source: &Source) -> Result<(Node, Option<Filter>)> {
    if source.dynamic {
        return Ok((Node::Dynamic, None));
    }
    let text = source.address.as_deref().filter(|text| !text.is_empty()).ok_or_else(|| invalid("no source address"))?;
    if text.contains(['+', '#']) {
        let filter = Filter::new(text).map_err(|error| invalid(&format!("{error}")))?;
        return Ok((Node::Dynamic, Some(filter)));
    }
    Ok((Node::Address(address(text)?), None))
}

fn address(text: &str) -> Result<Address> {
    let address = Address::new(text).map_err(|error| invalid(&format!("{error}")))?;
    if text.starts_with('$') && address.dead_letters().is_none() {
        return Err(Error::new(ErrorKind::NotFound, "attach").detail(format!("there is no node {text}")));
    }
    Ok(address)
}

fn default_outcome(outcome: &WireOutcome) -> Outcome {
    match outcome {
        WireOutcome::Accepted(_) => Outcome::Accepted,
        WireOutcome::Rejected(_) => Outcome::rejected(roadbed_core::Condition::Refused),
        WireOutcome::Modified(modified) => Outcome::Modified {
            delivery_failed: modified.delivery_failed.unwrap_or(false),
            undeliverable_here: modified.undeliverable_here.unwrap_or(false),
        },
        _ => Outcome::Released,
    }
}

fn invalid(words: &str) -> Error {
    Error::new(ErrorKind::Invalid, "attach").detail(words)
}
