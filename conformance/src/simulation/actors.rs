//! Those who send, and those who follow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roadbed_core::{
    Binding, Clock, Delivery, Durability, Endpoint, Handle, Key, Message, Outcome, Qos, Result, Settled, Step, Time,
};

use super::ledger::{Claim, Fate, Ledger, Sent};
use super::random::Random;
use crate::client::{Client, Receiving, Sending};
use crate::faults::{Direction, Faults};
use crate::world::{address, filter_of, named, open};

/// What all actors share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) inner: Arc<dyn Endpoint>,
    pub(super) stopping: AtomicBool,
    ledger: Mutex<Ledger>,
    serial: AtomicU64,
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>, inner: Arc<dyn Endpoint>, ledger: Ledger) -> Self {
        let (stopping, serial) = (AtomicBool::new(false), AtomicU64::new(1));
        Self { clock, inner, stopping, ledger: Mutex::new(ledger), serial }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }
}

/// One client's place: its way to the broker, and its chance.
pub(super) struct Seat {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) faults: Option<Faults>,
    pub(super) random: Random,
}

impl Seat {
    /// Opens a session, trying again as long as its connection is cut.
    pub(super) async fn open(&mut self, open: roadbed_core::Open) -> Client {
        for _ in 0..50 {
            if let Ok(client) = Client::try_open(&*self.endpoint, open.clone()).await {
                return client;
            }
            self.pause(200).await;
        }
        panic!("{} cannot come back", self.name);
    }

    /// Whether a transport is in between: then times are longer, and an acknowledgement may be lost on the way.
    pub(super) fn is_carried(&self) -> bool {
        self.faults.is_some()
    }

    pub(super) async fn pause(&mut self, millis: u64) {
        tokio::time::sleep(Duration::from_micros(self.random.below(millis * 1000))).await;
    }

    /// Sometimes, the connection will break in the middle of a frame.
    pub(super) fn sabotage(&mut self) {
        if let Some(faults) = self.faults.as_ref().filter(|_| self.random.chance(4)) {
            let way = if self.random.chance(50) { Direction::Up } else { Direction::Down };
            faults.cut_after(way, self.random.below(150));
        }
    }

    pub(super) fn cut<T>(&self, handles: T) {
        if let Some(faults) = &self.faults {
            faults.cut();
        }
        drop(handles);
    }

    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        self.shared.ledger().note(self.shared.now(), &self.name, what);
    }

    /// A message of this seat's, entered into the ledger.
    pub(super) fn write(&mut self, to: &str, qos: Qos, transacted: bool) -> (u64, Message) {
        let serial = self.shared.serial.fetch_add(1, Ordering::Relaxed);
        let now = self.shared.now();
        let lives = Duration::from_millis(300 + self.random.below(3000));
        let carries = self.endpoint.capabilities().expiry;
        let expires_at = (!transacted && self.random.chance(10) && carries).then(|| now + lives);
        let payload = if self.random.chance(20) { format!("{serial:<200}") } else { serial.to_string() };
        let stored = !self.is_carried() && (qos == Qos::ExactlyOnce || self.random.chance(60));
        let durability = if stored { Durability::Stored } else { Durability::Volatile };
        let message = Message::builder(address(to), payload).expires_at(expires_at).durability(durability).build();
        let fate = if qos == Qos::AtMostOnce { Fate::Unasked } else { Fate::Unknown };
        let source = self.name.clone();
        let mut ledger = self.shared.ledger();
        ledger.note(now, &self.name, format_args!("sends {serial} to {to}, {qos:?}, {durability:?}"));
        let may_repeat = qos == Qos::AtLeastOnce && self.is_carried();
        let to = to.into();
        ledger.send(serial, Sent { source, to, qos, expires_at, fate, transacted, may_repeat, stored, excused: false });
        (serial, message)
    }
}

