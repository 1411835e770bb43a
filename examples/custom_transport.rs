//! A fifth protocol in under 300 lines, imports and fixture aside. A frame is a length, a line of JSON and a payload. What
//! it takes to join in:
//!
//! 1. the four mapping traits, for its own words: [`Parcel`], [`Level`], [`Keep`], [`Verdict`];
//! 2. [`serve`], which puts an endpoint on the wire, and [`Courier`], which takes one off it;
//! 3. the laws that every endpoint keeps, which say when it is done: `cargo run --example custom_transport`.
//!
//! What it lacks (QoS 2, queues by address, kept sessions) it declares, and refuses by name.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use roadbed::*;
use roadbed_conformance::{Arguments, Boxed, Fixture, World};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// What a client asks; each is answered once, in any order.
#[derive(Serialize, Deserialize)]
enum Ask {
    Hello(u16),
    Send(Parcel),
    Receive,
    Settle(u64, Verdict),
    Bind(String, Option<String>, Option<(Level, Option<u32>)>),
}
#[derive(Serialize, Deserialize)]
enum Answer {
    Verdict(Verdict),
    Parcel(Parcel),
    Done(bool),
}
#[derive(Serialize, Deserialize)]
struct Parcel(u64, String, Level, Keep, Vec<u32>, #[serde(skip)] Bytes);
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Level(u8);
#[derive(Serialize, Deserialize)]
struct Keep(bool);
#[derive(Serialize, Deserialize)]
struct Verdict(u8, Option<usize>);

enum Words {}
impl Dialect for Words {
    type Frame = Parcel;
    type Qos = Level;
    type Durability = Keep;
    type Ack = Verdict;
}

impl WireMessage for Parcel {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        let message = Message::builder(self.1.parse().map_err(broken)?, self.5).durability(self.3.read());
        Ok(message.origin(context.origin.clone()).build())
    }
    fn write(delivery: &Delivery, _: Time, losses: &mut Losses) -> Result<Self> {
        let message = &delivery.message;
        if message.has_details() {
            losses.note("details", "a parcel has an address and a payload");
        }
        let id = delivery.handle.map_or(0, |handle| handle.generation() << 16 | u64::from(handle.slot()));
        let (level, keep) = (WireQos::write(delivery.qos)?, WireDurability::write(message.durability())?);
        let bindings = delivery.info.as_ref().map_or_else(Vec::new, |info| info.bindings.clone());
        Ok(Self(id, message.address().to_string(), level, keep, bindings, message.payload().to_bytes()))
    }
}

impl WireQos for Level {
    fn read(self) -> Qos {
        if self.0 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce }
    }
    fn write(qos: Qos) -> Result<Self> {
        if qos == Qos::ExactlyOnce { Err(Error::new(ErrorKind::NotSupported, "QoS 2")) } else { Ok(Self(qos.level())) }
    }
}

impl WireDurability for Keep {
    fn read(self) -> Durability {
        if self.0 { Durability::Stored } else { Durability::Volatile }
    }
    fn write(durability: Durability) -> Result<Self> {
        Ok(Self(durability == Durability::Stored))
    }
}

impl WireDelivery for Verdict {
    fn event(&self, _: &Wire) -> Option<Event> {
        let outcome = match self.0 {
            0 => Outcome::Accepted,
            1 => Outcome::rejected(self.why()?),
            2 => Outcome::Released,
            _ => Outcome::FAILED,
        };
        Some(Event::Dispose { outcome, settled: true })
    }
    fn write(event: &Event, _: &Wire) -> Option<Self> {
        let Event::Dispose { outcome, .. } = event else { return None };
        Some(match outcome {
            Outcome::Accepted => Self(0, None),
            Outcome::Rejected(reason) => Self(1, Condition::ALL.iter().position(|known| *known == reason.condition)),
            Outcome::Released => Self(2, None),
            _ => Self(3, None),
        })
    }
}

impl Verdict {
    fn why(&self) -> Option<Condition> {
        self.1.and_then(|why| Condition::ALL.get(why).copied())
    }
}

