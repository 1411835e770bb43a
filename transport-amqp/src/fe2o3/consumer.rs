//! A consumer: a task owns the receiver, and does what it is told.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::ready;
use core::task::{Context, Poll};

use fe2o3_amqp::link::delivery::{Delivery as Came, DeliveryInfo as Name};
use fe2o3_amqp::link::{CreditMode, RecvError};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::definitions::{self, ErrorCondition, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Body, Modified, Target};
use roadbed_core::{
    Address, Attached, Binding, Consumer, ConsumerTerms, CopyId, Delivery, DeliveryId, DeliveryInfo, DeliveryRef,
    Detach, Disposition, Done, Error, ErrorKind, Fence, Fut, Grant, Granted, Handle, Outcome, Qos, QueueId, Result,
    Settled, Step, Unbind,
};
use serde_amqp::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::message::Dialect;
use super::words::{self, Death};
use crate::client::{Read, source};
use crate::dialect::condition_symbol;

/// How many deliveries wait for the application in the channel; the others wait in the task.
const WAITING_MAX: usize = 64;

/// What is on the way at most, if credit is unlimited.
const CREDIT_MAX: u32 = 1024;

pub(super) struct Receiving {
    /// Dispositions of what is held, and one grant after the other: the application's own measure.
    commands: mpsc::UnboundedSender<Command>,
    deliveries: mpsc::Receiver<Delivery>,
    done: mpsc::UnboundedReceiver<Done>,
    death: Death,
}

enum Command {
    Grant(u32),
    Settle(Vec<Disposition>),
    Detach(Detach, oneshot::Sender<Result<()>>),
}

impl Receiving {
    pub(super) async fn attach(
        session: &mut SessionHandle<()>,
        name: String,
        terms: ConsumerTerms,
        dialect: &Dialect,
        window: Arc<Semaphore>,
    ) -> Result<(Self, Attached)> {
        let mode = match terms.qos_max {
            Qos::AtMostOnce => SenderSettleMode::Settled,
            _ => SenderSettleMode::Unsettled,
        };
        let target = Target { address: Some(name.clone()), ..Target::default() };
        let builder = fe2o3_amqp::Receiver::builder().name(name).source(source(&terms)).target(target);
        let builder = builder.sender_settle_mode(mode).credit_mode(CreditMode::Manual);
        let receiver = builder.attach(session).await.map_err(words::receiver_attach)?;
        let address = receiver.source().as_ref().and_then(|source| source.address.as_deref());
        let address = address.and_then(|address| address.parse::<Address>().ok());
        let attached = Attached { address: address.clone(), qos_max: terms.qos_max, ..Attached::default() };
        let (commands, told) = mpsc::unbounded_channel();
        let (deliver, deliveries) = mpsc::channel(WAITING_MAX);
        let (answer, done) = mpsc::unbounded_channel();
        let death = Death::default();
        let links = Links { deliver, answer, death: death.clone() };
        let task = Task {
            receiver,
            links,
            dialect: dialect.clone(),
            address,
            terms,
            window,
            waiting: VecDeque::new(),
            held: BTreeMap::new(),
            permitted: 0,
            coming: 0,
            next: 0,
        };
        tokio::spawn(task.run(told));
        Ok((Self { commands, deliveries, done, death }, attached))
    }
}

impl Consumer for Receiving {
    fn grant(&mut self, grant: Grant) {
        let _ = self.commands.send(Command::Grant(grant.credit));
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        match self.deliveries.poll_recv_many(cx, into, max) {
            Poll::Ready(0) if max > 0 => Poll::Ready(Err(self.death.error("receive"))),
            polled => polled.map(Ok),
        }
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let _ = self.commands.send(Command::Settle(core::mem::take(batch)));
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        match self.done.poll_recv_many(cx, into, WAITING_MAX) {
            Poll::Ready(0) => Poll::Ready(Err(self.death.error("settle"))),
            polled => polled.map(Ok),
        }
    }

    fn bind(&mut self, _bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        Box::pin(ready(Err(unbindable("bind"))))
    }

    fn unbind(&mut self, _bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        Box::pin(ready(Err(unbindable("unbind"))))
    }

    fn backlog(&self) -> u32 {
        u32::try_from(self.deliveries.len()).unwrap_or(u32::MAX)
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let told = self.commands.send(Command::Detach(how, answer));
            told.map_err(|_| self.death.error("detach"))?;
            answered.await.map_err(|_| self.death.error("detach"))?
        })
    }
}

