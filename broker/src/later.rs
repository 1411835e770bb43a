//! Messages to topics that are not to be delivered yet: they wait in a queue of the broker's own, as durable as they are, and
//! are routed when their time has come.

use std::sync::{Arc, Mutex};

use roadbed_core::{Address, Condition, CopyId, Message, Qos, QueueSettings};

use crate::broker::Shared;
use crate::dispatch::{Plan, Verdict};
use crate::lock;
use crate::mailbox::Effects;
use crate::queue::{Copy, Queue};
use crate::router::Route;
use crate::store::Op;

/// Where they wait. No client can send there: wildcards do not match it, and it is not routed to.
const LATER: &str = "$later/topics";

/// How a plan is made.
type Make = fn(&Shared, &Route, &Message, Qos, u64) -> Result<Plan, Verdict>;

impl Shared {
    /// The queue of messages to topics that wait for their time.
    pub(crate) fn later(&self) -> Result<Arc<Queue>, Condition> {
        let address = Address::from_checked(LATER.into());
        let settings = QueueSettings { dead_letters: false, priorities: false, ..self.settings.queue() };
        self.queue_or_new(&address, Some(settings)).map_err(|_| Condition::Full)
    }

    /// Routes what is due. The end of a waiting copy and its fan-out are one unit.
    pub(crate) fn send_due(&self, queue: &Arc<Queue>) {
        if queue.address().as_str() != LATER {
            return;
        }
        let mut away = Vec::new();
        for Copy { message, seq, qos, stored, .. } in queue.take_available(self) {
            let copy = queue.copy_id(seq);
            match message {
                Some(message) => self.send_now(&message, qos, stored.then_some(copy)),
                None => away.push((copy, qos)),
            }
        }
        self.read_each(away, |shared, read| {
            for (qos, found) in read {
                shared.send_now(&found.message, qos, Some(found.copy.copy));
            }
        });
    }

    fn send_now(&self, message: &Message, qos: Qos, stored: Option<CopyId>) {
        let gone = stored.map(|copy| Op::Retire { copy });
        let message = message.to_builder().details(|details| details.deliver_after = None).build();
        // Its sender was told that it is taken: a full queue does not refuse it now.
        self.publish_planned(&message, qos, gone, Plan::promised);
    }

    /// Sends a message of the broker's own. Nobody is told how that went, but the counters are.
    pub(crate) fn publish(&self, message: &Message, qos: Qos) {
        self.publish_with(message, qos, None);
    }

    /// The same; `op` is in the same unit.
    pub(crate) fn publish_with(&self, message: &Message, qos: Qos, op: Option<Op>) {
        self.publish_planned(message, qos, op, Plan::new);
    }

    fn publish_planned(&self, message: &Message, qos: Qos, op: Option<Op>, make: Make) {
        let route = self.route(message.address()).map_err(Verdict::Refused);
        let plan = route.and_then(|route| make(self, &route, message, qos, 0));
        let mut ops: Vec<Op> = op.into_iter().collect();
        match plan {
            Ok(plan) if !plan.stored => plan.apply(self),
            Ok(mut plan) => {
                let slot = Arc::new(Mutex::new(None));
                let planned = slot.clone();
                let make = || {
                    plan.ops(self, &mut ops);
                    *lock(&planned) = Some(plan);
                    (Vec::new(), ops)
                };
                let then = move |shared: &Shared, result: Result<(), _>| {
                    if let (Ok(()), Some(plan)) = (result, lock(&slot).take()) {
                        plan.apply(shared);
                    }
                };
                return self.commits.submit(self, make, Box::new(then));
            }
            Err(verdict) => self.count_refusal(verdict),
        }
        self.finish(Effects { ops, ..Effects::default() }, Vec::new());
    }
}
