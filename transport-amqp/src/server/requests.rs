//! `$management` and `$cbs`: nodes of the server's own, which answer requests.

mod answer;
mod cbs;
mod manage;
mod read;
mod replies;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::Bytes;
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Source, TargetArchetype};
use fe2o3_amqp_types::performatives::Attach;
use roadbed_core::{Authenticator, Error, Fut, Peer, Session, Time};

use super::attach::Client;
use super::attach::Granted;
use super::identities::{Arrival, Identities};
use super::links::{Kind, Links};
use crate::codec::{Fault, GuardLimits, State};
use crate::management::{CBS, MANAGEMENT};
use crate::{Accept, Incoming, LinkId};

use answer::Answer;
pub(super) use replies::{Budget, Mail, Replies, address, dropped};

use read::Request;

/// A node that answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnNode {
    Management,
    Cbs,
}

/// The requests of a connection that are under way.
#[derive(Default)]
pub(super) struct Requests {
    asked: Vec<Asked>,
    /// Queues that were made for links of this connection, by their addresses: they are bound by their links.
    dynamic: BTreeMap<String, LinkId>,
    /// Where a node's answers are sent on this connection, by the name that requests call it.
    replies: BTreeMap<(OwnNode, String), LinkId>,
    /// What waits to be taken.
    pub(super) budget: Budget,
}

/// One of them, and where it came from.
struct Asked {
    node: OwnNode,
    link: LinkId,
    delivery: u64,
    reply_to: String,
    /// What the answer begins with: whose it is.
    correlation: Bytes,
    work: Work,
}

/// What a request waits for.
type Work = Pin<Box<dyn Future<Output = Next> + Send>>;

/// What follows.
enum Next {
    Done(Answer),
    /// The session is asked again.
    Then(Ask),
}

type Ask = Box<dyn FnOnce(&dyn Session) -> Work + Send>;

/// A request that has been answered.
pub(super) struct Answered {
    pub(super) link: LinkId,
    pub(super) delivery: u64,
    /// The link of this connection that the answer goes to.
    pub(super) to: Option<LinkId>,
    /// Otherwise the address.
    pub(super) reply_to: String,
    pub(super) message: Bytes,
    /// Who has shown a token.
    pub(super) token: Option<Token>,
}

/// Who has shown a token.
pub(super) enum Token {
    /// The connection's own identity: its right to be here ends then.
    Own {
        /// What the token is for, as the client says.
        audience: String,
        /// When the right ends.
        until: Option<Time>,
    },
    /// Somebody else, or the first one on a connection of nobody.
    Other(Box<Arrival>),
}

/// Who asks, and of whom.
pub(super) struct Asker<'a> {
    pub(super) session: &'a dyn Session,
    pub(super) authenticator: &'a Arc<dyn Authenticator>,
    pub(super) peer: &'a Arc<Peer>,
    pub(super) client: &'a Client,
    pub(super) identities: &'a Identities,
    /// The connection is nobody's yet.
    pub(super) guest: bool,
    pub(super) limits: &'a GuardLimits,
}

impl OwnNode {
    fn of(address: Option<&str>) -> Option<Self> {
        match address? {
            MANAGEMENT => Some(Self::Management),
            CBS => Some(Self::Cbs),
            _ => None,
        }
    }
}

/// The link that an attach to one of these nodes gets. `None`: it leads elsewhere.
pub(super) fn own_link(attach: &Attach) -> Option<Granted> {
    let (source, target) = (attach.source.as_deref().cloned(), attach.target.as_deref().cloned());
    let kind = match attach.role {
        Role::Sender => Kind::Requests(OwnNode::of(target_address(target.as_ref()))?),
        Role::Receiver => {
            let node = OwnNode::of(source.as_ref().filter(|source| !source.dynamic)?.address.as_deref())?;
            let name = target_address(target.as_ref()).unwrap_or_default();
            Kind::Replies(Replies::new(node, name.into()))
        }
    };
    Some(Granted { kind, accept: Accept { source, target, ..Accept::default() }, rare: None })
}

fn target_address(target: Option<&TargetArchetype>) -> Option<&str> {
    match target? {
        TargetArchetype::Target(target) => target.address.as_deref(),
        TargetArchetype::Coordinator(_) => None,
    }
}

