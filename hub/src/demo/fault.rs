//! A layer that spoils one message, so that the demo can be seen to notice.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use roadbed::{
    Attached, Capabilities, Consumer, ConsumerTerms, Disposition, Done, Endpoint, Fut, Gid, Message, Open, Outgoing,
    Producer, ProducerTerms, Qos, Result, Session, Transaction, TxnId, forward,
};

/// Which message is spoilt, counted over all that pass.
const VICTIM: usize = 7;

/// What is done to it, and on its way through which protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) protocol: String,
    pub(crate) how: How,
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It goes elsewhere.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes with another payload.
    Corrupt,
    /// The answer of its receiver is lost.
    Unsettle,
    /// No message, but every transaction: it is committed when it should be rolled back, and the other way round.
    Confuse,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, how) = text.split_once(':').ok_or("a fault is PROTOCOL:HOW")?;
        let how = match how {
            "drop" => How::Drop,
            "duplicate" => How::Duplicate,
            "corrupt" => How::Corrupt,
            "unsettle" => How::Unsettle,
            "confuse" => How::Confuse,
            _ => return Err(format!("`{how}` is none of drop, duplicate, corrupt, unsettle, confuse")),
        };
        Ok(Self { protocol: protocol.to_owned(), how })
    }
}

/// Puts the fault in front of an endpoint, if it is this protocol's.
pub(crate) fn layer(endpoint: Arc<dyn Endpoint>, protocol: &str, fault: Option<&Fault>) -> Arc<dyn Endpoint> {
    match fault.filter(|fault| fault.protocol == protocol) {
        Some(fault) => Arc::new(Faulty { inner: endpoint, once: Once { how: fault.how, passed: Arc::default() } }),
        None => endpoint,
    }
}

/// An endpoint that spoils one message.
struct Faulty {
    inner: Arc<dyn Endpoint>,
    once: Once,
}

/// Counts what passes, and says when it is the victim's turn.
#[derive(Clone)]
struct Once {
    how: How,
    passed: Arc<AtomicUsize>,
}

impl Once {
    fn strikes(&self) -> bool {
        self.passed.fetch_add(1, Ordering::Relaxed) == VICTIM
    }
}

impl Endpoint for Faulty {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let (opening, once) = (self.inner.open(open), self.once.clone());
        Box::pin(async move { Ok(Box::new(FaultySession { inner: opening.await?, once }) as Box<dyn Session>) })
    }
}

struct FaultySession {
    inner: Box<dyn Session>,
    once: Once,
}

impl Session for FaultySession {
    forward!(Session: opened, discharged, manage, credential, poll_event, close);

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, once) = (self.inner.producer(terms), self.once.clone());
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(FaultyProducer { inner, once }) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let (attaching, once) = (self.inner.consumer(terms), self.once.clone());
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(FaultyConsumer { inner, once, lost: Vec::new() }) as Box<dyn Consumer>, attached))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        let declaring = self.inner.transaction();
        match self.once.how {
            How::Confuse => Box::pin(async { Ok(Box::new(Confused(declaring.await?)) as Box<dyn Transaction>) }),
            _ => declaring,
        }
    }

    fn settle(&self, mut batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        if self.once.how == How::Unsettle {
            // What is not passed on is answered as if it had been.
            let dones = batch.extract_if(.., |_| self.once.strikes()).filter_map(|lost| lost.cookie);
            let mut lost: Vec<_> = dones.map(|cookie| Done { cookie, result: Ok(roadbed::Settled::Applied) }).collect();
            let settling = self.inner.settle(batch);
            return Box::pin(async move {
                lost.extend(settling.await?);
                Ok(lost)
            });
        }
        self.inner.settle(batch)
    }
}

struct FaultyProducer {
    inner: Box<dyn Producer>,
    once: Once,
}

impl FaultyProducer {
    fn spoil(&self, outgoing: &mut Outgoing) -> Option<Outgoing> {
        match self.once.how {
            How::Drop => {
                let nowhere = "nowhere".parse().expect("the address is legal");
                outgoing.message = outgoing.message.to_builder().address(nowhere).build();
            }
            How::Corrupt => outgoing.message = spoilt(&outgoing.message),
            How::Duplicate => return Some(Outgoing { qos: Qos::AtMostOnce, key: None, ..outgoing.clone() }),
            How::Unsettle | How::Confuse => {}
        }
        None
    }
}

fn spoilt(message: &Message) -> Message {
    let mut bytes = message.payload().to_bytes().to_vec();
    match bytes.first_mut() {
        Some(first) => *first ^= 1,
        None => bytes.push(1),
    }
    message.to_builder().payload(bytes).build()
}

impl Producer for FaultyProducer {
    forward!(Producer: poll_reserve, forget, poll_forgotten, poll_confirms, detach);

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        if !matches!(self.once.how, How::Unsettle | How::Confuse)
            && let Some(victim) = batch.iter_mut().find(|_| self.once.strikes())
            && let Some(extra) = self.spoil(victim)
        {
            batch.push(extra);
        }
        self.inner.send(batch);
    }
}

struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    once: Once,
    /// Answers to what was not passed on.
    lost: Vec<Done>,
}

impl Consumer for FaultyConsumer {
    forward!(Consumer: grant, poll_receive, bind, unbind, backlog, detach);

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        if self.once.how == How::Unsettle {
            let lost = batch.extract_if(.., |_| self.once.strikes()).filter_map(|lost| lost.cookie);
            self.lost.extend(lost.map(|cookie| Done { cookie, result: Ok(roadbed::Settled::Applied) }));
        }
        self.inner.settle(batch);
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        if !self.lost.is_empty() {
            let answered = self.lost.len();
            into.append(&mut self.lost);
            return Poll::Ready(Ok(answered));
        }
        self.inner.poll_settled(cx, into)
    }
}

/// A transaction that does the opposite of what it is told.
struct Confused(Box<dyn Transaction>);

impl Transaction for Confused {
    fn id(&self) -> TxnId {
        self.0.id()
    }

    fn commit(self: Box<Self>) -> Fut<()> {
        self.0.rollback()
    }

    fn rollback(self: Box<Self>) -> Fut<()> {
        self.0.commit()
    }

    fn prepare(&mut self, gid: Gid) -> Fut<()> {
        self.0.prepare(gid)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.how == How::Confuse { "every transaction" } else { "one message" };
        write!(f, "{what} of {} is spoilt on purpose: {:?}", self.protocol, self.how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_protocol_and_fault() {
        assert_eq!("mqtt:drop".parse(), Ok(Fault { protocol: "mqtt".into(), how: How::Drop }));
        assert!("mqtt".parse::<Fault>().is_err() && "mqtt:burn".parse::<Fault>().is_err());
    }
}