const WIRE: Wire = Wire { role: Role::Receiver, qos: Qos::AtLeastOnce, first: 0, last: 0 };

fn verdict(outcome: Outcome) -> Result<Verdict> {
    let written = WireDelivery::write(&Event::Dispose { outcome, settled: true }, &WIRE);
    written.ok_or_else(|| broken("an outcome without a word"))
}
fn outcome(verdict: &Verdict) -> Result<Outcome> {
    match verdict.event(&WIRE) {
        Some(Event::Dispose { outcome, .. }) => Ok(outcome),
        _ => Err(broken("a word without an outcome")),
    }
}
fn broken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Protocol, "courier").because(why)
}
fn lost() -> Error {
    Error::new(ErrorKind::Disconnected, "courier")
}

fn framed(io: DuplexStream) -> Framed<DuplexStream, LengthDelimitedCodec> {
    Framed::new(io, LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec())
}
fn write<T: Serialize>(id: u64, said: &T, payload: &[u8]) -> Bytes {
    let mut frame = serde_json::to_vec(&(id, said)).expect("all words are JSON");
    frame.push(b'\n');
    frame.extend_from_slice(payload);
    frame.into()
}
fn read<T: DeserializeOwned>(frame: Option<std::io::Result<BytesMut>>) -> Result<(u64, T, Bytes)> {
    let frame = frame.ok_or_else(lost)?.map_err(broken)?.freeze();
    let end = frame.iter().position(|byte| *byte == b'\n').ok_or_else(|| broken("a frame without a line"))?;
    let (id, said) = serde_json::from_slice(&frame[..end]).map_err(broken)?;
    Ok((id, said, frame.slice(end + 1..)))
}

/// Puts an endpoint on the wire.
async fn serve(io: DuplexStream, endpoint: Arc<dyn Endpoint>) -> Result<()> {
    let mut wire = framed(io);
    let (_, Ask::Hello(window), _) = read(wire.next().await)? else { return Err(broken("it begins with hello")) };
    let origin = Arc::new(Origin { principal: "courier".into(), protocol: "courier" });
    let session = endpoint.open(Open { origin: origin.clone(), window, ..Open::default() }).await?;
    let mut producer = session.producer(ProducerTerms { qos_max: Qos::AtLeastOnce, ..Default::default() }).await?.0;
    let receiver =
        Receiver::new(session.consumer(ConsumerTerms { info: true, ..ConsumerTerms::session() }).await?.0, 1);
    let held = Arc::new(Mutex::new(HashMap::<u64, Received>::new()));
    let (mut calls, mut confirms) = (FuturesUnordered::<Fut<(u64, Answer)>>::new(), Vec::new());
    loop {
        tokio::select! {
            frame = wire.next() => {
                let (id, ask, payload) = read(frame)?;
                let Ask::Send(parcel) = ask else {
                    let answered = answer(ask, receiver.clone(), held.clone());
                    calls.push(Box::pin(async move { Ok((id, answered.await?)) }));
                    continue;
                };
                let (qos, bytes) = (parcel.2.read(), payload.len());
                let message = Parcel { 5: payload, ..parcel }.read(&ReadContext { origin: &origin, now: Time::ZERO })?;
                poll_fn(|cx| producer.poll_reserve(cx, 1, bytes)).await?;
                producer.send(&mut vec![Outgoing { cookie: id, message, qos, key: None, txn: None }]);
            }
            confirmed = poll_fn(|cx| producer.poll_confirms(cx, &mut confirms)) => {
                confirmed?;
                for confirm in confirms.drain(..) {
                    let Verdict(said, why) = verdict(confirm.outcome)?;
                    let why = why.or_else(|| Condition::ALL.iter().position(|known| Some(*known) == confirm.why));
                    wire.send(write(confirm.cookie, &Answer::Verdict(Verdict(said, why)), &[])).await.map_err(broken)?;
                }
            }
            Some(called) = calls.next() => {
                let (id, answer) = called?;
                let payload = if let Answer::Parcel(parcel) = &answer { &parcel.5[..] } else { &[] };
                wire.send(write(id, &answer, payload)).await.map_err(broken)?;
            }
        }
    }
}