impl Requests {
    /// How many wait for the endpoint.
    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// A link of the connection is attached.
    pub(super) fn attached(&mut self, id: LinkId, kind: &Kind, source: Option<&Source>) {
        match kind {
            Kind::Replies(replies) => {
                self.replies.insert((replies.node, replies.name.clone()), id);
            }
            Kind::Consumer { .. } => {
                let address = source.filter(|source| source.dynamic).and_then(|source| source.address.clone());
                self.dynamic.extend(address.map(|address| (address, id)));
            }
            _ => {}
        }
    }

    /// A link is gone: what it has asked is carried out, but nobody waits for the answer.
    pub(super) fn detached(&mut self, id: LinkId) {
        self.dynamic.retain(|_, link| *link != id);
        self.replies.retain(|_, link| *link != id);
    }

    /// Takes a request. What cannot be answered is rejected at once.
    pub(super) fn hear(
        &mut self,
        node: OwnNode,
        asker: &Asker<'_>,
        links: &mut Links,
        incoming: Incoming,
    ) -> Result<(), State> {
        let Incoming { link, delivery, pieces, state, .. } = incoming;
        let rejected = |fault| Err(State::Rejected(Some(fault)));
        if matches!(state, Some(State::Transactional { .. })) {
            return rejected(Fault::new("amqp:not-implemented", "requests belong to no transaction"));
        }
        let request = match read::read(pieces, asker.limits) {
            Ok(request) => request,
            Err(error) => return rejected(Fault::new("amqp:decode-error", alloc::format!("{error}"))),
        };
        let Some(reply_to) = request.reply_to.clone().filter(|address| !address.is_empty()) else {
            return rejected(Fault::new("amqp:invalid-field", "a request says where its answer goes: reply-to"));
        };
        let correlation = answer::correlation(request.correlation.clone());
        let work = match node {
            OwnNode::Management => self.manage(request, asker.session, links),
            OwnNode::Cbs => cbs::put_token(request, asker),
        };
        let work = work.unwrap_or_else(|error| done(Answer::refused(&error)));
        self.asked.push(Asked { node, link, delivery, reply_to, correlation, work });
        Ok(())
    }

    fn manage(&self, request: Request, session: &dyn Session, links: &mut Links) -> roadbed_core::Result<Work> {
        let (name, operation) = manage::operation(request)?;
        let own = self.dynamic.get(name.as_str()).and_then(|link| links.get(*link));
        match own.map(|link| &mut link.kind) {
            Some(Kind::Consumer { consumer, .. }) => Ok(manage::on_link(name, operation, consumer.as_mut(), session)),
            _ => Ok(manage::on_node(name, operation, session)),
        }
    }

    /// Goes on with what waits; appends what has been answered.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, session: &dyn Session, into: &mut Vec<Answered>) {
        let mut at = 0;
        while at < self.asked.len() {
            let next = self.asked[at].work.as_mut().poll(cx);
            match next {
                Poll::Pending => at += 1,
                Poll::Ready(Next::Then(then)) => self.asked[at].work = then(session),
                Poll::Ready(Next::Done(answer)) => {
                    // In the order in which they were asked, as far as they are answered at once.
                    let asked = self.asked.remove(at);
                    let to = self.replies.get(&(asked.node, asked.reply_to.clone())).copied();
                    into.push(asked.answered(answer, to));
                }
            }
        }
    }
}

impl Asked {
    fn answered(self, answer: Answer, to: Option<LinkId>) -> Answered {
        let message = answer.write(&self.correlation);
        let (link, delivery, reply_to) = (self.link, self.delivery, self.reply_to);
        Answered { link, delivery, to, reply_to, message, token: answer.token }
    }
}

fn done(answer: Answer) -> Work {
    Box::pin(core::future::ready(Next::Done(answer)))
}

/// The answer to what `asked` comes to.
fn then<T: Send + 'static>(asked: Fut<T>, next: impl FnOnce(T) -> Next + Send + 'static) -> Work {
    Box::pin(async move {
        match asked.await {
            Ok(found) => next(found),
            Err(error) => Next::Done(Answer::refused(&error)),
        }
    })
}

fn invalid(words: &str) -> Error {
    Error::new(roadbed_core::ErrorKind::Invalid, "manage").detail(words)
}
