//! Cuts at random times, settlement in random order, releases, windows of random size: by seed, so that a failure comes again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use roadbed_conformance::Split;
use roadbed_core::{Delivery, Endpoint, Open, Outcome, Qos, Settled};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{MachineConfig, OnRelease};

use crate::support::{Receiving, VERSIONS, config, hub, kept, message, sender, soon, text};

const SEEDS: u64 = 40;
const SENDERS: usize = 4;
const EACH: usize = 15;

/// Numbers by a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_and_exactly_once_is_once_in_any_storm() {
    for version in VERSIONS {
        for seed in 0..SEEDS {
            soon(storm(version, seed)).await;
        }
    }
}

async fn storm(version: Version, seed: u64) {
    let mut random = Random(seed);
    let machine = MachineConfig::default().receive_maximum(1 + random.below(20) as u16);
    let on_release = [OnRelease::Redeliver, OnRelease::Reconnect][random.below(2) as usize];
    let hub =
        hub(config(version).machine(machine).on_release(on_release).reconnect_delay_max(Duration::from_millis(50)));
    hub.faults.split(if random.below(2) == 0 { Split::None } else { Split::Random(seed) });
    let session = hub.client.open(Open { window: random.below(10) as u16, ..kept("s") }).await.unwrap();
    let mut receiving = Receiving::new(&*session).await.follow("t/#", Qos::ExactlyOnce).await;
    let mut tasks = Vec::new();
    for task in 0..SENDERS {
        let (sender, qos) = (sender(&*session).await, Qos::from_level(1 + task as u8 % 2).unwrap());
        tasks.push(tokio::spawn(async move {
            for n in 0..EACH {
                let confirm = sender.send(message(&format!("t/{task}"), n.to_string()), qos).await.unwrap();
                assert_eq!(confirm.outcome, Outcome::Accepted);
            }
        }));
    }
    let faults = hub.faults.clone();
    let mut cutting = Random(seed ^ 0xff);
    let cutter = tokio::spawn(async move {
        for _ in 0..cutting.below(12) {
            tokio::time::sleep(Duration::from_micros(1 + cutting.below(40_000))).await;
            faults.cut();
        }
    });
    let mut seen = BTreeMap::<(usize, usize), usize>::new();
    let mut held = VecDeque::new();
    while seen.len() < SENDERS * EACH {
        // Hold a few, but never so many that the window is full: nothing more would come.
        while held.len() > random.below(3) as usize {
            let at = random.below(held.len() as u64) as usize;
            let delivery: Delivery = held.remove(at).unwrap();
            settle(&mut receiving, &delivery, &mut random, &mut seen).await;
        }
        match tokio::time::timeout(Duration::from_millis(200), receiving.try_next()).await {
            Ok(delivery) => held.push_back(delivery.unwrap()),
            Err(_) => {
                while let Some(delivery) = held.pop_front() {
                    settle(&mut receiving, &delivery, &mut random, &mut seen).await;
                }
            }
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    cutter.await.unwrap();
    for ((task, n), count) in seen {
        assert!(task % 2 == 0 || count == 1, "{version:?}, seed {seed}: {task}/{n} was accepted {count} times");
    }
}

/// Accepts, or sometimes gives back. Only what was applied counts.
async fn settle(
    receiving: &mut Receiving,
    delivery: &Delivery,
    random: &mut Random,
    seen: &mut BTreeMap<(usize, usize), usize>,
) {
    if random.below(8) == 0 {
        receiving.settle(delivery, Outcome::Released).await;
        return;
    }
    if receiving.settle(delivery, Outcome::Accepted).await == Settled::Applied {
        let task = delivery.message.address().levels().nth(1).unwrap().parse().unwrap();
        *seen.entry((task, text(&delivery.message).parse().unwrap())).or_default() += 1;
    }
}
