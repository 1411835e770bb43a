//! What the signals of a log's reader do to the checkpoint of its group.

use roadbed::settlement::{Reached, Reading};

use super::control::Control;
use super::peer::{Attach, Peer, state, transactional};
use super::server::Served;
use crate::Result;
use crate::stage::Stage;
use crate::tell::same;

const ADDRESS: &str = "logs/l/ConsumerGroups/g/Partitions/0";

/// The first of two messages is treated as the signal says, the second is accepted: the checkpoint is behind both, or before the first.
pub(super) async fn cell(cell: &Reading) -> Result {
    let stage = Stage::with_log().await?;
    let served = Served::permissive(&stage).await?;
    let mut peer = Peer::connect(&served).await?;
    let (signal, default_outcome) = match cell.signal.split_once(", default-outcome ") {
        Some((signal, outcome)) => (signal, Some(state(outcome))),
        None => (cell.signal, None),
    };
    let settled = signal == "transfer, settled";
    let link = peer.link(&Attach { settled, default_outcome, ..Attach::receiver("reader", ADDRESS) }).await?;
    peer.grant(link, 0, 2).await?;
    let (first, second) = (peer.receive().await?, peer.receive().await?);
    same("the payloads", (first.payload(), second.payload()), (&b"first"[..], &b"second"[..]))?;
    same("settled", (first.settled, second.settled), (settled, settled))?;
    let before = if settled { 2 } else { 0 };
    stage.reaches(before).await?;
    if !settled {
        peer.dispose(true, second.number, true, state("accepted")).await?;
        peer.echo_before().await?;
        stage.reaches(before).await?;
    }
    let (said, how) = match signal.split_once(", then ") {
        Some((said, how)) => (said, Some(how)),
        None => (signal, None),
    };
    let (said, settles) = match said.strip_suffix(", settled") {
        Some(said) => (said, true),
        None => (said, false),
    };
    match (said, said.strip_prefix("transactional ")) {
        ("transfer" | "silence", _) => {}
        ("detach closed", _) => peer.detach(link, true).await?,
        ("connection lost", _) => peer.cut().await,
        (_, Some(outcome)) => {
            let control = Control::declare(&mut peer).await?;
            let named = transactional(&control.txn, state(outcome));
            peer.dispose(true, first.number, settles, named).await?;
            peer.echo_before().await?;
            stage.reaches(before).await?;
            if let Some(how) = how {
                same("the discharge", control.discharge(&mut peer, how == "rollback").await?.as_str(), "accepted")?;
            }
        }
        _ => peer.dispose(true, first.number, settles, state(said)).await?,
    }
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    stage.reaches(if cell.reached == Reached::Past { 2 } else { before }).await?;
    drop(served);
    Ok(())
}
