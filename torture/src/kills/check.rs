//! What was found beside what was promised.

use std::collections::{BTreeMap, BTreeSet};

use super::stream::{Fate, Fates, Found, Name, Stream};

/// What is wrong, by kind, and what is only worth counting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// What was acknowledged and is not there.
    pub(crate) lost: Vec<String>,
    /// What is there twice and must not be; also what was settled, confirmed, and is there again.
    pub(crate) doubled: Vec<String>,
    pub(crate) reordered: Vec<String>,
    /// Delivery counts that are wrong.
    pub(crate) miscounted: Vec<String>,
    pub(crate) half_transactions: Vec<String>,
    /// Anything else.
    pub(crate) strange: Vec<String>,
    /// Messages that came twice where that is allowed.
    pub(crate) duplicates: u64,
    /// Messages that were looked at.
    pub(crate) checked: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.reordered.extend(other.reordered);
        self.miscounted.extend(other.miscounted);
        self.half_transactions.extend(other.half_transactions);
        self.strange.extend(other.strange);
        self.duplicates += other.duplicates;
        self.checked += other.checked;
    }

    /// All that is wrong, a line each.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("out of order", &self.reordered),
            ("wrong count", &self.miscounted),
            ("half a transaction", &self.half_transactions),
            ("wrong", &self.strange),
        ];
        kinds.iter().flat_map(|(kind, all)| all.iter().map(move |what| format!("{kind}: {what}"))).collect()
    }
}

/// Checks all that was in a queue, in the order in which it came, and its dead letters, against what was sent there.
pub(crate) fn queue(place: &str, streams: &[&Stream], fates: &Fates, found: &[Found], dead: &[Found]) -> Findings {
    let mut findings = Findings { checked: (found.len() + dead.len()) as u64, ..Findings::default() };
    let (alive, letters) = (times(found), times(dead));
    for stream in streams {
        for (seq, acknowledged, sent) in stream.sent() {
            let name = (stream.id, seq);
            let there = (alive.get(&name).copied().unwrap_or(0), letters.get(&name).copied().unwrap_or(0));
            let fate = fates.get(&name).copied().unwrap_or_default();
            one(&mut findings, place, name, (acknowledged, sent), there, &fate);
        }
    }
    let known =
        |(id, seq): Name| streams.iter().any(|stream| stream.id == id && stream.sent().any(|sent| sent.0 == seq));
    let strangers = alive.keys().chain(letters.keys()).filter(|name| !known(**name));
    findings.doubled.extend(strangers.map(|name| format!("{place}: {name:?} was accounted for before, or never sent")));
    // What was locked or has failed comes back when its time is over.
    let stayed = |name: &Name| fates.get(name).is_none_or(|fate| fate.failed.1 == 0);
    order(&mut findings, place, found.iter().map(|found| found.name).filter(stayed));
    counts(&mut findings, place, fates, found);
    findings
}

fn one(
    findings: &mut Findings,
    place: &str,
    name: Name,
    (acknowledged, sent): (bool, u32),
    (alive, dead): (u32, u32),
    fate: &Fate,
) {
    let there = alive + dead;
    if there == 0 && acknowledged && !fate.may_be_gone {
        findings.lost.push(format!("{place}: {name:?} was acknowledged"));
    }
    if there > 0 && fate.gone && sent == 1 {
        findings.doubled.push(format!("{place}: {name:?} is there, but its end was confirmed"));
    }
    if there > sent {
        findings.doubled.push(format!("{place}: {name:?} was sent {sent} times, and is there {there} times"));
    }
    findings.duplicates += u64::from(there.saturating_sub(1));
    if fate.dead && dead == 0 {
        findings.lost.push(format!("{place}: {name:?} is no dead letter, but its rejection was confirmed"));
    }
    if dead > 0 && !fate.may_be_dead {
        findings.strange.push(format!("{place}: {name:?} is a dead letter, and nobody rejected it"));
    }
}

