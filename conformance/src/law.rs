//! A law, and what an endpoint must be able to do for it to apply.

use std::fmt;

use roadbed_core::{Capabilities, Qos, Transactions};

use crate::world::{Boxed, World};

/// One law that every endpoint keeps, as far as its capabilities go.
#[derive(Clone, Copy)]
pub struct Law {
    /// Its name.
    pub name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(World) -> Boxed<()>,
}

impl Law {
    /// Why the law does not apply in `world`: the capability that is lacking, with the section of the settlement tables
    /// that has no place for it. `None`: it applies.
    pub fn lacks(&self, world: &World) -> Option<String> {
        self.needs.iter().find_map(|need| need.lack(world))
    }

    /// Tries the law in a fresh `world`.
    ///
    /// # Panics
    /// If the endpoint breaks the law.
    pub async fn run(&self, world: World) {
        (self.run)(world).await;
    }
}

impl fmt::Debug for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Law").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

/// What a law needs of the endpoint under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Sending with this assurance.
    QosIn(Qos),
    /// Receiving with this assurance.
    QosOut(Qos),
    Rejected,
    Released,
    Failed,
    Drain,
    Bind,
    Queues,
    Browse,
    Resume,
    Leases,
    Renew,
    SettleById,
    Transactions,
    Refusals,
    Expiry,
    Priority,
    Wills,
    Retain,
    /// Declaring and the like.
    Manage,
    /// Reading logs.
    Logs,
    /// Logs behind the endpoint, which are read there.
    Appends,
    /// Both sides in this process, so that the place of a payload can be seen.
    Direct,
}

impl Need {
    fn lack(self, world: &World) -> Option<String> {
        if self == Self::Direct {
            return (!world.is_direct()).then(|| "the payload's place cannot be seen over a carrier".into());
        }
        if self == Self::Appends {
            return (!world.inner().capabilities().logs).then(|| "no logs behind it: settlement, section 4".into());
        }
        let (has, section) = self.of(world.can());
        (!has).then(|| format!("no {self}: settlement, section {section}"))
    }

    /// Whether it is there, and the section that says what becomes of those who lack it.
    fn of(self, can: &Capabilities) -> (bool, &'static str) {
        match self {
            Self::QosIn(qos) => (can.qos_in >= qos, "5, M1"),
            Self::QosOut(qos) => (can.qos_out >= qos, "5, M1"),
            Self::Rejected => (can.outcomes.rejected, "4"),
            Self::Released => (can.outcomes.released, "4"),
            Self::Failed => (can.outcomes.modified, "4"),
            Self::Drain => (can.drain, "5, M8"),
            Self::Bind => (can.bind, "3"),
            Self::Queues => (can.queues, "4"),
            Self::Browse => (can.browse, "2"),
            Self::Resume => (can.resume, "2"),
            Self::Leases => (can.leases, "4"),
            Self::Renew => (can.renew, "4"),
            Self::SettleById => (can.settle_by_id, "4"),
            Self::Transactions => (can.transactions > Transactions::None, "7"),
            Self::Refusals => (can.refusals, "3"),
            Self::Expiry => (can.expiry, "5, M4"),
            Self::Priority => (can.priority, "5, M9"),
            Self::Wills => (can.wills, "5, M7"),
            Self::Retain => (can.retain, "5, M6"),
            Self::Manage => (can.manage, "3"),
            Self::Logs => (can.logs, "4"),
            Self::Direct | Self::Appends => (true, ""),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QosIn(Qos::ExactlyOnce) => "exactly once inward",
            Self::QosIn(_) => "at least once inward",
            Self::QosOut(Qos::ExactlyOnce) => "exactly once outward",
            Self::QosOut(_) => "at least once outward",
            Self::Rejected => "rejection",
            Self::Released => "release",
            Self::Failed => "failure",
            Self::Drain => "drain",
            Self::Bind => "binding of its own",
            Self::Queues => "queue by its address",
            Self::Browse => "browsing",
            Self::Resume => "kept session",
            Self::Leases => "lease",
            Self::Renew => "renewal",
            Self::SettleById => "settlement by name",
            Self::Transactions => "transaction",
            Self::Refusals => "refusal",
            Self::Expiry => "time to live",
            Self::Priority => "priority",
            Self::Wills => "will",
            Self::Retain => "retained value",
            Self::Manage => "management",
            Self::Logs | Self::Appends => "reading of logs",
            Self::Direct => "sight of the payload",
        })
    }
}
