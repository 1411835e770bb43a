//! How far a reader of a log has come, so that it goes on there after it has lost its connection.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use roadbed_core::{
    ConsumerTerms, DeliveryInfo, LogPlace, LogSettings, LogStart, LogTerms, Node, Outcome, Time, TxnId,
};

/// The places of one reader, by partition.
#[derive(Debug, Default)]
pub(super) struct Places {
    partitions: BTreeMap<u32, Partition>,
    /// What is held, by slot.
    held: BTreeMap<u16, Place>,
    /// What was settled in transactions that have not ended.
    enlisted: Vec<Enlisted>,
}

#[derive(Debug)]
struct Enlisted {
    txn: TxnId,
    place: Place,
    /// Where it is still held.
    slot: Option<u16>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Everything before this was handed over, and need not come again but for what follows.
    next: u64,
    /// When the last one was enqueued.
    last_at: Time,
    /// What is handed over and not settled.
    open: BTreeMap<u64, Time>,
    /// The first that was given back: it is to come again.
    given_back: Option<(u64, Time)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    partition: u32,
    position: u64,
    at: Time,
}

impl Places {
    pub(super) fn new(terms: &ConsumerTerms) -> Option<Box<Self>> {
        matches!(terms.node, Node::Log(_)).then(Box::default)
    }

    /// Whether a message was handed over before the connection was lost, and is done with.
    pub(super) fn knows(&self, info: Option<&DeliveryInfo>) -> bool {
        let Some(LogPlace { partition, position }) = info.and_then(|info| info.log) else { return false };
        self.partitions.get(&partition).is_some_and(|known| position < known.next)
    }

    /// A message is handed over, to be settled if it has a slot.
    pub(super) fn handed(&mut self, info: Option<&DeliveryInfo>, slot: Option<u16>) {
        let Some((LogPlace { partition, position }, at)) = info.and_then(|info| Some((info.log?, info.enqueued_at)))
        else {
            return;
        };
        if partition >= LogSettings::PARTITIONS_MAX {
            return;
        }
        let known = self.partitions.entry(partition).or_default();
        (known.next, known.last_at) = (position.saturating_add(1), at);
        if let Some(slot) = slot {
            self.hold(slot, Place { partition, position, at });
        }
    }

    /// It is settled.
    pub(super) fn settled(&mut self, slot: u16, outcome: &Outcome) {
        let Some(place) = self.done(slot) else { return };
        if !matches!(outcome, Outcome::Accepted | Outcome::Rejected(_)) {
            self.give_back(place);
        }
    }

    /// It is settled within a transaction; `held`: its slot is still its own.
    pub(super) fn enlisted(&mut self, slot: u16, txn: TxnId, held: bool) {
        let place = self.done(slot);
        let slot = held.then_some(slot);
        self.enlisted.extend(place.map(|place| Enlisted { txn, place, slot }));
    }

    /// A transaction has ended.
    pub(super) fn discharged(&mut self, txn: TxnId, committed: bool) {
        let all = core::mem::take(&mut self.enlisted);
        let (ended, rest): (Vec<_>, _) = all.into_iter().partition(|enlisted| enlisted.txn == txn);
        self.enlisted = rest;
        for Enlisted { place, slot, .. } in ended.into_iter().filter(|_| !committed) {
            match slot {
                Some(slot) => self.hold(slot, place),
                None => self.give_back(place),
            }
        }
    }

    /// The connection is lost: what is not settled comes again.
    pub(super) fn lost(&mut self) {
        self.held.clear();
        core::mem::take(&mut self.enlisted).into_iter().for_each(|enlisted| self.give_back(enlisted.place));
        for partition in self.partitions.values_mut() {
            let open = core::mem::take(&mut partition.open).pop_first();
            let again = [open, partition.given_back.take()].into_iter().flatten().min();
            if let Some((position, at)) = again {
                (partition.next, partition.last_at) = (position, at);
            }
        }
    }

    /// The terms by which it goes on.
    pub(super) fn go_on(&self, terms: &LogTerms) -> LogTerms {
        let from = match terms.address.log_place() {
            Some((_, Some(partition))) => {
                self.partitions.get(&partition).map_or(terms.from, |known| LogStart::Position(known.next))
            }
            // Only a time is the same in all partitions; what is known comes, and is known.
            _ if terms.from == LogStart::Latest => {
                self.partitions.values().map(|known| known.last_at).min().map_or(terms.from, LogStart::Time)
            }
            _ => terms.from,
        };
        LogTerms { from, ..terms.clone() }
    }