/// Answers all but a send, which has to keep its place among the others.
async fn answer(ask: Ask, receiver: Receiver, held: Arc<Mutex<HashMap<u64, Received>>>) -> Result<Answer> {
    match ask {
        Ask::Receive => {
            let received = receiver.receive().await?.ok_or_else(lost)?;
            let parcel = <Words as Dialect>::Frame::write(&received, Time::ZERO, &mut Losses::default())?;
            held.lock().unwrap_or_else(PoisonError::into_inner).insert(parcel.0, received);
            Ok(Answer::Parcel(parcel))
        }
        Ask::Settle(parcel, verdict) => {
            let received = held.lock().unwrap_or_else(PoisonError::into_inner).remove(&parcel);
            let Some(received) = received else { return Ok(Answer::Done(false)) };
            Ok(Answer::Done(received.settle(outcome(&verdict)?).await? == Settled::Applied))
        }
        Ask::Bind(filter, share, Some((level, id))) => {
            let binding = Binding::new(filter.parse().map_err(broken)?, level.read());
            let bound = receiver.bind(vec![Binding { share: share.map(Into::into), id, ..binding }]).await?;
            Ok(Answer::Done(bound.iter().all(Result::is_ok)))
        }
        Ask::Bind(filter, share, None) => {
            let gone = Unbind { filter: filter.parse().map_err(broken)?, share: share.map(Into::into) };
            Ok(Answer::Done(receiver.unbind(vec![gone]).await?.remove(0)?))
        }
        Ask::Hello(_) | Ask::Send(_) => Err(broken("not now")),
    }
}

/// An endpoint taken off the wire: each session is a connection.
struct Courier(Box<dyn Fn() -> DuplexStream + Send + Sync>, Capabilities);

/// A connection, as long as somebody holds it.
struct Link(mpsc::UnboundedSender<Asked>);
type Asked = (Ask, oneshot::Sender<Answer>);

impl Link {
    fn ask<T: 'static>(&self, ask: Ask, read: impl FnOnce(Answer) -> Result<T> + Send + 'static) -> Fut<T> {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send((ask, answer)); // if the connection has ended, so has the answer
        Box::pin(async { read(answered.await.map_err(|_| lost())?) })
    }
}
fn done(answer: &Answer) -> Result<bool> {
    if let Answer::Done(done) = answer { Ok(*done) } else { Err(broken("no answer to that")) }
}

async fn carry(io: DuplexStream, mut asks: mpsc::UnboundedReceiver<Asked>) -> Result<()> {
    let (mut wire, mut waiting, mut next) = (framed(io), HashMap::new(), 0);
    loop {
        tokio::select! {
            ask = asks.recv() => {
                let Some((ask, answer)) = ask else { return Ok(()) };
                next += 1;
                waiting.insert(next, answer);
                let payload = if let Ask::Send(parcel) = &ask { &parcel.5[..] } else { &[] };
                wire.send(write(next, &ask, payload)).await.map_err(broken)?;
            }
            frame = wire.next() => {
                let (id, mut answer, payload) = read(frame)?;
                if let Answer::Parcel(parcel) = &mut answer {
                    parcel.5 = payload;
                }
                waiting.remove(&id).map(|waiting: oneshot::Sender<_>| waiting.send(answer));
            }
        }
    }
}

impl Endpoint for Courier {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }
    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        if open.will.is_some() {
            return Box::pin(async { Err(Error::new(ErrorKind::NotSupported, "wills")) });
        }
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(carry((self.0)(), asked));
        let (link, opened) = (Arc::new(Link(asks)), Opened { qos_max: Qos::AtLeastOnce, ..Opened::default() });
        drop(link.ask(Ask::Hello(open.window), Ok));
        Box::pin(async { Ok(remote::session(link, opened)) })
    }
}

