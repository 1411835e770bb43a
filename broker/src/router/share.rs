//! Shared bindings: each message goes to one member of the group \[MQTT-4.8.2\].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use roadbed_core::Qos;

use crate::broker::Shared;
use crate::entry::Entry;
use crate::lock;
use crate::mailbox::SessionCore;

/// The members that share what comes by one filter.
#[derive(Debug, Default)]
pub(crate) struct Group {
    members: Mutex<Members>,
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    next: usize,
}

/// A session in a group, with what its binding says.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) session: Arc<SessionCore>,
    pub(crate) qos_max: Qos,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<u32>,
}

/// How well a session could take a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Readiness {
    Ended,
    Offline,
    Busy,
    Ready,
}

impl Group {
    pub(crate) fn join(&self, member: Member) -> bool {
        let mut members = lock(&self.members);
        match members.list.iter_mut().find(|known| known.session.id == member.session.id) {
            Some(known) => {
                *known = member;
                true
            }
            None => {
                members.list.push(member);
                self.len.store(members.list.len(), Ordering::Release);
                false
            }
        }
    }

    /// Whether it was a member, and whether the group is empty now.
    pub(crate) fn leave(&self, session: u64) -> (bool, bool) {
        let mut members = lock(&self.members);
        let before = members.list.len();
        members.list.retain(|member| member.session.id != session);
        self.len.store(members.list.len(), Ordering::Release);
        (members.list.len() < before, members.list.is_empty())
    }

    /// Forgets its members: the broker is gone.
    pub(crate) fn disband(&self) {
        let members = std::mem::take(&mut lock(&self.members).list);
        drop(members);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// The member whose turn it is: the next that is ready, else the next of the best there are.
    pub(crate) fn choose(&self) -> Option<Member> {
        let mut members = lock(&self.members);
        let (len, start) = (members.list.len(), members.next);
        let mut best: Option<(Readiness, usize)> = None;
        for n in 0..len {
            let at = (start + n) % len;
            let readiness = members.list[at].session.readiness();
            if readiness > Readiness::Ended && best.is_none_or(|(found, _)| readiness > found) {
                best = Some((readiness, at));
            }
            if readiness == Readiness::Ready {
                break;
            }
        }
        let (_, at) = best?;
        members.next = (at + 1) % len;
        Some(members.list[at].clone())
    }

    /// Hands on a copy whose session has ended.
    pub(crate) fn hand_on(self: &Arc<Self>, shared: &Shared, mut entry: Entry) {
        let Some(member) = self.choose() else {
            shared.meters.dropped_ended.one();
            return;
        };
        let mut moved = Entry::new(entry.message.clone(), entry.qos().min(member.qos_max), entry.retained());
        moved.extra = entry.extra.take();
        member.session.push_shared(shared, self, moved, member.id);
    }
}