/// Sends to queues and topics with every assurance, is cut off, comes back, and sends again what is in doubt.
pub(super) async fn produce(mut seat: Seat, targets: Vec<String>, steps: u32) {
    let mut producer = Produce { doubt: BTreeMap::new(), steps };
    let kept = seat.endpoint.capabilities().resume;
    let open = if kept { named(&seat.name) } else { open(&seat.name) };
    for _ in 0..1000 {
        let client = seat.open(open.clone()).await;
        let ended = producer.connected(&mut seat, &client, &targets).await;
        seat.note(format_args!("is cut: {}", ended.as_ref().err().map_or("by itself", |error| error.kind().as_str())));
        seat.cut(client);
        if producer.steps == 0 && producer.doubt.is_empty() {
            return;
        }
    }
    panic!("{} is never done", seat.name);
}

struct Produce {
    /// Exactly once, not confirmed.
    doubt: BTreeMap<u64, Message>,
    steps: u32,
}

impl Produce {
    async fn connected(&mut self, seat: &mut Seat, client: &Client, targets: &[String]) -> Result<()> {
        let mut sender = client.try_sender_to(None).await?;
        for (serial, message) in self.doubt.clone() {
            seat.note(format_args!("sends {serial} again"));
            let cookie = sender.try_submit(message, Qos::ExactlyOnce, Some(key(seat, serial)), None).await?;
            self.confirm(seat, &mut sender, serial, cookie).await?;
        }
        while self.steps > 0 {
            self.steps -= 1;
            seat.pause(120).await;
            seat.sabotage();
            let burst = self.burst(seat, &mut sender, targets).await?;
            if seat.random.chance(8) {
                return Ok(());
            }
            for (serial, cookie) in burst {
                self.confirm(seat, &mut sender, serial, cookie).await?;
            }
        }
        Ok(())
    }

    async fn burst(&mut self, seat: &mut Seat, sender: &mut Sending, targets: &[String]) -> Result<Vec<(u64, u64)>> {
        let (mut burst, most) = (Vec::new(), 1 + seat.random.below(4));
        for _ in 0..most {
            let wish = seat.random.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce]);
            let qos = wish.min(seat.endpoint.capabilities().qos_in);
            let to = seat.random.pick(targets);
            let (serial, message) = seat.write(&to, qos, false);
            let key = (qos == Qos::ExactlyOnce).then(|| {
                self.doubt.insert(serial, message.clone());
                key(seat, serial)
            });
            let cookie = sender.try_submit(message, qos, key, None).await?;
            if qos > Qos::AtMostOnce {
                burst.push((serial, cookie));
            }
        }
        Ok(burst)
    }

    async fn confirm(&mut self, seat: &Seat, sender: &mut Sending, serial: u64, cookie: u64) -> Result<()> {
        let confirm = sender.try_confirm(cookie).await?;
        seat.shared.ledger().confirmed(seat.shared.now(), &seat.name, serial, &confirm);
        if self.doubt.remove(&serial).is_some() {
            sender.forget(key(seat, serial));
        }
        Ok(())
    }
}

/// A number lives as long as its session; where no session is kept, it takes a name.
fn key(seat: &Seat, serial: u64) -> Key {
    match seat.endpoint.capabilities().resume {
        true => Key::Number(serial as u32),
        false => Key::Name(format!("{} {serial}", seat.name).into()),
    }
}

/// Makes the session that a follower comes back to.
pub(super) async fn bind(seat: &mut Seat, filter: &str, qos: Qos) {
    let client = seat.open(named(&seat.name)).await;
    let mut receiving = client.receive_session().await;
    receiving.bind(vec![Binding::new(filter_of(filter), qos)]).await;
    seat.cut((receiving, client));
}

/// Receives what its session follows, is cut off, comes back, and finishes what it had begun.
pub(super) async fn follow(mut seat: Seat) {
    let mut follower = Follow { undecided: BTreeMap::new(), number: 0, finished: false };
    let open = named(&seat.name);
    while !follower.finished {
        follower.number += 1;
        let client = seat.open(open.clone()).await;
        if !client.opened().resumed {
            let now = seat.shared.now();
            seat.shared.ledger().violated(now, &seat.name, "I10: its session was not kept");
        }
        let ended = follower.connected(&mut seat, &client).await;
        seat.note(format_args!("is cut: {}", ended.as_ref().err().map_or("by itself", |error| error.kind().as_str())));
        seat.cut(client);
        seat.pause(400).await;
    }
}

