//! Attaching: what is asked of the server, and what it grants.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use fe2o3_amqp_types::definitions::{Fields, Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{
    Accepted, DistributionMode, Modified, Outcome as WireOutcome, Rejected, Released, Source, Target, TargetArchetype,
    TerminusDurability, TerminusExpiryPolicy,
};
use fe2o3_amqp_types::performatives::Attach;
use fe2o3_amqp_types::transaction::Coordinator;
use roadbed_core::{Address, Attached, ConsumerTerms, LogTerms, Mode, Node, Outcome, Qos, Settle};

use super::calls;
use super::state::{Kind, Link, Session};
use crate::log::write as log;
use crate::server::EXCLUSIVE;

/// How long the server keeps the own queue of a session without a name when its connection is lost. A terminus that is kept at all is a session of its own, which can
/// share its bindings with others and does not mix with the queues of other links.
const OWN_QUEUE_SECS: u32 = 1;

impl Session {
    /// The name of a link. A session that is kept finds its links again by it.
    pub(super) fn link_name(&self, what: &str, unique: u64) -> String {
        match &self.terms.name {
            Some(name) if self.terms.kept => format!("{name}/{what}"),
            _ => self.unique_name(what, unique),
        }
    }

    /// The name of a link that is never resumed.
    pub(super) fn unique_name(&self, what: &str, unique: u64) -> String {
        format!("{:016x}/{unique}/{what}", self.seed)
    }

    /// What is said to attach a link.
    pub(super) fn attach_frame(&self, link: &Link) -> Attach {
        let kept = self.terms.kept;
        let (role, snd_settle_mode, rcv_settle_mode) = match &link.kind {
            Kind::Producer(_) => (Role::Sender, SenderSettleMode::Mixed, settle(link.attached.qos_max)),
            Kind::Calls(_) => (Role::Sender, SenderSettleMode::Mixed, ReceiverSettleMode::First),
            Kind::Replies(_) => (Role::Receiver, SenderSettleMode::Mixed, ReceiverSettleMode::First),
            Kind::Consumer(inbound) => {
                let terms = &inbound.terms;
                let send = match terms.qos_max {
                    Qos::AtMostOnce => SenderSettleMode::Settled,
                    _ => SenderSettleMode::Mixed,
                };
                (
                    Role::Receiver,
                    send,
                    if terms.settle == Settle::Second { ReceiverSettleMode::Second } else { settle(terms.qos_max) },
                )
            }
        };
        let (source, target) = self.termini(link);
        let properties = match &link.kind {
            Kind::Consumer(inbound) => inbound.log().as_ref().and_then(log::properties),
            _ => None,
        };
        Attach {
            name: link.name.clone(),
            handle: Handle(0),
            role,
            snd_settle_mode,
            rcv_settle_mode,
            source: Some(Box::new(source)),
            target: Some(Box::new(target)),
            unsettled: (kept && is_resumable(&link.kind)).then(Default::default),
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties,
        }
    }

    fn termini(&self, link: &Link) -> (Source, TargetArchetype) {
        let plain = |target: Target| TargetArchetype::Target(target);
        match &link.kind {
            Kind::Producer(outbound) => {
                let mut target = Target { address: outbound.to().map(|to| to.as_str().into()), ..Target::default() };
                let mut source = Source { address: Some(link.name.clone()), ..outcomes() };
                source.default_outcome = Some(WireOutcome::Released(Released {}));
                if self.terms.kept {
                    let (durable, policy, timeout) = kept(self.terms.expiry);
                    (target.durable, target.expiry_policy, target.timeout) = (durable, policy.clone(), timeout);
                    (source.durable, source.expiry_policy, source.timeout) =
                        (TerminusDurability::UnsettledState, policy, timeout);
                }
                (source, plain(target))
            }
            Kind::Consumer(inbound) => {
                let mut source = match inbound.log() {
                    Some(log) => Source { distribution_mode: Some(DistributionMode::Copy), ..log_source(&log) },
                    None => source(&inbound.terms),
                };
                if inbound.is_log() {
                    return (source, plain(Target { address: Some(link.name.clone()), ..Target::default() }));
                }
                if self.terms.kept {
                    (source.durable, source.expiry_policy, source.timeout) = kept(self.terms.expiry);
                } else if inbound.terms.node == Node::Session {
                    (source.expiry_policy, source.timeout) = (TerminusExpiryPolicy::LinkDetach, OWN_QUEUE_SECS);
                }
                (source, plain(Target { address: Some(link.name.clone()), ..Target::default() }))
            }
            Kind::Calls(calls) => {
                let source = Source { address: Some(link.name.clone()), ..outcomes() };
                match calls.target() {
                    calls::Target::Coordinator => (source, TargetArchetype::Coordinator(Coordinator::new(None))),
                    calls::Target::Node(node) => {
                        (source, plain(Target { address: Some((*node).into()), ..Target::default() }))
                    }
                }
            }
            Kind::Replies(replies) => {
                let source = Source { address: Some(replies.node.into()), ..outcomes() };
                (source, plain(Target { address: Some(link.name.clone()), ..Target::default() }))
            }
        }
    }
}

