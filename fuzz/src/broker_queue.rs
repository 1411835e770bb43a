use std::task::{Context, Waker};

use arbitrary::{Result, Unstructured};

mod model;
mod rig;

use model::{Model, Sent};
use rig::Rig;

/// How many consumers compete.
const CONSUMERS: usize = 3;

/// One queue of the broker against a list of copies: what is sent, received, settled, and what time does to it. Nothing is lost, nothing is there twice, the order
/// is that of the list and the counts are exact.
pub fn broker_queue(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let priorities = u.arbitrary().unwrap_or_default();
    let mut rig = Rig::new(priorities);
    let mut model = Model::new(priorities, rig.now());
    // At the end of the data there is nothing more to do.
    let _ = run(&mut u, &mut rig, &mut model);
    rig.compare(&model);
    rig.autopsy(&model);
}

fn run(u: &mut Unstructured<'_>, rig: &mut Rig, model: &mut Model) -> Result<()> {
    while !u.is_empty() {
        let op = u.arbitrary::<u8>()?;
        let by = usize::from(op / 16) % CONSUMERS;
        match op % 16 {
            0..=3 => {
                let sent = Sent::read(u, model.next_number(), rig.now())?;
                assert_eq!(rig.send(&sent), model.send(sent));
            }
            4..=6 => {
                let credit = u.arbitrary::<u8>()? % 8;
                rig.receive(by, credit.into(), model);
            }
            7..=10 => rig.settle(u, by, model)?,
            11 => rig.renew(u, by, model)?,
            12 => {
                rig.advance(u.arbitrary::<u8>()?.into());
                model.pass(rig.now());
            }
            13 => rig.reattach(by, model),
            14 if op > 200 => assert_eq!(rig.purge(), model.purge()),
            _ => {}
        }
        rig.compare(model);
    }
    Ok(())
}

/// A context that wakes nobody: everything here is asked again.
fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