struct Follow {
    /// Deliveries whose first half was asked, and whose second was not answered.
    undecided: BTreeMap<u16, u64>,
    number: u32,
    finished: bool,
}

impl Follow {
    async fn connected(&mut self, seat: &mut Seat, client: &Client) -> Result<()> {
        let mut receiving = client.try_receive_session().await?;
        self.finish(seat, &mut receiving).await?;
        let credit = |seat: &mut Seat| 1 + seat.random.below(8) as u32;
        receiving.grant(credit(seat));
        let mut quiet = 0;
        loop {
            seat.sabotage();
            let deliveries = receiving.try_soon_all().await?;
            let noted: Vec<_> = deliveries.into_iter().map(|delivery| (self.note(seat, &delivery), delivery)).collect();
            if noted.is_empty() {
                receiving.grant(credit(seat));
                quiet += 1;
                if quiet > if seat.is_carried() { 60 } else { 5 } && seat.shared.stopping.load(Ordering::Relaxed) {
                    self.finished = true;
                    return Ok(());
                }
            } else {
                quiet = 0;
                for (serial, delivery) in noted {
                    self.handle(seat, &mut receiving, serial, &delivery).await?;
                }
                receiving.grant(credit(seat));
            }
            let calm = quiet > 0 && seat.shared.stopping.load(Ordering::Relaxed);
            if seat.random.chance(3) && !calm {
                return Ok(());
            }
        }
    }

    /// The second half of what was decided; what was asked and is not among it, and does not come again, was over.
    async fn finish(&mut self, seat: &Seat, receiving: &mut Receiving) -> Result<()> {
        let left: Vec<Handle> = receiving.decided().iter().map(|left| left.handle).collect();
        for (slot, serial) in std::mem::take(&mut self.undecided) {
            if left.iter().any(|handle| handle.slot() == slot) {
                self.undecided.insert(slot, serial);
            } else {
                seat.shared.ledger().gone(&seat.name, serial);
            }
        }
        for handle in left {
            receiving.step_ref(handle.into(), Step::Settle).await?;
            if let Some(serial) = self.undecided.remove(&handle.slot()) {
                let mut ledger = seat.shared.ledger();
                ledger.decided(&seat.name, serial);
                ledger.finished(seat.shared.now(), &seat.name, &seat.name, serial);
            }
        }
        Ok(())
    }

    fn note(&self, seat: &Seat, delivery: &Delivery) -> u64 {
        let link = format!("{}#{}", seat.name, self.number);
        seat.shared.ledger().delivered(seat.shared.now(), &seat.name, &seat.name, &link, delivery)
    }

    async fn handle(
        &mut self,
        seat: &mut Seat,
        receiving: &mut Receiving,
        serial: u64,
        delivery: &Delivery,
    ) -> Result<()> {
        let name = seat.name.clone();
        let Some(handle) = delivery.handle else { return Ok(()) };
        if seat.random.chance(10) {
            seat.pause(100).await;
        }
        let settled = delivery.qos < Qos::ExactlyOnce;
        let outcome = Outcome::Accepted;
        let claim = Claim { place: &name, owner: &name, serial, attempt: delivery.attempt };
        seat.shared.ledger().settling(seat.shared.now(), &claim, &outcome);
        if !settled {
            self.undecided.insert(handle.slot(), serial);
        }
        let answer = receiving.step(delivery, Step::Outcome { outcome, settled }).await;
        let told = answer.as_ref().ok().copied();
        seat.shared.ledger().settled(seat.shared.now(), &claim, settled, told);
        answer?;
        if !settled {
            receiving.step(delivery, Step::Settle).await?;
            self.undecided.remove(&handle.slot());
            seat.shared.ledger().finished(seat.shared.now(), &name, &name, serial);
        }
        Ok(())
    }
}

/// Whether an answer says that a settlement was made.
pub(super) const fn applied(answer: &Result<Settled>) -> bool {
    matches!(answer, Ok(Settled::Applied))
}
