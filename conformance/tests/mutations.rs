//! The laws can fail: each of them notices the fault that it is there for.

mod faulty;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use faulty::{Fault, faulty};
use roadbed_broker::Broker;
use roadbed_conformance::{Boxed, Fixture, World, check, laws};
use roadbed_core::{Clock, Endpoint, ManualClock, Time};

struct Mutant(Option<Fault>);

impl Fixture for Mutant {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    fn world(&self) -> Boxed<World> {
        let fault = self.0;
        Box::pin(async move {
            let clock = Arc::new(ManualClock::at(Time::from_millis(1_800_000_000_000)));
            let broker = Broker::builder().clock(clock.clone()).build().expect("a broker can be built");
            let inner: Arc<dyn Endpoint> = Arc::new(broker.clone());
            let endpoint = match fault {
                Some(fault) => faulty(Arc::clone(&inner), fault),
                None => Arc::clone(&inner),
            };
            let due = clock.clone();
            World::over(inner, endpoint).clock(clock).on_advance(move || {
                broker.handle_timeout(due.now());
            })
        })
    }

    fn paused(&self) -> bool {
        true
    }
}

/// The law that is there for a fault.
fn law_against(fault: Fault) -> &'static str {
    match fault {
        Fault::LosesWhatItConfirms | Fault::ConfirmsEarly => "confirm_means_taken",
        Fault::TakesTwice | Fault::Reorders => "keeps_order_per_sender_and_destination",
        Fault::CorruptsPayloads | Fault::SortsProperties => "delivers_what_was_sent",
        Fault::ForgetsKeys => "exactly_once_across_reconnect",
        Fault::CopiesPayloads => "payload_is_not_copied",
        Fault::ForgetsPriority => "priority_goes_first",
        Fault::ForgetsExpiry => "expired_is_never_delivered",
        Fault::ForgetsRetain | Fault::IgnoresRetainHandling => "retained_reaches_a_new_binding",
        Fault::HidesRefusals => "full_queue_refuses",
        Fault::ForgetsScope => "transactions_have_a_scope",
        Fault::ExceedsCredit => "never_exceeds_credit",
        Fault::KeepsCredit => "credit_zero_stops_delivery",
        Fault::NeverDrains => "drain_ends",
        Fault::IgnoresWindow => "window_bounds_unsettled",
        Fault::AcksBeforeTheReceiver | Fault::DropAccepts => "redelivers_unsettled_after_reconnect",
        Fault::SwallowsSettlements => "rejected_is_not_redelivered",
        Fault::AppliesLate => "settling_twice_is_answered",
        Fault::ReleasesRejected => "rejected_is_not_redelivered",
        Fault::CountsReleases => "released_keeps_the_count",
        Fault::ForgetsFailures => "failed_counts",
        Fault::LeasesForEver => "lease_expires_and_counts",
        Fault::ForgetsRenewals => "renew_extends_the_lease",
        Fault::SharesExclusive => "exclusive_consumer_is_alone",
        Fault::BrowsingTakes => "browse_takes_nothing",
        Fault::ForgetsGroups => "shared_binding_delivers_once",
        Fault::ForgetsUnbind => "unbound_is_left_alone",
        Fault::ForgetsBindingIds => "overlapping_bindings_deliver_once",
        Fault::ForgetsWills | Fault::SendsWillAlways => "will_is_sent_once",
        Fault::ForgetsSessions => "session_resumes",
        Fault::IgnoresTakeover => "takeover_fences_the_loser",
        Fault::HangsOnSecondClose => "close_is_idempotent",
        Fault::CommitsOnRollback => "rollback_returns_messages",
        Fault::SendsBeforeCommit => "commit_is_atomic",
        Fault::DeclaresLess => "unsupported_is_an_error",
        Fault::RepeatsAtMostOnce => "at_most_once_is_never_sent_twice",
    }
}

fn breaks(fixture: &Mutant, law: &str) -> bool {
    let law = laws().iter().find(|found| found.name == law).expect("a law of this name");
    catch_unwind(AssertUnwindSafe(|| check(fixture, law))).is_err()
}

#[test]
fn every_fault_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let unnoticed: Vec<_> =
        Fault::ALL.iter().filter(|fault| !breaks(&Mutant(Some(**fault)), law_against(**fault))).collect();
    let _default = std::panic::take_hook();
    assert!(unnoticed.is_empty(), "nobody notices {unnoticed:?}");
}

#[test]
fn without_a_fault_nothing_is_noticed() {
    for law in laws().iter().filter(|law| law.name != "payload_is_not_copied") {
        check(&Mutant(None), law);
    }
}
