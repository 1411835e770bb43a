//! The laws, by what they are about.

use roadbed_core::Qos;

use crate::law::{Law, Need};

mod credit;
mod delivery;
mod hold;
mod life;
mod log;
mod outcome;
mod reconnect;
mod refusal;
mod routing;
mod transaction;

const ALO: Qos = Qos::AtLeastOnce;
const EO: Qos = Qos::ExactlyOnce;

macro_rules! laws {
    ($($module:ident::$name:ident [$($need:expr),*];)+) => {
        &[$(Law { name: stringify!($name), needs: &[$($need),*], run: |world| Box::pin($module::$name(world)) }),+]
    };
}

/// Every law.
pub fn laws() -> &'static [Law] {
    use Need::*;
    const LAWS: &[Law] = laws! {
        delivery::delivers_what_was_sent [];
        delivery::keeps_order_per_sender_and_destination [];
        delivery::payload_is_not_copied [Direct];
        delivery::confirm_means_taken [QosIn(ALO)];
        delivery::slow_consumer_costs_only_itself [];

        reconnect::redelivers_unsettled_after_reconnect [Resume, QosOut(ALO)];
        reconnect::exactly_once_across_reconnect [Resume, QosIn(EO), QosOut(EO)];
        reconnect::at_most_once_is_never_sent_twice [Resume];
        reconnect::session_resumes [Resume, QosOut(ALO)];
        reconnect::takeover_fences_the_loser [Resume, QosOut(ALO)];

        credit::never_exceeds_credit [];
        credit::window_bounds_unsettled [QosOut(ALO)];
        credit::credit_zero_stops_delivery [];
        credit::drain_ends [Drain];

        outcome::settling_twice_is_answered [QosOut(ALO)];
        outcome::rejected_is_not_redelivered [Rejected, QosOut(ALO)];
        outcome::released_keeps_the_count [Released, Queues];
        outcome::failed_counts [Failed, Queues];

        hold::late_ack_is_harmless [Queues, Leases];
        hold::lease_expires_and_counts [Queues, Leases];
        hold::lease_outlives_its_connection [Queues, Leases, SettleById];
        hold::renew_extends_the_lease [Queues, Leases, Renew];
        hold::competing_consumers_share [Queues];
        hold::exclusive_consumer_is_alone [Queues];
        hold::browse_takes_nothing [Queues, Browse];

        transaction::rollback_returns_messages [Transactions, Queues];
        transaction::commit_is_atomic [Transactions, Queues];
        transaction::transactions_have_a_scope [Transactions];
        transaction::outcomes_wait_for_the_commit [Transactions, Queues, Rejected, Released, Failed];
        transaction::what_was_given_up_comes_back_after_a_rollback [Transactions, Queues];
        transaction::transactions_time_out [Transactions, Queues];

        life::expired_is_never_delivered [Expiry];
        life::priority_goes_first [Priority];
        life::retained_reaches_a_new_binding [Retain, Bind];
        life::will_is_sent_once [Wills];
        life::close_is_idempotent [];
        life::drop_is_a_lost_connection [QosOut(ALO)];

        routing::shared_binding_delivers_once [Bind];
        routing::overlapping_bindings_deliver_once [Bind];
        routing::unbound_is_left_alone [Bind];

        log::log_keeps_order_per_group [Appends, QosIn(ALO)];
        log::log_readers_take_nothing [Logs];
        log::log_is_read_from_any_place [Logs];
        log::log_groups_read_independently [Logs, QosOut(ALO)];
        log::log_checkpoint_resumes [Logs, QosOut(ALO)];
        log::log_reader_goes_on_after_reconnect [Logs, QosOut(ALO)];
        log::log_higher_epoch_takes_over [Logs, QosOut(ALO)];
        log::log_is_managed [Logs, Manage];
        log::log_loses_only_the_oldest [Logs, QosOut(ALO)];
        log::log_checkpoint_waits_for_the_commit [Logs, Transactions, Queues];
        log::log_append_waits_for_the_commit [Appends, Transactions];

        refusal::no_route_is_told [Refusals, QosIn(ALO)];
        refusal::full_queue_refuses [Refusals, QosIn(ALO)];
        refusal::unsupported_is_an_error [];
    };
    LAWS
}
