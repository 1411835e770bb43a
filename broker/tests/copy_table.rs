//! The whole table of a copy's states, and that its hold agrees with the delivery machine.

use roadbed_broker::{CopyEvent, CopyState, NotApplicable};
use roadbed_core::{Condition, DeliveryState, Event, Note, Outcome, TxnId, Work};

const TXN: TxnId = TxnId(1);

fn enlisted(work: Work) -> DeliveryState {
    DeliveryState::Enlisted { txn: TXN, work, ended: None }
}

fn states() -> Vec<(&'static str, CopyState)> {
    let retired = CopyState::Retired { outcome: Outcome::Accepted, dead: None };
    vec![
        ("Scheduled", CopyState::Scheduled),
        ("Available", CopyState::Available),
        ("Held InFlight", CopyState::Held(DeliveryState::InFlight)),
        ("Held Enlisted Acquire", CopyState::Held(enlisted(Work::Acquire(None)))),
        ("Held Enlisted Retire", CopyState::Held(enlisted(Work::Retire(Outcome::Accepted)))),
        ("Held Decided", CopyState::Held(DeliveryState::Decided(Outcome::Accepted))),
        ("Held Decided Released", CopyState::Held(DeliveryState::Decided(Outcome::Released))),
        ("Retired", retired),
    ]
}

fn deliveries() -> Vec<(&'static str, Event)> {
    let dispose = |outcome, settled| Event::Dispose { outcome, settled };
    let retire = Event::Enlist { txn: TXN, work: Work::Retire(Outcome::Accepted) };
    vec![
        ("transfer again", Event::Transfer { settled: false }),
        ("accept", dispose(Outcome::Accepted, true)),
        ("accept, unsettled", dispose(Outcome::Accepted, false)),
        ("reject", dispose(Outcome::rejected(Condition::Refused), true)),
        ("release", dispose(Outcome::Released, true)),
        ("modify", dispose(Outcome::FAILED, true)),
        ("settle", Event::Settle),
        ("enlist", retire),
        ("commit", Event::Discharge { txn: TXN, commit: true }),
        ("roll back", Event::Discharge { txn: TXN, commit: false }),
        ("lapse failed", Event::Lapse(Outcome::FAILED)),
    ]
}

fn events() -> Vec<(&'static str, CopyEvent)> {
    let mut events = vec![
        ("due", CopyEvent::Due),
        ("acquire", CopyEvent::Acquire { txn: None, settled: false }),
        ("acquire settled", CopyEvent::Acquire { txn: None, settled: true }),
        ("acquire in a transaction", CopyEvent::Acquire { txn: Some(TXN), settled: false }),
        ("count reached", CopyEvent::CountReached),
        ("lease ends", CopyEvent::LeaseEnds),
        ("renew", CopyEvent::Renew),
        ("owner gone, failed", CopyEvent::OwnerGone(Outcome::FAILED)),
        ("owner gone, released", CopyEvent::OwnerGone(Outcome::Released)),
        ("expire", CopyEvent::Expire),
        ("purge", CopyEvent::Purge),
        ("displace", CopyEvent::Displace),
        ("nobody left", CopyEvent::NobodyLeft),
        ("delete", CopyEvent::Delete),
        ("replay, stored", CopyEvent::Replay { stored: true }),
        ("replay, not stored", CopyEvent::Replay { stored: false }),
    ];
    events.extend(deliveries().into_iter().map(|(name, event)| (name, CopyEvent::Delivery(event))));
    events
}

fn show(result: &Result<(CopyState, Note), NotApplicable>) -> String {
    match result {
        Err(NotApplicable) => "n/a".into(),
        Ok((state, note)) => format!("{} ({note:?})", name(state)),
    }
}

fn name(state: &CopyState) -> String {
    match state {
        CopyState::Held(DeliveryState::Enlisted { work, ended, .. }) => match ended {
            Some(ended) => format!("Held Enlisted {work:?}, ended {ended}"),
            None => format!("Held Enlisted {work:?}"),
        },
        CopyState::Held(state) => format!("Held {state:?}"),
        CopyState::Retired { outcome, dead: Some(dead) } => format!("Retired {outcome}, dead letter: {dead}"),
        CopyState::Retired { outcome, dead: None } => format!("Retired {outcome}"),
        state => format!("{state:?}"),
    }
}

#[test]
fn the_table() {
    let mut table = String::new();
    for (from, state) in states() {
        for (event, what) in events() {
            table += &format!("{from:<22} | {event:<24} | {}\n", show(&state.on(what)));
        }
        table += "\n";
    }
    insta::assert_snapshot!(table);
}

/// What is held takes exactly the steps of the delivery machine; its end is the copy's, or gives the copy back.
#[test]
fn a_hold_is_a_delivery() {
    for (_, state) in states() {
        let CopyState::Held(delivery) = &state else { continue };
        for (name, event) in deliveries() {
            let (copy, machine) = (state.on(CopyEvent::Delivery(event.clone())), delivery.clone().on(event));
            match (copy, machine) {
                (Err(NotApplicable), Err(_)) => {}
                (Ok((CopyState::Held(held), note)), Ok((next, other))) => assert_eq!((held, note), (next, other)),
                (Ok((CopyState::Available, _)), Ok((DeliveryState::Settled(outcome), _))) => {
                    assert!(!outcome.is_final(), "{name}: {outcome}");
                }
                (Ok((CopyState::Retired { outcome, .. }, _)), Ok((DeliveryState::Settled(ended), _))) => {
                    assert!(ended.is_final() && outcome == ended, "{name}: {outcome}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// Terminal is terminal: nothing moves a retired copy.
#[test]
fn retired_is_retired() {
    let retired = CopyState::Retired { outcome: Outcome::Accepted, dead: None };
    for (name, event) in events() {
        assert_eq!(retired.on(event), Ok((retired.clone(), Note::Late)), "{name}");
    }
}