fn unbindable(operation: &'static str) -> Error {
    Error::new(ErrorKind::NotSupported, operation).detail("there are no bindings here: use roadbed_amqp::connect")
}

struct Task {
    receiver: fe2o3_amqp::Receiver,
    links: Links,
    dialect: Dialect,
    address: Option<Address>,
    terms: ConsumerTerms,
    window: Arc<Semaphore>,
    /// What came and was not handed over: at most as many as were permitted at once.
    waiting: VecDeque<(Name, Read)>,
    held: BTreeMap<Handle, Held>,
    /// How many more deliveries the application permits.
    permitted: u32,
    /// How many more the peer has been permitted: credit is not taken back.
    coming: u32,
    next: u64,
}

/// The ways to the application.
struct Links {
    deliver: mpsc::Sender<Delivery>,
    answer: mpsc::UnboundedSender<Done>,
    death: Death,
}

/// A delivery that is the application's.
struct Held {
    name: Name,
    /// Its place in the session's window.
    _place: OwnedSemaphorePermit,
    /// It has its outcome, and is remembered until it is settled.
    decided: bool,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let ended = loop {
            let can_hand_over = self.permitted > 0 && !self.waiting.is_empty();
            let done = tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Grant(credit)) => self.grant(credit).await,
                    Some(Command::Settle(batch)) => self.settle(batch).await,
                    Some(Command::Detach(how, answer)) => {
                        let _ = answer.send(self.detach(how).await);
                        return;
                    }
                    None => return,
                },
                place = room(&self.links.deliver, &self.window, self.settles_nothing()), if can_hand_over => {
                    self.hand_over(place).await
                }
                came = self.receiver.recv() => match came {
                    Ok(came) => self.arrived(came).await,
                    Err(RecvError::MessageDecode(error)) => self.unreadable(error.info).await,
                    Err(error) => Err(words::receive(error)),
                },
            };
            if let Err(error) = done {
                break error;
            }
        };
        self.links.death.note(&ended);
    }

    async fn grant(&mut self, credit: u32) -> Result<()> {
        self.permitted = credit;
        self.top_up().await
    }

    /// Tells the peer what is permitted beyond what it was told before, and what waits here.
    async fn top_up(&mut self) -> Result<()> {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let credit = self.permitted.min(CREDIT_MAX).saturating_sub(waiting);
        let worth_it = self.permitted <= CREDIT_MAX || self.coming <= CREDIT_MAX / 2;
        if credit <= self.coming || !worth_it {
            return Ok(());
        }
        self.coming = credit;
        self.receiver.set_credit(credit).await.map_err(closed)
    }

    /// Reads it at once: its time to live counts from now.
    async fn arrived(&mut self, came: Came<Body<Value>>) -> Result<()> {
        let (name, message) = came.into_parts();
        match self.dialect.read(message, self.address.clone()) {
            Ok(read) => self.waiting.push_back((name, read)),
            Err(_) => return self.unreadable(name).await,
        }
        self.coming = self.coming.saturating_sub(1);
        self.top_up().await
    }

    async fn hand_over(&mut self, place: Option<OwnedSemaphorePermit>) -> Result<()> {
        let Some((name, read)) = self.waiting.pop_front() else { return Ok(()) };
        if read.message.has_expired(self.dialect.now()) {
            self.receiver.release(name).await.map_err(words::disposition)?;
            return self.top_up().await;
        }
        if self.permitted != Grant::UNLIMITED {
            self.permitted -= 1;
        }
        let number = u64::from(name.delivery_id());
        let id = DeliveryId::from_bytes(name.delivery_tag());
        let attempt = id.map_or(read.count.saturating_add(1), |id| id.fence.attempt.max(1));
        let info = (self.terms.info || read.count > 0).then(|| {
            let info = DeliveryInfo::new(id.unwrap_or(made_up(number)), self.dialect.now());
            Box::new(DeliveryInfo { bindings: read.bindings, count: read.count, ..info })
        });
        let (qos, handle) = match place {
            None => (Qos::AtMostOnce, None),
            Some(place) => (Qos::AtLeastOnce, self.hold(name, place)),
        };
        let delivery = Delivery { message: read.message, handle, qos, retained: read.retained, attempt, info };
        let _ = self.links.deliver.try_send(delivery);
        self.top_up().await
    }

    /// Nobody here can read it: it is refused, and others come in its place.
    async fn unreadable(&mut self, name: Name) -> Result<()> {
        self.coming = self.coming.saturating_sub(1);
        let condition = ErrorCondition::Custom("amqp:decode-error".into());
        let error = definitions::Error::new(condition, None, None);
        self.receiver.reject(name, error).await.map_err(words::disposition)?;
        self.top_up().await
    }

    /// What comes is settled already.
    fn settles_nothing(&self) -> bool {
        self.terms.qos_max == Qos::AtMostOnce
    }

    fn hold(&mut self, name: Name, place: OwnedSemaphorePermit) -> Option<Handle> {
        let slots = u64::from(u16::MAX);
        let handle = Handle::new((self.next % slots) as u16 + 1, self.next / slots + 1)?;
        self.next += 1;
        self.held.insert(handle, Held { name, _place: place, decided: false });
        Some(handle)
    }

    async fn settle(&mut self, batch: Vec<Disposition>) -> Result<()> {
        for Disposition { delivery, cookie, step } in batch {
            let result = match delivery {
                DeliveryRef::Handle(handle) => self.step(handle, step).await?,
                DeliveryRef::Id(_) => {
                    Err(not_supported("AMQP settles on the link of the delivery alone, by its handle"))
                }
            };
            if let Some(cookie) = cookie {
                let _ = self.links.answer.send(Done { cookie, result });
            }
        }
        Ok(())
    }

    /// The outer error ends the link.
    async fn step(&mut self, handle: Handle, step: Step) -> Result<Result<Settled>> {
        let Some(held) = self.held.get(&handle) else { return Ok(Ok(Settled::Late)) };
        let (outcome, settled) = match step {
            Step::Outcome { .. } if held.decided => return Ok(Ok(Settled::Repeated)),
            Step::Outcome { outcome, settled } => (Some(outcome), settled),
            Step::Settle if held.decided => (None, true),
            Step::Settle => (Some(Outcome::Accepted), true),
            Step::Enlist { .. } => return Ok(Err(not_supported("there are no transactions here"))),
            _ => return Ok(Err(not_supported("AMQP 1.0 has no leases to renew"))),
        };
        if let Some(outcome) = outcome {
            self.dispose(handle, &outcome).await?;
        }
        match self.held.get_mut(&handle) {
            Some(held) if !settled => held.decided = true,
            _ => drop(self.held.remove(&handle)),
        }
        Ok(Ok(Settled::Applied))
    }

    async fn dispose(&self, handle: Handle, outcome: &Outcome) -> Result<()> {
        let Some(Held { name, .. }) = self.held.get(&handle) else { return Ok(()) };
        let (receiver, name) = (&self.receiver, name.clone());
        let disposed = match outcome {
            Outcome::Accepted => receiver.accept(name).await,
            Outcome::Rejected(reason) => {
                let condition = ErrorCondition::Custom(condition_symbol(reason.condition).into());
                let words = reason.text.as_ref().map(|words| String::clone(words));
                receiver.reject(name, definitions::Error::new(condition, words, None)).await
            }
            &Outcome::Modified { delivery_failed, undeliverable_here } => {
                let modified = Modified {
                    delivery_failed: Some(delivery_failed),
                    undeliverable_here: Some(undeliverable_here),
                    message_annotations: None,
                };
                receiver.modify(name, modified).await
            }
            _ => receiver.release(name).await,
        };
        disposed.map_err(words::disposition)
    }

    async fn detach(self, how: Detach) -> Result<()> {
        match how {
            Detach::Suspend => self.receiver.detach().await.map(drop).map_err(|(_, error)| words::detach(error)),
            _ => self.receiver.close().await.map_err(words::detach),
        }
    }
}

/// Waits until there is room for a delivery, and takes its place in the window if it is to be settled.
async fn room(
    deliver: &mpsc::Sender<Delivery>,
    window: &Arc<Semaphore>,
    settles_nothing: bool,
) -> Option<OwnedSemaphorePermit> {
    // Whoever takes them is gone: the commands end too.
    let Ok(room) = deliver.reserve().await else { return core::future::pending().await };
    drop(room);
    if settles_nothing {
        return None;
    }
    match Arc::clone(window).acquire_owned().await {
        Ok(place) => Some(place),
        Err(_) => core::future::pending().await,
    }
}

/// A name for a delivery whose tag is none of ours; good as long as its link.
const fn made_up(number: u64) -> DeliveryId {
    DeliveryId { copy: CopyId { queue: QueueId(0), seq: number }, fence: Fence { epoch: 0, attempt: 1 } }
}

fn not_supported(words: &str) -> Error {
    Error::new(ErrorKind::NotSupported, "settle").detail(words)
}

fn closed(found: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Closed, "receive").detail(&found).because(found)
}
