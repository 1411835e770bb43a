//! What both ends of a link have not settled, compared (Part 2, section 2.6.13; Part 3, section 3.4.6).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;

use bytes::Bytes;
use roadbed_core::{
    Consumer, CopyId, Delivery, DeliveryState, Disposition, Handle, Key, Outcome, Producer, Result, Step, Unsettled,
};

use super::settle::cookie;
use crate::UnsettledMap;
use crate::codec::{State, Tag};
use crate::dialect::{outcome, outcome_state};

/// A delivery of an earlier attachment, and what is to be said of it first of all.
pub(super) enum Again {
    /// It is sent again. If the receiver has it, it goes on; otherwise it has never arrived.
    Deliver { delivery: Box<Delivery>, resume: bool },
    /// The receiver has a part of it, which is given up; then it is sent anew.
    Restart { delivery: Box<Delivery> },
    /// Its outcome has been applied here, and is only to be settled.
    Settle { tag: Tag, state: State },
}

/// What the tags of a link are good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// As long as the connection: the delivery's handle.
    Connection,
    /// For ever, also over a restart of either end: the name of the copy. Two deliveries of one copy are never unsettled together.
    Durable,
}

impl Tags {
    pub(super) fn of(self, delivery: &Delivery) -> Option<Tag> {
        let copy = delivery.info.as_ref().map(|info| info.id.copy);
        match (self, copy) {
            (Self::Durable, Some(copy)) => Self::durable(copy),
            _ => delivery.handle.and_then(Self::passing),
        }
    }

    fn again(self, unsettled: &Unsettled) -> Option<Tag> {
        match self {
            Self::Durable => Self::durable(unsettled.id.copy),
            Self::Connection => Self::passing(unsettled.handle),
        }
    }

    fn durable(CopyId { queue, seq }: CopyId) -> Option<Tag> {
        Tag::new(&[&queue.0.to_be_bytes()[..], &seq.to_be_bytes()].concat())
    }

    fn passing(handle: Handle) -> Option<Tag> {
        Tag::new(&cookie(handle).to_be_bytes())
    }
}

/// Of what we have sent: applies the outcomes that the receiver has said, and says what is left to do, and what our map is. What only the receiver
/// has in its map, it sees to be settled since ours does not have it.
pub(super) async fn sent(
    consumer: &mut dyn Consumer,
    unsettled: Vec<Unsettled>,
    tags: Tags,
    theirs: &UnsettledMap,
) -> Result<(VecDeque<Again>, UnsettledMap)> {
    let (mut again, mut ours, mut steps) = (VecDeque::new(), UnsettledMap::new(), Vec::new());
    for unsettled in unsettled {
        let Some(tag) = tags.again(&unsettled) else { continue };
        let Unsettled { handle, state, delivery, .. } = unsettled;
        let said = theirs.get(&tag);
        let decided = match (&state, said) {
            (DeliveryState::Decided(decided), _) => Some((decided.clone(), Step::Settle)),
            (_, Some(Some(said))) => outcome(said).map(|outcome| {
                let step = Step::Outcome { outcome: outcome.clone(), settled: true };
                (outcome, step)
            }),
            _ => None,
        };
        match (decided, delivery.map(Box::new)) {
            (Some((outcome, step)), _) => {
                let state = outcome_state(&outcome);
                steps.push(Disposition { delivery: handle.into(), cookie: Some(0), step });
                ours.insert(tag, Some(state.clone()));
                again.push_back(Again::Settle { tag, state });
            }
            (None, Some(delivery)) => {
                ours.insert(tag, None);
                again.push_back(match said {
                    Some(Some(State::Received)) => Again::Restart { delivery },
                    said => Again::Deliver { delivery, resume: said.is_some() },
                });
            }
            (None, None) => {}
        }
    }
    apply(consumer, steps).await?;
    Ok((again, ours))
}

/// Waits until the endpoint has applied every step.
async fn apply(consumer: &mut dyn Consumer, mut steps: Vec<Disposition>) -> Result<()> {
    let (wanted, mut done) = (steps.len(), Vec::new());
    consumer.settle(&mut steps);
    while done.len() < wanted {
        poll_fn(|cx| match consumer.poll_settled(cx, &mut done) {
            Poll::Ready(polled) => Poll::Ready(polled.map(drop)),
            Poll::Pending => Poll::Pending,
        })
        .await?;
    }
    done.into_iter().try_for_each(|done| done.result.map(drop))
}

/// Of what has come under keys that begin with `prefix`: forgets what the sender has settled, and says what our map is. A sender that could not name all
/// that it has not settled has not settled what it leaves out.
pub(super) fn got(
    producer: &mut dyn Producer,
    in_doubt: &[(Key, Option<Outcome>)],
    prefix: &[u8],
    theirs: &UnsettledMap,
    theirs_incomplete: bool,
) -> UnsettledMap {
    let (mut ours, mut settled) = (UnsettledMap::new(), Vec::new());
    for (key, outcome) in in_doubt {
        let Key::Name(name) = key else { continue };
        let Some(tag) = name.strip_prefix(prefix).and_then(Tag::new) else { continue };
        if theirs.contains_key(&tag) || theirs_incomplete {
            ours.insert(tag, outcome.as_ref().map(outcome_state));
        } else {
            settled.push(key.clone());
        }
    }
    producer.forget(&mut settled);
    ours
}

/// The key under which the endpoint recognises a delivery that comes again.
pub(super) fn key(prefix: &[u8], tag: &Tag) -> Key {
    Key::Name(Bytes::from([prefix, tag].concat()))
}
