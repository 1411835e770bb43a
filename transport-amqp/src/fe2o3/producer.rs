//! A producer: a task owns the sender, and tells what became of what it sent.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use fe2o3_amqp::link::SendError;
use fe2o3_amqp::link::delivery::{DeliveryFut, Sendable};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::definitions::SenderSettleMode;
use fe2o3_amqp_types::messaging::{Outcome as WireOutcome, Released, Source, Target};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use roadbed_core::{
    Attached, Condition, Confirm, Detach, Error, ErrorKind, Fut, Key, Outcome, Outgoing, Producer, ProducerTerms, Qos,
    Result,
};
use tokio::sync::{mpsc, oneshot};

use super::message::{Dialect, outcome};
use super::words::{self, Death};
use crate::client::outcomes;

/// How many messages a producer takes ahead of their outcomes.
const UNCONFIRMED_MAX: usize = 256;

pub(super) struct Sending {
    commands: mpsc::Sender<Command>,
    reports: mpsc::Receiver<Option<Confirm>>,
    death: Death,
    /// What was handed over and not reported on.
    under_way: usize,
    confirms: VecDeque<Confirm>,
    wakers: [Option<Waker>; 2],
}

enum Command {
    Send(Outgoing),
    Detach(Detach, oneshot::Sender<Result<()>>),
}

impl Sending {
    pub(super) async fn attach(
        session: &mut SessionHandle<()>,
        name: String,
        terms: ProducerTerms,
        dialect: &Dialect,
    ) -> Result<(Self, Attached)> {
        let source = Source {
            address: Some(name.clone()),
            default_outcome: Some(WireOutcome::Released(Released {})),
            ..outcomes()
        };
        let target = Target { address: terms.to.as_ref().map(|to| to.as_str().into()), ..Target::default() };
        let builder = fe2o3_amqp::Sender::builder().name(name).source(source).target(target);
        let sender = builder.sender_settle_mode(SenderSettleMode::Mixed).attach(session).await;
        let sender = sender.map_err(words::sender_attach)?;
        let (commands, told) = mpsc::channel(UNCONFIRMED_MAX + 1);
        let (tell, reports) = mpsc::channel(UNCONFIRMED_MAX);
        let death = Death::default();
        let flights = FuturesUnordered::new();
        let task = Task { sender, flights, reports: tell, death: death.clone(), dialect: dialect.clone() };
        tokio::spawn(task.run(told));
        let attached =
            Attached { address: terms.to, qos_max: terms.qos_max.min(Qos::AtLeastOnce), ..Attached::default() };
        let confirms = VecDeque::new();
        Ok((Self { commands, reports, death, under_way: 0, confirms, wakers: [None, None] }, attached))
    }

    const ROOM: usize = 0;
    const CONFIRM: usize = 1;

