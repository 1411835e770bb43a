use roadbed_core::{Event, Note, Outcome, TxnId, Work};

/// What is known of a delivery. Each answer of the machine follows from these alone.
#[derive(Clone, Default, Debug)]
pub(super) struct Facts {
    sent: bool,
    pub(super) decided: Option<Outcome>,
    pub(super) settled: bool,
    /// The transaction, its work, and the outcome that is due since its link ended.
    pub(super) pinned: Option<(TxnId, Work, Option<Outcome>)>,
}

impl Facts {
    /// Takes the event; `None` if it must be refused.
    pub(super) fn expect(&mut self, event: Event) -> Option<Note> {
        if self.settled {
            return Some(Note::Late);
        }
        if self.pinned.is_some() {
            return self.expect_pinned(event);
        }
        match event {
            Event::Transfer { settled: false } if self.sent => return Some(Note::Repeat),
            Event::Transfer { settled } if self.decided.is_none() => {
                self.sent = true;
                if settled {
                    self.settle(Outcome::Accepted);
                }
            }
            Event::Dispose { settled: false, .. } if self.decided.is_some() => return Some(Note::Repeat),
            Event::Dispose { outcome, settled } if self.sent => {
                let first = self.decided.get_or_insert(outcome).clone();
                if settled {
                    self.settle(first);
                }
            }
            Event::Settle if self.sent => self.settle(self.decided.clone().unwrap_or(Outcome::Accepted)),
            Event::Lapse(outcome) => {
                let unsent = if self.sent { outcome } else { Outcome::Released };
                self.settle(self.decided.clone().unwrap_or(unsent));
            }
            Event::Enlist { txn, work } if self.decided.is_none() => {
                let fits = match &work {
                    Work::Post => true,
                    Work::Acquire(named) => !self.sent && named.is_none(),
                    Work::Retire(_) => self.sent,
                };
                if !fits {
                    return None;
                }
                self.sent = true;
                self.pinned = Some((txn, work, None));
            }
            _ => return None,
        }
        Some(Note::Moved)
    }

    fn expect_pinned(&mut self, event: Event) -> Option<Note> {
        let (txn, work, ended) = self.pinned.as_mut().expect("the caller has looked");
        match event {
            Event::Transfer { settled: false } => return Some(Note::Repeat),
            Event::Settle => *ended = Some(Outcome::Released),
            Event::Lapse(outcome) => *ended = Some(outcome),
            Event::Enlist { txn: other, work: Work::Retire(outcome) } if *txn == other => match work {
                Work::Post => return None,
                Work::Acquire(named) => *named = Some(outcome),
                Work::Retire(named) => *named = outcome,
            },
            Event::Discharge { txn: other, commit } if *txn == other => self.discharge(commit),
            _ => return None,
        }
        Some(Note::Moved)
    }

    fn discharge(&mut self, commit: bool) {
        let (_, work, ended) = self.pinned.take().expect("the caller has looked");
        let named = match &work {
            Work::Retire(outcome) | Work::Acquire(Some(outcome)) => Some(outcome.clone()),
            Work::Post | Work::Acquire(None) => None,
        };
        match (commit, named, work) {
            (true, None, Work::Post) => self.settle(Outcome::Accepted),
            (true, Some(outcome), _) if ended.is_some() => self.settle(outcome),
            (true, named @ Some(_), _) => self.decided = named,
            (false, _, Work::Post | Work::Acquire(_)) => self.settle(Outcome::Released),
            // Nothing was named, or what was named is forgotten: as before, unless the link ended meanwhile.
            _ => ended.into_iter().for_each(|outcome| self.settle(outcome)),
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        self.decided = Some(outcome);
        self.settled = true;
    }
}
