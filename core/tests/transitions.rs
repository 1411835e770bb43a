//! The whole table of the delivery machine, its graph, and the sequences that real protocols produce.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;
use roadbed_core::{Condition, DeliveryState, Event, Note, Outcome, TxnId, Work};

use DeliveryState as S;
use Event as E;

const TXN: TxnId = TxnId(1);
const OTHER: TxnId = TxnId(2);
const ACCEPTED: Outcome = Outcome::Accepted;
const RELEASED: Outcome = Outcome::Released;
const FAILED: Outcome = Outcome::FAILED;

#[test]
fn table() {
    let mut table = String::new();
    for state in states() {
        for event in events() {
            writeln!(table, "{:<34} {:<28} {}", name_state(&state), name_event(&event), answer(&state, &event))
                .unwrap();
        }
        table.push('\n');
    }
    insta::assert_snapshot!("table", table);
}

#[test]
fn graph() {
    let mut edges: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for state in states() {
        for event in events() {
            if let Ok((to, Note::Moved)) = state.clone().on(event.clone()) {
                edges.entry((node(&state), node(&to))).or_default().insert(label(&event));
            }
        }
    }
    let mut dot = String::from("digraph delivery {\n    rankdir=LR;\n");
    for ((from, to), labels) in edges {
        let labels: Vec<_> = labels.into_iter().collect();
        writeln!(dot, "    {from:?} -> {to:?} [label={:?}];", labels.join("\n")).unwrap();
    }
    dot.push_str("}\n");
    insta::assert_snapshot!("graph", dot);
}

/// Drives `events` from `Ready` and returns the final state with the last note.
fn run(events: impl IntoIterator<Item = Event>) -> (DeliveryState, Note) {
    events.into_iter().fold((S::Ready, Note::Moved), |(state, _), event| state.on(event).expect("a legal sequence"))
}

const fn transfer(settled: bool) -> Event {
    E::Transfer { settled }
}

const fn dispose(outcome: Outcome, settled: bool) -> Event {
    E::Dispose { outcome, settled }
}

const fn enlist(work: Work) -> Event {
    E::Enlist { txn: TXN, work }
}

const fn discharge(commit: bool) -> Event {
    E::Discharge { txn: TXN, commit }
}