/// What the server grants; nothing if it refuses, which its detach explains.
pub(super) fn granted(link: &Link, attach: &Attach) -> Option<Attached> {
    let second = attach.rcv_settle_mode == ReceiverSettleMode::Second;
    let most = if second { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
    let attached = link.attached.clone();
    match &link.kind {
        Kind::Producer(_) | Kind::Calls(_) => {
            attach.target.as_ref()?;
            Some(Attached { qos_max: attached.qos_max.min(most), ..attached })
        }
        Kind::Consumer(inbound) => {
            let source = attach.source.as_ref()?;
            let settled = attach.snd_settle_mode == SenderSettleMode::Settled;
            let most = if settled { Qos::AtMostOnce } else { most };
            let address = source.address.as_deref().and_then(|text| text.parse::<Address>().ok());
            let address = match inbound.terms.node {
                Node::Session => address,
                Node::Log(_) => attached.address,
                _ => address.or(attached.address),
            };
            Some(Attached { qos_max: inbound.terms.qos_max.min(most), address, ..Attached::default() })
        }
        Kind::Replies(_) => {
            attach.source.as_ref()?;
            Some(attached)
        }
    }
}

/// Whether a link of a kept session goes on where it was. A reader of a log does so by itself.
pub(super) fn is_resumable(kind: &Kind) -> bool {
    match kind {
        Kind::Producer(_) => true,
        Kind::Consumer(inbound) => !inbound.is_log(),
        Kind::Calls(_) | Kind::Replies(_) => false,
    }
}

const fn settle(qos_max: Qos) -> ReceiverSettleMode {
    match qos_max {
        Qos::ExactlyOnce => ReceiverSettleMode::Second,
        _ => ReceiverSettleMode::First,
    }
}

pub(crate) fn source(terms: &ConsumerTerms) -> Source {
    let (address, dynamic) = match &terms.node {
        Node::Address(address) => (Some(address.as_str().into()), false),
        _ => (None, true),
    };
    let copy = (terms.mode == Mode::Browse).then_some(DistributionMode::Copy);
    let default_outcome = Some(wire_outcome(&terms.on_lapse));
    let capabilities = terms.exclusive.then(|| alloc::vec![EXCLUSIVE.into()].into());
    Source { address, dynamic, distribution_mode: copy, default_outcome, capabilities, ..outcomes() }
}

/// Nothing is taken from a log, so that no outcome is the default.
fn log_source(terms: &LogTerms) -> Source {
    let Source { address, filter, .. } = log::source(terms);
    Source { address, filter, ..outcomes() }
}

fn wire_outcome(outcome: &Outcome) -> WireOutcome {
    match *outcome {
        Outcome::Accepted => WireOutcome::Accepted(Accepted {}),
        Outcome::Rejected(_) => WireOutcome::Rejected(Rejected { error: None }),
        Outcome::Modified { delivery_failed, undeliverable_here } => WireOutcome::Modified(Modified {
            delivery_failed: Some(delivery_failed),
            undeliverable_here: Some(undeliverable_here),
            message_annotations: None::<Fields>,
        }),
        _ => WireOutcome::Released(Released {}),
    }
}

/// Every outcome may be named.
pub(crate) fn outcomes() -> Source {
    let names = ["amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list"];
    let names: Vec<serde_amqp::primitives::Symbol> = names.into_iter().map(Into::into).collect();
    Source { outcomes: Some(names.into()), ..Source::default() }
}

/// How long the server keeps a terminus after its link has gone (Part 3, section 3.5.3 to 3.5.5).
fn kept(expiry: Duration) -> (TerminusDurability, TerminusExpiryPolicy, u32) {
    let seconds = expiry.as_secs() + u64::from(expiry.subsec_nanos() > 0);
    let policy = match u32::try_from(seconds) {
        Ok(_) => TerminusExpiryPolicy::LinkDetach,
        Err(_) => TerminusExpiryPolicy::Never,
    };
    (TerminusDurability::UnsettledState, policy, u32::try_from(seconds).unwrap_or(0))
}