fn times(found: &[Found]) -> BTreeMap<Name, u32> {
    let mut times = BTreeMap::new();
    found.iter().for_each(|found| *times.entry(found.name).or_default() += 1);
    times
}

/// What came first of each message must have come in the order of its sender.
fn order(findings: &mut Findings, place: &str, found: impl Iterator<Item = Name>) {
    let (mut last, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for (id, seq) in found.filter(|name| seen.insert(*name)) {
        if let Some(before) = last.insert(id, seq)
            && before > seq
        {
            findings.reordered.push(format!("{place}: {seq} of {id} came after {before}"));
        }
    }
}

/// Delivery counts are exact, but for what a kill has cut.
fn counts(findings: &mut Findings, place: &str, fates: &Fates, found: &[Found]) {
    for Found { name, count } in found {
        let (least, most) = fates.get(name).map_or((0, 0), |fate| fate.failed);
        if !(least..=most).contains(count) {
            let what = format!("{place}: {name:?} has count {count}, and {least} to {most} attempts failed");
            findings.miscounted.push(what);
        }
    }
}

/// Checks what a kept session has received by now: all that was acknowledged, and at QoS 2 nothing twice.
pub(crate) fn session(place: &str, streams: &[&Stream], received: &[Name], exactly_once: bool) -> Findings {
    let found: Vec<_> = received.iter().map(|name| Found { name: *name, count: 0 }).collect();
    let mut findings = Findings { checked: found.len() as u64, ..Findings::default() };
    let times = times(&found);
    for stream in streams {
        for (seq, acknowledged, sent) in stream.sent() {
            let there = times.get(&(stream.id, seq)).copied().unwrap_or(0);
            if there == 0 && acknowledged {
                findings.lost.push(format!("{place}: {seq} of {} was acknowledged", stream.id));
            }
            if there > sent && exactly_once {
                findings.doubled.push(format!("{place}: {seq} of {} came {there} times at QoS 2", stream.id));
            }
            findings.duplicates += u64::from(there.saturating_sub(1));
        }
    }
    order(&mut findings, place, received.iter().copied());
    findings
}

/// A transaction, as its controller knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Txn {
    /// What it posts, and what it retires.
    pub(crate) posts: Vec<Name>,
    pub(crate) retires: Vec<Name>,
    pub(crate) known: Known,
}

/// What is known of a transaction's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody asked for its commit: it must have left nothing.
    #[default]
    Open,
    /// Its commit was asked for, and not answered.
    Asked,
    /// Its commit was confirmed.
    Committed,
}