macro_rules! sequences {
    ($($(#[doc = $doc:literal])+ $name:ident: [$($event:expr),+ $(,)?] => $state:expr, $note:ident;)+) => {
        $($(#[doc = $doc])+ #[test] fn $name() { assert_eq!(run([$($event),+]), ($state, Note::$note)); })+
    };
}

sequences! {
    /// MQTT QoS 0, an AMQP transfer sent settled.
    at_most_once: [transfer(true)] => S::Settled(ACCEPTED), Moved;
    /// MQTT QoS 1, AMQP first.
    at_least_once: [transfer(false), dispose(ACCEPTED, true)] => S::Settled(ACCEPTED), Moved;
    /// MQTT QoS 2: PUBLISH, PUBREC, PUBCOMP.
    exactly_once: [transfer(false), dispose(ACCEPTED, false), E::Settle] => S::Settled(ACCEPTED), Moved;
    /// PUBREC was lost, the PUBLISH comes again; an AMQP transfer with resume.
    publish_again_after_pubrec: [transfer(false), dispose(ACCEPTED, false), transfer(false)]
        => S::Decided(ACCEPTED), Repeat;
    /// A duplicate before any answer.
    publish_again_before_pubrec: [transfer(false), transfer(false)] => S::InFlight, Repeat;
    /// AMQP: `accepted` unsettled, then `accepted` settled.
    disposed_then_settled: [transfer(false), dispose(ACCEPTED, false), dispose(ACCEPTED, true)]
        => S::Settled(ACCEPTED), Moved;
    /// The attach map repeats an outcome: the first one stands.
    first_outcome_stands: [transfer(false), dispose(RELEASED, false), dispose(ACCEPTED, false)]
        => S::Decided(RELEASED), Repeat;
    /// The sender settles first: it has expired.
    sender_settles_first: [transfer(false), E::Settle] => S::Settled(ACCEPTED), Moved;
    /// Only the last frame of a transfer says settled.
    settled_on_the_last_frame: [transfer(false), transfer(true)] => S::Settled(ACCEPTED), Moved;
    /// A transactional post, settled by its sender; committed.
    post_commits: [enlist(Work::Post), discharge(true)] => S::Settled(ACCEPTED), Moved;
    /// A transactional post, unsettled; rolled back.
    post_rolls_back: [transfer(false), enlist(Work::Post), discharge(false)] => S::Settled(RELEASED), Moved;
    /// Retired by its controller, who then settles; rolled back: the default outcome.
    retired_settled_rolled_back: [transfer(false), enlist(Work::Retire(ACCEPTED)), E::Settle, discharge(false)]
        => S::Settled(RELEASED), Moved;
    /// Rolled back: the controller has it again.
    retired_rolled_back: [transfer(false), enlist(Work::Retire(ACCEPTED)), discharge(false)] => S::InFlight, Moved;
    /// Two outcomes in one transaction: the last one wins.
    outcome_renamed: [transfer(false), enlist(Work::Retire(ACCEPTED)), enlist(Work::Retire(FAILED)), discharge(true)]
        => S::Decided(FAILED), Moved;
    /// Acquired without an outcome; committed: in flight as ever.
    acquired_committed: [enlist(Work::Acquire(None)), discharge(true)] => S::InFlight, Moved;
    /// Acquired, then named.
    acquired_named_committed: [enlist(Work::Acquire(None)), enlist(Work::Retire(ACCEPTED)), discharge(true)]
        => S::Decided(ACCEPTED), Moved;
    /// Acquired, the link is lost, committed: the link's default.
    acquired_lost_committed: [enlist(Work::Acquire(None)), E::Lapse(FAILED), discharge(true)]
        => S::Settled(FAILED), Moved;
    /// Acquired and rolled back.
    acquired_rolled_back: [enlist(Work::Acquire(None)), discharge(false)] => S::Settled(RELEASED), Moved;
    /// Enlisted deliveries are pinned: the lock's deadline does not take them away from the commit.
    enlisted_lapsed_committed: [transfer(false), enlist(Work::Retire(ACCEPTED)), E::Lapse(FAILED), discharge(true)]
        => S::Settled(ACCEPTED), Moved;
    /// Retired under "second": the outcome is applied, and the settle still to come.
    retired_second: [transfer(false), enlist(Work::Retire(ACCEPTED)), discharge(true), E::Settle]
        => S::Settled(ACCEPTED), Moved;
    /// An XMPP stream that was not resumed: released, not failed.
    lapse_says_how: [transfer(false), E::Lapse(RELEASED)] => S::Settled(RELEASED), Moved;
    /// A completion after the lock has lapsed: told, and changes nothing.
    late_completion: [transfer(false), E::Lapse(FAILED), dispose(ACCEPTED, true)] => S::Settled(FAILED), Late;
    /// A decision outlives its session.
    decided_lapses: [transfer(false), dispose(ACCEPTED, false), E::Lapse(FAILED)] => S::Settled(ACCEPTED), Moved;
    /// The link is gone before a byte was written.
    lost_before_the_first_byte: [E::Lapse(FAILED)] => S::Settled(RELEASED), Moved;
}

#[test]
fn another_transaction_is_the_peers_error() {
    let (state, _) = run([transfer(false), enlist(Work::Retire(ACCEPTED))]);
    let refused = state.clone().on(E::Enlist { txn: OTHER, work: Work::Retire(ACCEPTED) }).unwrap_err();
    assert_eq!(refused.state, state);
    assert!(state.on(E::Discharge { txn: OTHER, commit: true }).is_err());
}

proptest! {
    #[test]
    fn terminal_is_terminal(outcome in outcome(), event in event()) {
        prop_assert_eq!(S::Settled(outcome.clone()).on(event), Ok((S::Settled(outcome), Note::Late)));
    }

    /// Whatever happens: an outcome that is known never changes, a refusal changes nothing, and what a transaction
    /// has pinned only its own discharge unpins.
    #[test]
    fn any_history_keeps_its_promises(events in prop::collection::vec(event(), 0..24)) {
        let mut state = S::Ready;
        for event in events {
            let before = state.clone();
            match state.on(event.clone()) {
                Err(refused) => {
                    prop_assert_eq!(&refused.state, &before);
                    prop_assert_eq!(&refused.event, &event);
                    state = refused.state;
                }
                Ok((after, note)) => {
                    if let Some(known) = before.outcome() {
                        prop_assert_eq!(after.outcome(), Some(known));
                    }
                    if note != Note::Moved {
                        prop_assert_eq!(&after, &before);
                    }
                    if let S::Enlisted { txn, .. } = &before {
                        let own = matches!(&event, E::Discharge { txn: other, .. } if other == txn);
                        prop_assert_eq!(own, !matches!(after, S::Enlisted { .. }));
                    }
                    state = after;
                }
            }
        }
    }

    /// The end of an owner ends everything that no transaction has pinned.
    #[test]
    fn lapse_settles_what_is_not_enlisted(events in prop::collection::vec(event(), 0..12), default in outcome()) {
        let state = events.into_iter().fold(S::Ready, |state, event| {
            state.on(event).map_or_else(|refused| refused.state, |(state, _)| state)
        });
        let pinned = matches!(state, S::Enlisted { .. });
        let (after, _) = state.on(E::Lapse(default)).expect("an owner can end at any time");
        prop_assert_eq!(pinned, !matches!(after, S::Settled(_)));
    }
}

fn states() -> Vec<DeliveryState> {
    let mut states = vec![S::Ready, S::InFlight];
    let works = [Work::Post, Work::Acquire(None), Work::Acquire(Some(ACCEPTED)), Work::Retire(ACCEPTED)];
    for work in works {
        for ended in [None, Some(RELEASED)] {
            states.push(S::Enlisted { txn: TXN, work: work.clone(), ended });
        }
    }
    states.extend([S::Decided(ACCEPTED), S::Decided(FAILED), S::Settled(ACCEPTED), S::Settled(FAILED)]);
    states
}

fn events() -> Vec<Event> {
    let mut events = vec![transfer(false), transfer(true)];
    for outcome in [ACCEPTED, FAILED] {
        events.extend([false, true].map(|settled| dispose(outcome.clone(), settled)));
    }
    let works = [Work::Post, Work::Acquire(None), Work::Acquire(Some(FAILED)), Work::Retire(FAILED)];
    for txn in [TXN, OTHER] {
        events.extend(works.clone().map(|work| E::Enlist { txn, work }));
        events.extend([true, false].map(|commit| E::Discharge { txn, commit }));
    }
    events.extend([E::Settle, E::Lapse(RELEASED), E::Lapse(FAILED)]);
    events
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(ACCEPTED),
        Just(RELEASED),
        Just(Outcome::rejected(Condition::Refused)),
        any::<(bool, bool)>().prop_map(|(delivery_failed, undeliverable_here)| Outcome::Modified {
            delivery_failed,
            undeliverable_here
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let txn = || prop_oneof![Just(TXN), Just(OTHER)];
    let work = prop_oneof![
        Just(Work::Post),
        prop::option::of(outcome()).prop_map(Work::Acquire),
        outcome().prop_map(Work::Retire),
    ];
    prop_oneof![
        any::<bool>().prop_map(transfer),
        (outcome(), any::<bool>()).prop_map(|(outcome, settled)| dispose(outcome, settled)),
        (txn(), work).prop_map(|(txn, work)| E::Enlist { txn, work }),
        (txn(), any::<bool>()).prop_map(|(txn, commit)| E::Discharge { txn, commit }),
        Just(E::Settle),
        outcome().prop_map(E::Lapse),
    ]
}

fn answer(state: &DeliveryState, event: &Event) -> String {
    match state.clone().on(event.clone()) {
        Err(_) => "not legal".into(),
        Ok((_, Note::Late)) => "same, late".into(),
        Ok((_, Note::Repeat)) => "same, repeat".into(),
        Ok((to, Note::Moved)) => name_state(&to),
    }
}

fn name_outcome(outcome: &Outcome) -> &str {
    if *outcome == FAILED { "failed" } else { outcome.as_str() }
}

fn name_work(work: &Work) -> String {
    match work {
        Work::Post => "post".into(),
        Work::Acquire(None) => "acquire".into(),
        Work::Acquire(Some(outcome)) => format!("acquire {}", name_outcome(outcome)),
        Work::Retire(outcome) => format!("retire {}", name_outcome(outcome)),
    }
}

fn name_state(state: &DeliveryState) -> String {
    match state {
        S::Ready => "Ready".into(),
        S::InFlight => "InFlight".into(),
        S::Enlisted { work, ended: None, .. } => format!("Enlisted {}", name_work(work)),
        S::Enlisted { work, ended: Some(ended), .. } => {
            format!("Enlisted {}, ended {}", name_work(work), name_outcome(ended))
        }
        S::Decided(outcome) => format!("Decided {}", name_outcome(outcome)),
        S::Settled(outcome) => format!("Settled {}", name_outcome(outcome)),
    }
}

fn name_event(event: &Event) -> String {
    let settled = |settled: bool| if settled { " settled" } else { "" };
    let other = |txn: TxnId| if txn == TXN { "" } else { ", other txn" };
    match event {
        E::Transfer { settled: is } => format!("Transfer{}", settled(*is)),
        E::Dispose { outcome, settled: is } => format!("Dispose {}{}", name_outcome(outcome), settled(*is)),
        E::Enlist { txn, work } => format!("Enlist {}{}", name_work(work), other(*txn)),
        E::Discharge { txn, commit: true } => format!("Commit{}", other(*txn)),
        E::Discharge { txn, commit: false } => format!("Rollback{}", other(*txn)),
        E::Settle => "Settle".into(),
        E::Lapse(outcome) => format!("Lapse {}", name_outcome(outcome)),
    }
}

fn node(state: &DeliveryState) -> String {
    let name = match state {
        S::Ready => "Ready",
        S::InFlight => "InFlight",
        S::Enlisted { work: Work::Post, .. } => "Enlisted post",
        S::Enlisted { work: Work::Acquire(_), .. } => "Enlisted acquire",
        S::Enlisted { work: Work::Retire(_), .. } => "Enlisted retire",
        S::Decided(_) => "Decided",
        S::Settled(_) => "Settled",
    };
    name.into()
}

fn label(event: &Event) -> String {
    match event {
        E::Transfer { .. } => name_event(event),
        E::Dispose { settled: false, .. } => "Dispose".into(),
        E::Dispose { settled: true, .. } => "Dispose settled".into(),
        E::Enlist { work: Work::Post, .. } => "Enlist post".into(),
        E::Enlist { work: Work::Acquire(_), .. } => "Enlist acquire".into(),
        E::Enlist { work: Work::Retire(_), .. } => "Enlist retire".into(),
        E::Discharge { commit: true, .. } => "Commit".into(),
        E::Discharge { commit: false, .. } => "Rollback".into(),
        E::Settle => "Settle".into(),
        E::Lapse(_) => "Lapse".into(),
    }
}