    /// Takes what was reported. The channel wakes the last who asked; the other is woken here.
    fn poll_reports(&mut self, cx: &mut Context<'_>, who: usize) -> Poll<()> {
        let mut came = false;
        let ended = loop {
            match self.reports.poll_recv(cx) {
                Poll::Ready(Some(confirm)) => {
                    came = true;
                    self.under_way -= 1;
                    self.confirms.extend(confirm);
                }
                Poll::Ready(None) => break Poll::Ready(()),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.wakers[who] = Some(cx.waker().clone());
        if came || ended.is_ready() {
            self.wakers[1 - who].take().into_iter().for_each(Waker::wake);
        }
        ended
    }

    fn room(&self) -> usize {
        UNCONFIRMED_MAX - self.under_way
    }
}

impl Producer for Sending {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, _bytes: usize) -> Poll<Result<u32>> {
        if self.poll_reports(cx, Self::ROOM).is_ready() {
            return Poll::Ready(Err(self.death.error("send")));
        }
        match self.room() {
            0 => Poll::Pending,
            room => Poll::Ready(Ok(messages.clamp(1, room as u32))),
        }
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let count = batch.len().min(self.room());
        for outgoing in batch.drain(..count) {
            // A link that is dead is told by the next poll.
            if self.commands.try_send(Command::Send(outgoing)).is_ok() {
                self.under_way += 1;
            }
        }
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        let ended = self.poll_reports(cx, Self::CONFIRM);
        match self.confirms.len() {
            0 => ended.map(|()| Err(self.death.error("send"))),
            count => {
                into.extend(self.confirms.drain(..));
                Poll::Ready(Ok(count))
            }
        }
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        Box::pin(async move {
            let Self { commands, mut reports, death, .. } = *self;
            let (answer, answered) = oneshot::channel();
            let told = commands.send(Command::Detach(how, answer)).await;
            told.map_err(|_| death.error("detach"))?;
            // The task waits for room to report.
            while reports.recv().await.is_some() {}
            answered.await.map_err(|_| death.error("detach"))?
        })
    }
}

struct Task {
    sender: fe2o3_amqp::Sender,
    flights: FuturesUnordered<BoxFuture<'static, Result<Confirm>>>,
    reports: mpsc::Sender<Option<Confirm>>,
    death: Death,
    dialect: Dialect,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let ended = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Send(outgoing)) => if let Err(error) = self.send(outgoing).await {
                        break error;
                    },
                    Some(Command::Detach(how, answer)) => {
                        let _ = answer.send(self.detach(how).await);
                        return;
                    }
                    None => return,
                },
                Some(confirm) = self.flights.next(), if !self.flights.is_empty() => match confirm {
                    Ok(confirm) => report(&self.reports, Some(confirm)).await,
                    Err(error) => break error,
                },
                error = self.sender.on_detach() => break words::detach(error),
            }
        };
        self.death.note(&ended);
    }

    /// Waits for credit, and reports what comes meanwhile.
    async fn send(&mut self, outgoing: Outgoing) -> Result<()> {
        let Outgoing { cookie, message, qos, txn, .. } = outgoing;
        let refused = match self.dialect.write(message, qos) {
            Err(condition) => Some(condition),
            _ if txn.is_some() => Some(Condition::NotSupported),
            Ok(message) => {
                let at_most_once = qos == Qos::AtMostOnce;
                let sendable = Sendable::builder().message(message).settled(at_most_once).build();
                let sending = self.sender.send_batchable(sendable);
                tokio::pin!(sending);
                let sent = loop {
                    tokio::select! {
                        sent = &mut sending => break sent,
                        Some(confirm) = self.flights.next(), if !self.flights.is_empty() => {
                            report(&self.reports, Some(confirm?)).await;
                        }
                    }
                };
                match sent {
                    Ok(_) if at_most_once => None,
                    Ok(flight) => {
                        self.flights.push(Box::pin(confirm(cookie, flight)));
                        return Ok(());
                    }
                    Err(SendError::MessageSizeExceeded(_)) => Some(Condition::TooLarge),
                    Err(error) => return Err(words::send(error)),
                }
            }
        };
        let refused = refused.filter(|_| qos != Qos::AtMostOnce).map(|condition| Confirm {
            cookie,
            outcome: Outcome::rejected(condition),
            why: Some(condition),
            provisional: None,
        });
        report(&self.reports, refused).await;
        Ok(())
    }

    async fn detach(self, how: Detach) -> Result<()> {
        match how {
            Detach::Suspend => self.sender.detach().await.map(drop).map_err(|(_, error)| words::detach(error)),
            _ => self.sender.close().await.map_err(words::detach),
        }
    }
}

/// There is room for as many reports as there is for messages.
async fn report(reports: &mpsc::Sender<Option<Confirm>>, confirm: Option<Confirm>) {
    let _ = reports.send(confirm).await;
}

async fn confirm(cookie: u64, flight: DeliveryFut<Result<WireOutcome, SendError>>) -> Result<Confirm> {
    let wire = flight.await.map_err(words::send)?;
    let unknown = || Error::new(ErrorKind::Protocol, "send").detail("the outcome is not known");
    let outcome = outcome(&wire).ok_or_else(unknown)?;
    let why = (outcome == Outcome::Released).then_some(Condition::NoRoute);
    Ok(Confirm { cookie, outcome, why, provisional: None })
}
