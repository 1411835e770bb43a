//! Answers to requests, which come as messages on a link of their own.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use fe2o3_amqp_types::messaging::{ApplicationProperties, MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use roadbed_core::Result;
use serde_amqp::Value;
use tokio::sync::oneshot;

use super::shared::Ended;
use super::wire::Wire;
use crate::codec::{Body, GuardLimits, State, sections, walk};
use crate::dialect::{Encoded, Pieces};
use crate::{DecodeError, Incoming, LinkId};

/// How many answers may be on their way.
pub(super) const CREDIT: u32 = 64;

/// Answers of one node.
pub(super) struct Replies {
    /// Whose.
    pub(super) node: &'static str,
    asked: BTreeMap<u64, oneshot::Sender<Result<Reply>>>,
    last: u64,
    /// Answers that are to be settled.
    settled: Vec<u64>,
}

/// An answer.
pub(super) struct Reply {
    /// How it went, in the numbers of HTTP.
    pub(super) status: u16,
    pub(super) description: Option<String>,
    pub(super) body: Value,
}

impl Replies {
    pub(super) const fn new(node: &'static str) -> Self {
        Self { node, asked: BTreeMap::new(), last: 0, settled: Vec::new() }
    }

    /// A request is about to be made: its number, and who waits for the answer.
    pub(super) fn ask(&mut self) -> (u64, oneshot::Receiver<Result<Reply>>) {
        let (answer, answered) = oneshot::channel();
        self.asked.retain(|_, asked| !asked.is_closed());
        self.last += 1;
        self.asked.insert(self.last, answer);
        (self.last, answered)
    }

    /// An answer has come. One that nobody waits for, or that says not whose it is, is nobody's.
    pub(super) fn arrived(&mut self, incoming: Incoming, limits: &GuardLimits) {
        self.settled.extend((!incoming.settled).then_some(incoming.delivery));
        let Ok((Some(id), reply)) = read(incoming.pieces, limits) else { return };
        if let Some(asked) = self.asked.remove(&id) {
            let _ = asked.send(Ok(reply));
        }
    }

    /// Settles what has come, and permits more.
    pub(super) fn settle(&mut self, id: LinkId, wire: &mut Wire<'_>) {
        for number in self.settled.drain(..) {
            wire.machine.dispose(id.session, number, Some(State::Accepted), true, wire.out);
        }
        if wire.machine.credit(id).credit < CREDIT / 2 {
            let _ = wire.machine.grant(id, CREDIT, false, None, wire.out);
        }
    }

    /// None of those that are under way will be answered.
    pub(super) fn fail(&mut self, ended: &Ended) {
        self.settled.clear();
        let asked = core::mem::take(&mut self.asked);
        asked.into_values().for_each(|answer| drop(answer.send(Err(ended.error("manage")))));
    }
}

/// An answer, and the number of its request.
fn read(pieces: Pieces, limits: &GuardLimits) -> Result<(Option<u64>, Reply), DecodeError> {
    let bytes = Encoded::new(pieces).to_bytes();
    let found = sections(&bytes, bytes.len(), limits)?;
    let malformed = |_| DecodeError::Malformed;
    let properties = found.properties.map(|at| serde_amqp::from_slice::<Properties>(&bytes[at])).transpose();
    let correlation = properties.map_err(malformed)?.and_then(|properties| properties.correlation_id);
    let named = found.application_properties.map(|at| serde_amqp::from_slice::<ApplicationProperties>(&bytes[at]));
    let named = named.transpose().map_err(malformed)?;
    // The management draft and claims-based security spell it differently.
    let said = |names: [&str; 2]| named.as_ref().and_then(|named| names.into_iter().find_map(|name| named.0.get(name)));
    let status = match said(["statusCode", "status-code"]) {
        Some(SimpleValue::Int(status)) => u16::try_from(*status).unwrap_or(500),
        _ => 500,
    };
    let description = match said(["statusDescription", "status-description"]) {
        Some(SimpleValue::String(words)) => Some(words.clone()),
        _ => None,
    };
    let body = match found.body {
        Body::Value(at) => {
            walk(&bytes[at.clone()], 0, limits)?;
            serde_amqp::from_slice(&bytes[at]).map_err(malformed)?
        }
        _ => Value::Null,
    };
    let id = match correlation {
        Some(MessageId::Ulong(id)) => Some(id),
        _ => None,
    };
    Ok((id, Reply { status, description, body }))
}
