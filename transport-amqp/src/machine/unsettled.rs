use alloc::collections::VecDeque;
use core::ops::RangeInclusive;

/// What is kept of deliveries that are not settled, by their numbers, which only grow.
///
/// Numbers follow each other nearly always, and are settled nearly in order: a queue whose places are computed, not searched. What is settled
/// out of order leaves an empty place; there are never more of them than of others, so one delivery that is kept does not keep all after it.
#[derive(Debug)]
pub(super) struct Unsettled<T> {
    places: VecDeque<(u64, Option<T>)>,
    len: usize,
}

/// How many empty places there may be in any case.
const EMPTY: usize = 32;
/// For how many places memory is kept while there are none.
const KEPT: usize = 1024;

impl<T> Unsettled<T> {
    pub(super) const fn new() -> Self {
        Self { places: VecDeque::new(), len: 0 }
    }

    /// Adds a delivery, whose number must be higher than any before.
    pub(super) fn push(&mut self, number: u64, kept: T) {
        debug_assert!(self.places.back().is_none_or(|(last, _)| *last < number), "numbers grow");
        self.places.push_back((number, Some(kept)));
        self.len += 1;
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.place(number).ok()?;
        self.places[place].1.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.place(number).ok()?;
        let kept = self.places[place].1.take()?;
        self.len -= 1;
        self.tidy();
        Some(kept)
    }

    /// Those with numbers in the range.
    pub(super) fn range(&self, numbers: RangeInclusive<u64>) -> impl Iterator<Item = (u64, &T)> {
        let (first, last) = numbers.into_inner();
        let places = self.places.range(self.place(first).unwrap_or_else(|next| next)..);
        let within = places.take_while(move |(number, _)| *number <= last);
        within.filter_map(|(number, kept)| kept.as_ref().map(|kept| (*number, kept)))
    }

    /// Takes out all with numbers in the range, for `each`.
    pub(super) fn remove_range(&mut self, numbers: RangeInclusive<u64>, mut each: impl FnMut(u64, T)) {
        let (first, last) = numbers.into_inner();
        let start = self.place(first).unwrap_or_else(|next| next);
        for (number, kept) in self.places.range_mut(start..).take_while(|(number, _)| *number <= last) {
            if let Some(kept) = kept.take() {
                self.len -= 1;
                each(*number, kept);
            }
        }
        self.tidy();
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.places.retain(|(_, kept)| kept.as_ref().is_some_and(&mut keep));
        self.len = self.places.len();
    }

    /// Where a number is, or else the next higher one.
    fn place(&self, number: u64) -> Result<usize, usize> {
        let Some((front, _)) = self.places.front() else { return Err(0) };
        let guess = number.checked_sub(*front).and_then(|distance| usize::try_from(distance).ok());
        match guess.filter(|&guess| self.places.get(guess).is_some_and(|(found, _)| *found == number)) {
            Some(guess) => Ok(guess),
            None => self.places.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    fn tidy(&mut self) {
        while self.places.front().is_some_and(|(_, kept)| kept.is_none()) {
            self.places.pop_front();
        }
        if self.places.is_empty() && self.places.capacity() > KEPT {
            self.places = VecDeque::new();
        }
        if self.places.len() > 2 * self.len + EMPTY {
            self.places.retain(|(_, kept)| kept.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn filled(numbers: impl IntoIterator<Item = u64>) -> Unsettled<u64> {
        let mut unsettled = Unsettled::new();
        numbers.into_iter().for_each(|number| unsettled.push(number, number * 10));
        unsettled
    }

    #[test]
    fn finds_by_number_with_gaps_and_without() {
        let mut unsettled = filled([3, 4, 5, 9, 1 << 40]);
        for number in [3, 4, 5, 9, 1 << 40] {
            assert_eq!(unsettled.get_mut(number), Some(&mut (number * 10)));
        }
        for number in [0, 2, 6, 10, u64::MAX] {
            assert_eq!(unsettled.get_mut(number), None);
        }
        assert_eq!(unsettled.range(4..=9).map(|(number, _)| number).collect::<Vec<_>>(), [4, 5, 9]);
        assert_eq!(unsettled.range(6..=8).count(), 0);
        assert_eq!(unsettled.range(0..=u64::MAX).count(), 5);
    }

    #[test]
    fn what_is_settled_is_gone_for_good() {
        let mut unsettled = filled(0..10);
        assert_eq!(unsettled.remove(4), Some(40));
        assert_eq!(unsettled.remove(4), None);
        let mut taken = Vec::new();
        unsettled.remove_range(3..=6, |number, kept| taken.push((number, kept)));
        assert_eq!(taken, [(3, 30), (5, 50), (6, 60)]);
        assert_eq!(unsettled.range(0..=u64::MAX).map(|(number, _)| number).collect::<Vec<_>>(), [0, 1, 2, 7, 8, 9]);
        unsettled.retain(|kept| *kept != 80);
        assert_eq!(unsettled.get_mut(8), None);
        assert_eq!(unsettled.get_mut(9), Some(&mut 90));
    }

    #[test]
    fn one_that_is_kept_does_not_keep_all_after_it() {
        let mut unsettled = filled(0..1);
        for number in 1..100_000 {
            unsettled.push(number, 0);
            assert_eq!(unsettled.remove(number), Some(0));
            assert!(unsettled.places.len() <= EMPTY + 3, "{}", unsettled.places.len());
        }
        assert_eq!(unsettled.get_mut(0), Some(&mut 0));
    }
}
