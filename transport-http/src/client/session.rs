//! A session: credentials, links, and what is asked by the way.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderValue, Method};
use roadbed_core::{
    Attached, Close, Condition, Consumer, ConsumerTerms, Credential, DeliveryId, DeliveryRef, Disposition, Done, Error,
    ErrorKind, Fut, Manage, Managed, Open, Opened, Producer, ProducerTerms, Qos, Result, Session, SessionEvent,
    Settled, Time, Transaction,
};

use super::budget::Budget;
use super::http::{Answered, Call, Http, Lost, authorization};
use super::producer::HttpProducer;
use super::tokens::Tokens;
use super::{consumer, manage, transaction};
use crate::codec::info::InfoDoc;

/// What all links of a session share.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) http: Arc<Http>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) info: InfoDoc,
    pub(super) budget: Arc<Budget>,
    authorization: Arc<RwLock<Option<HeaderValue>>>,
    events: Arc<Mutex<Events>>,
}

#[derive(Default)]
struct Events {
    revoked: bool,
    waker: Option<Waker>,
}

pub(super) struct HttpSession {
    link: Link,
    opened: Opened,
}

impl HttpSession {
    /// Asks the server who the client is to it, and what its limits are.
    pub(super) async fn open(
        http: Arc<Http>,
        credential: &Credential,
        tokens: Arc<Tokens>,
        open: Open,
    ) -> Result<Self> {
        if open.will.is_some() {
            let why = "HTTP has no connection whose end could send a will";
            return Err(Error::new(ErrorKind::NotSupported, "open").detail(why));
        }
        let header = offer(credential)?;
        let info = ask(&http, header.as_ref()).await?;
        let opened = Opened {
            qos_max: Qos::from_level(info.qos_max).unwrap_or_default(),
            message_bytes_max: info.message_bytes_max,
            ..Opened::default()
        };
        let authorization = Arc::new(RwLock::new(header));
        let budget = Arc::new(Budget::new(open.window));
        Ok(Self { link: Link { http, tokens, info, budget, authorization, events: Arc::default() }, opened })
    }
}

impl Link {
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request with the session's credential.
    pub(super) fn request(&self, method: Method, path: impl Into<String>) -> Call {
        Call::new(method, path, self.authorization().as_ref())
    }

    /// Sends a request that is safe to repeat, and reads the answer.
    pub(super) async fn ask(&self, call: &Call, operation: &'static str) -> Result<Answered> {
        let answered = self.http.insist(call).await;
        self.watch(&answered);
        answered.map_err(|lost| lost.into_error(operation))?.check(operation)
    }

    /// Tells the session when an answer says that its credential is no longer good.
    pub(super) fn watch(&self, answered: &Result<Answered, Lost>) {
        if !answered.as_ref().is_ok_and(|answered| answered.status.as_u16() == 401) {
            return;
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.revoked = true;
        if let Some(waker) = events.waker.take() {
            waker.wake();
        }
    }

    /// 64 random bits in hexadecimal digits.
    pub(super) fn nonce() -> Result<String> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|_| crate::HttpError::Randomness)?;
        Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
    }

    /// How long a poll may be held.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.http.config.wait_ms.min(self.info.long_poll_ms_max))
    }
}

impl Session for HttpSession {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (link, qos_max) = (self.link.clone(), terms.qos_max.min(self.opened.qos_max));
        Box::pin(async move {
            let attached = Attached { address: terms.to.clone(), qos_max, ..Attached::default() };
            let producer = HttpProducer::new(link, terms.to, Link::nonce()?);
            Ok((Box::new(producer) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        Box::pin(consumer::attach(self.link.clone(), terms))
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        Box::pin(transaction::declare(self.link.clone()))
    }

    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        let link = self.link.clone();
        Box::pin(async move {
            let ids: HashSet<_> = batch.iter().map(|disposition| disposition.delivery).collect();
            // Steps on one delivery keep their order.
            let at_once = if ids.len() == batch.len() { link.http.config.requests_max.max(1) } else { 1 };
            let settling = batch.into_iter().map(|disposition| settle_by_id(&link, disposition));
            Ok(futures_util::stream::iter(settling).buffered(at_once).collect().await)
        })
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        Box::pin(manage::manage(self.link.clone(), request))
    }

    fn credential(&self, credential: Credential) -> Fut<Option<Time>> {
        let link = self.link.clone();
        Box::pin(async move {
            let header = offer(&credential)?;
            ask(&link.http, header.as_ref()).await?;
            *link.authorization.write().unwrap_or_else(PoisonError::into_inner) = header;
            Ok(None)
        })
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        let mut events = self.link.events.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut events.revoked) {
            return Poll::Ready(SessionEvent::Revoked(Condition::Unauthorized));
        }
        events.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close(&self, _close: Close) -> Fut<()> {
        // The server keeps nothing of a session between requests.
        Box::pin(async { Ok(()) })
    }
}

async fn settle_by_id(link: &Link, disposition: Disposition) -> Done {
    let result = match disposition.delivery {
        DeliveryRef::Id(id) => match link.tokens.find(&id) {
            Some(token) => link.settle(&token, disposition.step).await,
            None => Ok(unknown(id)),
        },
        DeliveryRef::Handle(_) => {
            Err(Error::new(ErrorKind::Invalid, "settle").detail("a handle belongs to its consumer: settle it there"))
        }
    };
    Done { cookie: disposition.cookie.unwrap_or_default(), result }
}

/// A delivery that this client never had, or so long ago that its lock has ended.
fn unknown(_id: DeliveryId) -> Settled {
    Settled::Late
}

fn offer(credential: &Credential) -> Result<Option<HeaderValue>> {
    match credential {
        Credential::Anonymous => Ok(None),
        other => authorization(other).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "open").detail("this credential cannot be said in Authorization")
        }),
    }
}

async fn ask(http: &Http, authorization: Option<&HeaderValue>) -> Result<InfoDoc> {
    let answered = http.insist(&Call::new(Method::GET, "/v1", authorization)).await;
    answered.map_err(|lost| lost.into_error("open"))?.check("open")?.json()
}
