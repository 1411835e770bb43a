use arbitrary::{Result, Unstructured};
use roadbed_core::{Condition, DeliveryState, Event, Outcome, TxnId, Work};

mod facts;

use facts::Facts;

/// The delivery machine against a list of facts about the delivery, which knows no states.
pub fn delivery(data: &[u8]) {
    // At the end of the data there is nothing more to do.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut state, mut facts) = (DeliveryState::default(), Facts::default());
    while !u.is_empty() {
        let event = event(u)?;
        let before = (state.clone(), facts.clone());
        let expected = facts.expect(event.clone());
        match state.on(event.clone()) {
            Ok((next, note)) => {
                assert_eq!(Some(note), expected, "{before:?} {event:?}");
                state = next;
            }
            Err(refused) => {
                assert_eq!(expected, None, "{before:?} {event:?}");
                assert_eq!((&refused.state, &refused.event), (&before.0, &event), "a refusal changes nothing");
                (state, facts) = before;
                continue;
            }
        }
        assert_eq!(state.outcome(), facts.decided.as_ref(), "{before:?} {event:?}");
        assert_eq!(matches!(state, DeliveryState::Settled(_)), facts.settled, "{before:?} {event:?}");
        assert_eq!(matches!(state, DeliveryState::Enlisted { .. }), facts.pinned.is_some(), "{before:?} {event:?}");
        if let Some(first) = before.0.outcome() {
            assert_eq!(state.outcome(), Some(first), "an outcome that is known does not change");
        }
    }
    Ok(())
}

fn event(u: &mut Unstructured<'_>) -> Result<Event> {
    Ok(match u.arbitrary::<u8>()? % 7 {
        0 => Event::Transfer { settled: u.arbitrary()? },
        1 | 2 => Event::Dispose { outcome: outcome(u)?, settled: u.arbitrary()? },
        3 => Event::Enlist { txn: txn(u)?, work: work(u)? },
        4 => Event::Discharge { txn: txn(u)?, commit: u.arbitrary()? },
        5 => Event::Settle,
        _ => Event::Lapse(outcome(u)?),
    })
}

fn work(u: &mut Unstructured<'_>) -> Result<Work> {
    Ok(match u.arbitrary::<u8>()? % 4 {
        0 => Work::Post,
        1 => Work::Acquire(None),
        2 => Work::Acquire(Some(outcome(u)?)),
        _ => Work::Retire(outcome(u)?),
    })
}

fn outcome(u: &mut Unstructured<'_>) -> Result<Outcome> {
    Ok(match u.arbitrary::<u8>()? % 5 {
        0 => Outcome::Accepted,
        1 => Outcome::rejected(*u.choose(Condition::ALL)?),
        2 => Outcome::Released,
        3 => Outcome::FAILED,
        _ => Outcome::Modified { delivery_failed: u.arbitrary()?, undeliverable_here: u.arbitrary()? },
    })
}

fn txn(u: &mut Unstructured<'_>) -> Result<TxnId> {
    Ok(TxnId(u64::from(u.arbitrary::<u8>()? % 2)))
}
