//! How far a group has come: what was handed over, and what of it is settled.

use std::collections::{BTreeMap, BTreeSet};

use roadbed_core::{LogPlace, Outcome};

/// The windows of one reader, by partition.
#[derive(Debug)]
pub(super) struct Windows {
    /// There is a group whose checkpoints move.
    group: bool,
    partitions: BTreeMap<u32, Window>,
}

#[derive(Debug, Default)]
struct Window {
    unsettled: BTreeSet<u64>,
    /// After the last one that was handed over.
    handed: u64,
    /// What was given back first: the checkpoint stays before it.
    given_back: Option<u64>,
    /// Where the checkpoint was last.
    told: u64,
    /// Who waits for it to be where it is to go.
    waiting: Vec<u64>,
    /// A request is under way.
    telling: bool,
}

impl Windows {
    pub(super) const fn new(group: bool) -> Self {
        Self { group, partitions: BTreeMap::new() }
    }

    /// A partition is read; its checkpoint is at `told`.
    pub(super) fn read(&mut self, partition: u32, told: u64) {
        self.partitions.entry(partition).or_default().told = told;
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = u32> {
        self.partitions.keys().copied()
    }

    pub(super) fn handed(&mut self, LogPlace { partition, position }: LogPlace, unsettled: bool) {
        let Some(window) = self.partitions.get_mut(&partition) else { return };
        window.handed = position + 1;
        if unsettled {
            window.unsettled.insert(position);
        }
    }

    /// Notes the outcome. Whether its answer waits for a checkpoint.
    pub(super) fn settled(&mut self, place: LogPlace, outcome: &Outcome, cookie: Option<u64>) -> bool {
        let Some(window) = self.partitions.get_mut(&place.partition) else { return false };
        window.unsettled.remove(&place.position);
        if !matches!(outcome, Outcome::Accepted | Outcome::Rejected(_)) {
            window.given_back = Some(window.given_back.map_or(place.position, |first| first.min(place.position)));
        }
        if !self.group || window.reached() <= window.told {
            return false;
        }
        window.waiting.extend(cookie);
        true
    }

    /// The next checkpoint that is to be told, and who waits for it. One request of a partition is under way at a time.
    pub(super) fn next(&mut self) -> Option<(u32, u64, Vec<u64>)> {
        let due = |window: &Window| !window.telling && window.reached() > window.told;
        let (&partition, window) = self.partitions.iter_mut().find(|(_, window)| self.group && due(window))?;
        (window.told, window.telling) = (window.reached(), true);
        Some((partition, window.told, std::mem::take(&mut window.waiting)))
    }

    /// The request has been answered.
    pub(super) fn told(&mut self, partition: u32) {
        if let Some(window) = self.partitions.get_mut(&partition) {
            window.telling = false;
        }
    }
}

impl Window {
    fn reached(&self) -> u64 {
        let open = self.unsettled.first().copied().unwrap_or(self.handed);
        open.min(self.given_back.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64) -> LogPlace {
        LogPlace { partition: 0, position }
    }

    fn windows(group: bool) -> Windows {
        let mut windows = Windows::new(group);
        windows.read(0, 0);
        (0..4).for_each(|n| windows.handed(place(n), true));
        windows
    }

    #[test]
    fn a_checkpoint_moves_when_everything_before_it_is_settled() {
        let mut windows = windows(true);
        assert!(!windows.settled(place(1), &Outcome::Accepted, Some(1)));
        assert_eq!(windows.next(), None);
        assert!(windows.settled(place(0), &Outcome::Accepted, Some(2)));
        assert_eq!(windows.next(), Some((0, 2, vec![2])));
        assert!(windows.settled(place(2), &Outcome::Accepted, Some(3)));
        assert_eq!(windows.next(), None, "one at a time");
        windows.told(0);
        assert_eq!(windows.next(), Some((0, 3, vec![3])));
        windows.told(0);
        assert!(!windows.settled(place(3), &Outcome::Released, Some(4)), "given back, it stays before it");
        assert_eq!(windows.next(), None);
    }

    #[test]
    fn without_a_group_nothing_is_told() {
        let mut windows = windows(false);
        assert!(!windows.settled(place(0), &Outcome::Accepted, Some(1)));
        assert_eq!(windows.next(), None);
    }

    #[test]
    fn what_is_not_to_be_settled_moves_it_when_it_is_handed_over() {
        let mut windows = Windows::new(true);
        windows.read(0, 7);
        windows.handed(place(9), false);
        assert_eq!(windows.next(), Some((0, 10, vec![])));
    }
}
