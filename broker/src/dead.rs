//! Dead letters: ordinary queues at `$dead/NAME`, and feedback for missed deadlines.

use std::sync::Arc;

use bytestring::ByteString;
use roadbed_core::{Address, Message, Qos, QueueSettings, Reason, Time, Value};

use crate::broker::Shared;
use crate::mailbox::Effects;
use crate::queue::{Dead, Missed, Queue};
use crate::store::{NewCopy, Op};

impl Shared {
    /// Moves copies that came to a bad end to their dead letters.
    pub(crate) fn bury_all(&self, dead: Vec<Dead>) {
        if !dead.is_empty() {
            self.finish(Effects::default(), dead);
        }
    }

    /// The same, as part of a larger promise: the end of the copy and its dead letter are one unit.
    pub(crate) fn bury_into(&self, dead: Vec<Dead>, effects: &mut Effects) {
        let (dead, away): (Vec<_>, Vec<_>) = dead.into_iter().partition(|dead| !dead.copy.is_away());
        self.read_each(
            away.into_iter().map(|dead| (dead.queue.copy_id(dead.copy.seq), dead)).collect(),
            |shared, read| {
                let dead = read.into_iter().map(|(dead, found)| dead.with(found.message)).collect();
                shared.bury_all(dead);
            },
        );
        for Dead { queue, copy, reason } in dead {
            let gone = queue.copy_id(copy.seq);
            let Some(message) = &copy.message else { continue };
            let letter = dead_letter(message, queue.address(), &reason, copy.count(), self.now());
            let stored = copy.stored;
            if stored {
                effects.ops.push(Op::Retire { copy: gone });
                effects.waits = true;
            }
            let Some(grave) = self.grave(queue.address()) else { continue };
            if grave.reserve(self, std::slice::from_ref(&letter)).is_err() {
                self.meters.dropped_attempts.one();
                continue;
            }
            self.meters.dead_lettered.one();
            let qos = copy.qos.max(Qos::AtLeastOnce);
            if stored {
                let seq = grave.take_seq(self);
                let copy = NewCopy { copy: grave.copy_id(seq), qos, retained: false, bindings: Vec::new() };
                effects.ops.push(Op::Enqueue { message: letter.clone(), at: self.now(), copies: vec![copy] });
                let letter = Letter { grave, message: letter, qos, seq, put: false };
                effects.then.push(Box::new(move |shared| letter.put(shared)));
            } else {
                grave.put(self, &letter, qos, (None, false), true);
            }
        }
    }

    /// The queue of the dead letters of `address`.
    fn grave(&self, address: &Address) -> Option<Arc<Queue>> {
        let name = address.queue()?;
        let at = Address::new(format!("$dead/{name}")).ok()?;
        let settings = QueueSettings {
            deliveries_max: 0,
            dead_letters: false,
            overflow: roadbed_core::Overflow::DropOldest,
            ..self.settings.queue()
        };
        self.queue_or_new(&at, Some(settings)).ok()
    }

    /// Tells the senders of messages whose deadlines were missed.
    pub(crate) fn feed_back_all(&self, missed: Vec<Missed>) {
        let mut away = Vec::new();
        for missed in missed {
            match missed {
                Missed::Here(message) => self.feed_back(&message, self.now()),
                Missed::Away(copy) => away.push((copy, ())),
            }
        }
        self.read_each(away, |shared, read| {
            read.iter().for_each(|((), found)| shared.feed_back(&found.message, shared.now()));
        });
    }

    /// Tells the sender that a deadline was missed: at the message's reply address, else at `$feedback/ADDRESS`.
    fn feed_back(&self, message: &Message, now: Time) {
        self.meters.deadlines_missed.one();
        let fallback = || Address::new(format!("$feedback/{}", message.address())).ok();
        let Some(to) = message.details().reply_to.clone().or_else(fallback) else { return };
        let feedback = Message::builder(to, "").details(|details| {
            details.subject = Some(ByteString::from_static("deadline-missed"));
            details.correlation_id = message.details().message_id.clone().or(message.details().correlation_id.clone());
            details.annotations.push("roadbed-reason", "deadline-missed");
            details.annotations.push("roadbed-source", message.address().name().clone());
            details.annotations.push("roadbed-time", Value::Timestamp(now.as_millis() as i64));
        });
        self.publish(&feedback.build(), Qos::AtLeastOnce);
    }
}

/// A dead letter on its way through the store, with the room for it; given back if it does not come.
struct Letter {
    grave: Arc<Queue>,
    message: Message,
    qos: Qos,
    seq: u64,
    put: bool,
}

impl Letter {
    fn put(mut self, shared: &Shared) {
        self.put = true;
        self.grave.put(shared, &self.message, self.qos, (Some(self.seq), true), true);
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if !self.put {
            self.grave.unreserve(std::slice::from_ref(&self.message));
        }
    }
}

impl Dead {
    fn with(mut self, message: Message) -> Self {
        self.copy.message = Some(message);
        self
    }
}

/// The same message, with what happened to it in the broker's own annotations.
fn dead_letter(message: &Message, source: &Address, reason: &Reason, count: u32, now: Time) -> Message {
    let letter = message.to_builder().expires_at(None).retain(false).details(|details| {
        (details.deliver_after, details.deadline) = (None, None);
        details.annotations.push("roadbed-reason", reason.condition.as_str());
        details.annotations.push("roadbed-source", source.name().clone());
        details.annotations.push("roadbed-count", u64::from(count));
        details.annotations.push("roadbed-time", Value::Timestamp(now.as_millis() as i64));
        if let Some(text) = &reason.text {
            details.annotations.push("roadbed-error", text.as_str());
        }
    });
    letter.build().detach()
}