    fn hold(&mut self, slot: u16, place: Place) {
        self.held.insert(slot, place);
        if let Some(partition) = self.partitions.get_mut(&place.partition) {
            partition.open.insert(place.position, place.at);
        }
    }

    fn done(&mut self, slot: u16) -> Option<Place> {
        let place = self.held.remove(&slot)?;
        self.partitions.get_mut(&place.partition)?.open.remove(&place.position);
        Some(place)
    }

    fn give_back(&mut self, place: Place) {
        let Some(partition) = self.partitions.get_mut(&place.partition) else { return };
        let first = (place.position, place.at);
        partition.given_back = Some(partition.given_back.map_or(first, |known| known.min(first)));
    }
}

#[cfg(test)]
mod tests {
    use roadbed_core::{CopyId, DeliveryId, Fence, QueueId};

    use super::*;

    fn info(partition: u32, position: u64) -> DeliveryInfo {
        let copy = CopyId { queue: QueueId(1), seq: position };
        let id = DeliveryId { copy, fence: Fence { epoch: 1, attempt: 1 } };
        let log = Some(LogPlace { partition, position });
        DeliveryInfo { log, ..DeliveryInfo::new(id, Time::from_millis(1000 + position)) }
    }

    fn handed(places: &mut Places, partition: u32, position: u64, slot: Option<u16>) {
        places.handed(Some(&info(partition, position)), slot);
    }

    fn from(places: &Places, address: &str, from: LogStart) -> LogStart {
        places.go_on(&LogTerms::new(address.parse().expect("an address"), from)).from
    }

    #[test]
    fn a_reader_goes_on_after_what_it_has_settled() {
        let mut places = Places::default();
        assert_eq!(from(&places, "logs/l/0", LogStart::Earliest), LogStart::Earliest);
        (0..4).for_each(|n| handed(&mut places, 0, n, Some(n as u16 + 1)));
        [1, 2, 4].into_iter().for_each(|slot| places.settled(slot, &Outcome::Accepted));
        places.lost();
        assert_eq!(from(&places, "logs/l/0", LogStart::Earliest), LogStart::Position(2));
        assert!(
            places.knows(Some(&info(0, 1))) && !places.knows(Some(&info(0, 2))) && !places.knows(Some(&info(1, 0)))
        );
    }

    #[test]
    fn what_was_given_back_or_rolled_back_comes_again() {
        let mut places = Places::default();
        (0..6).for_each(|n| handed(&mut places, 0, n, Some(n as u16 + 1)));
        (1..=2).for_each(|slot| places.settled(slot, &Outcome::Accepted));
        places.enlisted(3, TxnId(1), false);
        places.enlisted(4, TxnId(2), true);
        (5..=6).for_each(|slot| places.settled(slot, &Outcome::Accepted));
        places.discharged(TxnId(1), true);
        places.discharged(TxnId(2), false);
        places.lost();
        assert_eq!(from(&places, "logs/l/0", LogStart::Latest), LogStart::Position(3));
        handed(&mut places, 0, 3, Some(1));
        places.settled(1, &Outcome::Released);
        places.lost();
        assert_eq!(from(&places, "logs/l/0", LogStart::Latest), LogStart::Position(3));
    }

    #[test]
    fn a_whole_log_goes_on_by_time_or_from_the_beginning() {
        let mut places = Places::default();
        assert_eq!(from(&places, "logs/l", LogStart::Latest), LogStart::Latest);
        handed(&mut places, 0, 7, None);
        handed(&mut places, 1, 3, None);
        places.lost();
        assert_eq!(from(&places, "logs/l", LogStart::Latest), LogStart::Time(Time::from_millis(1003)));
        assert_eq!(from(&places, "logs/l", LogStart::Checkpoint), LogStart::Checkpoint);
    }

    #[test]
    fn a_server_cannot_make_it_remember_without_end() {
        let mut places = Places::default();
        (0..3000).for_each(|partition| handed(&mut places, partition, 0, None));
        assert_eq!(places.partitions.len(), LogSettings::PARTITIONS_MAX as usize);
    }
}
