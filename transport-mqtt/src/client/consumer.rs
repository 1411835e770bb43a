use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, Delivery, Detach, Disposition, Done, Error, ErrorKind, Filter, Fut,
    Grant, Granted, Mode, Node, Result, Unbind, is_reserved,
};
use tokio::sync::oneshot;

use super::requests::{Request, packets, unsayable};
use super::shared::{Alive, Shared};

/// A consumer of a session. A delivery goes to the first consumer that follows its address.
pub(super) struct Receiving {
    _alive: Arc<Alive>,
    shared: Arc<Shared>,
    id: u64,
}

type Answers<T> = oneshot::Receiver<Result<Vec<Result<T>>>>;

impl Receiving {
    /// Attaches, and follows the address of its node, if it has one.
    pub(super) async fn attach(alive: Arc<Alive>, terms: ConsumerTerms) -> Result<(Self, Attached)> {
        let address = address(&terms)?;
        let shared = Arc::clone(&alive.0);
        let consumers_max = shared.config.consumers_max as usize;
        let (id, unsettled) = shared.with(|state| {
            state.check("attach")?;
            if state.inbound.consumers() >= consumers_max {
                let error = Error::new(ErrorKind::Exhausted, "attach");
                return Err(error.detail(format_args!("a session has at most {consumers_max} consumers")));
            }
            Ok(state.inbound.attach(address.is_some(), terms.info))
        })?;
        let mut this = Self { _alive: alive, shared, id };
        let mut attached = Attached { qos_max: terms.qos_max, unsettled, ..Attached::default() };
        if let Some(address) = address {
            let bindings = alloc::vec![Binding::new(Filter::from(&address), terms.qos_max)];
            let granted = this.bind(bindings.clone()).await?.pop();
            attached.qos_max = granted.ok_or_else(|| closed("attach"))??.qos;
            attached.address = Some(address);
            attached.bindings = bindings;
        }
        Ok((this, attached))
    }

    fn submit(&self, requests: Vec<Request>) -> Result<()> {
        let requests_max = self.shared.config.requests_max;
        self.shared.with(|state| {
            state.check("bind")?;
            if state.closing.is_some() {
                return Err(closed("bind"));
            }
            if state.requests.len() + requests.len() > requests_max {
                let error = Error::new(ErrorKind::Exhausted, "bind");
                return Err(error.detail(format_args!("at most {requests_max} requests may be under way")));
            }
            requests.into_iter().for_each(|request| state.requests.push(request));
            state.wakers.wake_driver();
            Ok(())
        })
    }
}

impl Consumer for Receiving {
    fn grant(&mut self, grant: Grant) {
        self.shared.with(|state| state.inbound.grant(self.id, grant, &mut state.wakers));
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let now = self.shared.config.clock.now();
        self.shared.with(|state| {
            state.check("receive")?;
            state.inbound.poll_receive(self.id, cx, into, max, now, &mut state.wakers).map(Ok)
        })
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        self.shared.with(|state| match state.ended {
            Some(_) => batch.clear(),
            None => state.inbound.settle(self.id, batch, &mut state.wakers),
        });
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        self.shared.with(|state| {
            state.check("settle")?;
            state.inbound.poll_settled(self.id, cx, into).map(Ok)
        })
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        let version = self.shared.config.version;
        let refused: Vec<_> = bindings.iter().map(|binding| unsayable(binding, version)).collect();
        let sayable = bindings.into_iter().zip(&refused).filter(|(_, refused)| refused.is_none());
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for bindings in packets(sayable.map(|(binding, _)| binding).collect()) {
            let (answer, answered) = oneshot::channel();
            requests.push(Request::Subscribe { consumer: self.id, bindings, answer: Some(answer) });
            answers.push(answered);
        }
        let submitted = self.submit(requests);
        Box::pin(async move {
            submitted?;
            let mut granted = all(answers).await?.into_iter();
            let next = |refused: Option<Error>| refused.map(Err).or_else(|| granted.next());
            Ok(refused.into_iter().map(next).map(|granted| granted.unwrap_or_else(|| Err(closed("bind")))).collect())
        })
    }

    fn unbind(&mut self, unbinds: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        if unbinds.is_empty() {
            return Box::pin(core::future::ready(Ok(Vec::new())));
        }
        let (answer, answered) = oneshot::channel();
        let submitted = self.submit(alloc::vec![Request::Unsubscribe { unbinds, answer: Some(answer) }]);
        Box::pin(async move {
            submitted?;
            all(alloc::vec![answered]).await
        })
    }

    fn backlog(&self) -> u32 {
        self.shared.with(|state| state.inbound.backlog(self.id))
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        drop(self);
        Box::pin(core::future::ready(Ok(())))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.shared.with(|state| {
            let unbinds = state.inbound.detach(self.id, &mut state.wakers);
            if !unbinds.is_empty() && state.ended.is_none() {
                state.requests.push(Request::Unsubscribe { unbinds, answer: None });
                state.wakers.wake_driver();
            }
        });
    }
}

/// The address that a consumer follows; none if it takes from the session's own queue.
fn address(terms: &ConsumerTerms) -> Result<Option<roadbed_core::Address>> {
    let no = |words: &str| Err(Error::new(ErrorKind::NotSupported, "attach").detail(words));
    if terms.mode == Mode::Browse {
        return no("MQTT cannot look at messages without taking them");
    }
    if terms.exclusive {
        return no("MQTT has no exclusive consumers");
    }
    match &terms.node {
        Node::Session => Ok(None),
        Node::Address(address) if is_reserved(address.as_str()) => {
            no("MQTT does not read queues by their address: bind the session's own queue to it as a filter")
        }
        Node::Address(address) => Ok(Some(address.clone())),
        _ => no("MQTT has no queues made for a link: bind the session's own queue to a filter"),
    }
}

/// The answers of several packets, in order.
async fn all<T>(answers: Vec<Answers<T>>) -> Result<Vec<Result<T>>> {
    let mut all = Vec::new();
    for answer in answers {
        all.extend(answer.await.map_err(|_| closed("bind"))??);
    }
    Ok(all)
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation).detail("the session was closed before the server answered")
}