impl remote::Remote for Link {
    fn send(&self, outgoing: Outgoing) -> Fut<(Outcome, Option<Condition>)> {
        let Outgoing { message, qos, .. } = outgoing;
        let delivery = Delivery { message, handle: None, qos, retained: false, attempt: 1, info: None };
        match Parcel::write(&delivery, Time::ZERO, &mut Losses::default()) {
            Err(_) => Box::pin(async { Ok((Outcome::rejected(Condition::NotSupported), None)) }),
            Ok(parcel) => self.ask(Ask::Send(parcel), |answer| match answer {
                Answer::Verdict(verdict) => Ok((outcome(&verdict)?, verdict.why())),
                _ => Err(broken("no verdict")),
            }),
        }
    }
    fn receive(&self) -> Fut<Delivery> {
        self.ask(Ask::Receive, |answer| {
            let Answer::Parcel(parcel) = answer else { return Err(broken("no parcel")) };
            let (handle, qos) = (Handle::new(parcel.0 as u16, parcel.0 >> 16), parcel.2.read());
            let id = DeliveryId { copy: CopyId { queue: QueueId(0), seq: parcel.0 }, fence: Fence::default() };
            let info = DeliveryInfo { bindings: parcel.4.clone(), ..DeliveryInfo::new(id, Time::ZERO) };
            let message = parcel.read(&ReadContext { origin: &Arc::default(), now: Time::ZERO })?;
            Ok(Delivery { message, handle, qos, retained: false, attempt: 1, info: Some(Box::new(info)) })
        })
    }
    fn settle(&self, delivery: Handle, outcome: Outcome) -> Fut<Settled> {
        let id = delivery.generation() << 16 | u64::from(delivery.slot());
        let verdict = verdict(outcome).expect("every outcome has a word");
        let settled = |done| if done { Settled::Applied } else { Settled::Late };
        self.ask(Ask::Settle(id, verdict), move |answer| Ok(settled(done(&answer)?)))
    }
    fn bind(&self, binding: Binding) -> Fut<Granted> {
        let (qos, share) = (binding.qos_max.min(Qos::AtLeastOnce), binding.share.map(Into::into));
        let ask = Ask::Bind(binding.filter.to_string(), share, Some((Level(qos.level()), binding.id)));
        self.ask(ask, move |answer| match done(&answer)? {
            true => Ok(Granted { qos, replaced: false }),
            false => Err(Error::new(ErrorKind::Unauthorized, "bind")),
        })
    }
    fn unbind(&self, unbind: Unbind) -> Fut<bool> {
        self.ask(Ask::Bind(unbind.filter.to_string(), unbind.share.map(Into::into), None), |answer| done(&answer))
    }
    fn close(&self, _: Close) -> Fut<()> {
        Box::pin(async { Ok(()) }) // without wills, good order is the end of the connection
    }
}

/// The suite's fixture: a broker, and this protocol in front of it.
struct InMemory;

impl Fixture for InMemory {
    fn name(&self) -> String {
        "courier".into()
    }
    fn world(&self) -> Boxed<World> {
        Box::pin(async {
            let clock = Arc::new(ManualClock::default());
            let broker: Arc<dyn Endpoint> =
                Arc::new(Broker::builder().clock(clock.clone()).build().expect("it is in memory"));
            let mut can = Capabilities::full("courier");
            can.logs = false;
            (can.qos_in, can.qos_out, can.consumers_per_session) =
                (Qos::AtLeastOnce, Qos::AtLeastOnce, Limit::AtMost(1));
            (can.drain, can.queues, can.browse, can.resume) = (false, false, false, false);
            (can.settle_by_id, can.leases, can.renew, can.manage) = (false, false, false, false);
            can.transactions = Transactions::None;
            (can.properties, can.expiry, can.priority, can.wills, can.retain) = (false, false, false, false, false);
            let behind = broker.clone();
            let dial = move || {
                let (near, far) = duplex(1 << 20);
                tokio::spawn(serve(far, behind.clone()));
                near
            };
            World::over(broker, Arc::new(Courier(Box::new(dial), can))).clock(clock)
        })
    }
}

fn main() -> std::process::ExitCode {
    roadbed_conformance::run(vec![Box::new(InMemory)], &Arguments::from_args())
}