/// Checks that transactions have happened, or not: `found` is all that was found anywhere.
pub(crate) fn transactions(place: &str, all: &[Txn], found: &BTreeSet<Name>) -> Findings {
    let mut findings = Findings { checked: all.len() as u64, ..Findings::default() };
    for txn in all {
        let posted = txn.posts.iter().filter(|name| found.contains(name)).count();
        let retired = txn.retires.iter().filter(|name| !found.contains(name)).count();
        let (done, parts) = (posted + retired, txn.posts.len() + txn.retires.len());
        let told =
            || format!("{place}: {posted} of {:?} are there, {retired} of {:?} are gone", txn.posts, txn.retires);
        match txn.known {
            _ if done != 0 && done != parts => findings.half_transactions.push(told()),
            Known::Committed if done != parts => findings.lost.push(format!("{}: it was committed", told())),
            Known::Open if done != 0 => findings.strange.push(format!("{}: it was not committed", told())),
            _ => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(acknowledged: u64, sent: u64) -> Stream {
        let mut stream = Stream::new(1);
        (0..sent).for_each(|_| {
            stream.next();
        });
        (0..acknowledged).for_each(|seq| stream.acknowledge(seq));
        stream
    }

    fn found(seqs: &[u64]) -> Vec<Found> {
        seqs.iter().map(|seq| Found { name: (1, *seq), count: 0 }).collect()
    }

    fn wrongs(fates: &[(u64, Fate)], seqs: &[u64], dead: &[u64]) -> Vec<String> {
        let fates = fates.iter().map(|(seq, fate)| ((1, *seq), *fate)).collect();
        let findings = queue("q", &[&stream(3, 4)], &fates, &found(seqs), &found(dead));
        findings.wrongs().into_iter().map(|wrong| wrong.split(':').next().unwrap_or_default().into()).collect()
    }

    #[test]
    fn a_queue_has_what_was_acknowledged_and_nothing_else() {
        let (none, sound) = (&[], Vec::<String>::new());
        assert_eq!(wrongs(none, &[0, 1, 2], &[]), sound);
        assert_eq!(wrongs(none, &[0, 1, 2, 3], &[]), sound, "what was not answered may be there");
        assert_eq!(wrongs(none, &[0, 2], &[]), ["lost"]);
        assert_eq!(wrongs(none, &[0, 1, 1, 2], &[]), ["doubled"]);
        assert_eq!(wrongs(none, &[0, 1, 2, 9], &[]), ["doubled"]);
        assert_eq!(wrongs(none, &[1, 0, 2], &[]), ["out of order"]);
        assert_eq!(wrongs(none, &[0, 1], &[2]), ["wrong"]);
    }

    #[test]
    fn what_was_settled_does_not_come_back() {
        let asked = Fate { may_be_gone: true, ..Fate::default() };
        let gone = Fate { gone: true, ..asked };
        assert!(wrongs(&[(1, asked)], &[0, 2], &[]).is_empty());
        assert!(wrongs(&[(1, asked)], &[0, 1, 2], &[]).is_empty());
        assert!(wrongs(&[(1, gone)], &[0, 2], &[]).is_empty());
        assert_eq!(wrongs(&[(1, gone)], &[0, 1, 2], &[]), ["doubled"]);
        let dead = Fate { may_be_dead: true, dead: true, ..Fate::default() };
        assert!(wrongs(&[(1, dead)], &[0, 2], &[1]).is_empty());
        assert_eq!(wrongs(&[(1, dead)], &[0, 1, 2], &[]), ["lost"]);
        let failed = Fate { failed: (1, 2), ..Fate::default() };
        assert_eq!(wrongs(&[(1, failed)], &[0, 1, 2], &[]), ["wrong count"]);
    }

    #[test]
    fn a_session_has_all_and_at_qos_2_once() {
        let told = |received: &[u64], once| {
            let received: Vec<_> = received.iter().map(|seq| (1, *seq)).collect();
            session("s", &[&stream(3, 4)], &received, once).wrongs().len()
        };
        assert_eq!((told(&[0, 1, 2], true), told(&[0, 2], true), told(&[0, 1, 1, 2], true)), (0, 1, 1));
        assert_eq!((told(&[0, 1, 2, 0, 1], false), told(&[0, 2, 1], false)), (0, 1));
    }

    #[test]
    fn a_transaction_is_whole() {
        let told = |known, there: &[u64]| {
            let txn = Txn { posts: vec![(1, 0), (1, 1)], retires: vec![(1, 2)], known };
            let there = there.iter().map(|seq| (1, *seq)).collect();
            transactions("t", &[txn], &there).wrongs().first().map_or(String::new(), |wrong| wrong[..4].into())
        };
        assert_eq!((told(Known::Asked, &[0, 1]), told(Known::Asked, &[2])), (String::new(), String::new()));
        assert_eq!((told(Known::Asked, &[0, 2]), told(Known::Asked, &[0, 1, 2])), ("half".into(), "half".into()));
        assert_eq!((told(Known::Committed, &[2]), told(Known::Committed, &[0, 1])), ("lost".into(), String::new()));
        assert_eq!((told(Known::Open, &[0, 1]), told(Known::Open, &[2])), ("wron".into(), String::new()));
    }
}
