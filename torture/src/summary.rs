//! What was run and found, as a page.

use std::fmt::Write as _;
use std::time::Duration;

use crate::kills::check::Findings;

/// What one part has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) part: &'static str,
    /// How much of what.
    pub(crate) runs: String,
    /// What was acknowledged, and looked for.
    pub(crate) acknowledged: String,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) half_transactions: usize,
    /// Anything else that is wrong: order, counts, refusals.
    pub(crate) wrong: usize,
    /// Turned bits and cuts that nobody noticed.
    pub(crate) silent: usize,
    /// What came twice where it may.
    pub(crate) duplicates: u64,
    pub(crate) seeds: String,
    pub(crate) took: Duration,
    /// Sentences that say more.
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// The columns that the checks have found.
    pub(crate) fn found(mut self, findings: &Findings) -> Self {
        self.lost = findings.lost.len();
        self.doubled = findings.doubled.len();
        self.half_transactions = findings.half_transactions.len();
        self.wrong = findings.reordered.len() + findings.miscounted.len() + findings.strange.len();
        self.duplicates = findings.duplicates;
        self
    }
}

/// Where and how it was run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) commit: String,
    pub(crate) command: String,
}

/// The page.
pub(crate) fn page(head: &Head, rows: &[Row]) -> String {
    let mut out = String::from(INTRODUCTION);
    let _infallible = writeln!(
        out,
        "- date: {}\n- commit: {}\n- command: `{}`\n- machine: {}\n",
        date(),
        head.commit,
        head.command,
        machine()
    );
    out += "| part | runs | acknowledged | lost | doubled | half transactions | silent losses | otherwise wrong | allowed duplicates | seeds | seconds |\n";
    out += "|---|---|---|---:|---:|---:|---:|---:|---:|---|---:|\n";
    for row in rows {
        let Row {
            part,
            runs,
            acknowledged,
            lost,
            doubled,
            half_transactions,
            wrong,
            silent,
            duplicates,
            seeds,
            took,
            ..
        } = row;
        let seconds = took.as_secs();
        let _infallible = writeln!(
            out,
            "| {part} | {runs} | {acknowledged} | {lost} | {doubled} | {half_transactions} | {silent} | {wrong} | {duplicates} | {seeds} | {seconds} |"
        );
    }
    out.push('\n');
    for row in rows {
        for note in &row.notes {
            let _infallible = writeln!(out, "- {}: {note}", row.part);
        }
    }
    out + EXPLANATION
}

const INTRODUCTION: &str = "\
# Torture

Written by `cargo xtask torture`: what was done to the hub and its store, and what came of it. Every part prints its seeds;
`cargo xtask torture --only PART --seed N` runs one again. `cargo xtask test --only torture` does the same briefly, and also sees that faults
made on purpose are reported.

";

const EXPLANATION: &str = "
## What the parts do

- **kills**: the real process, `roadbed serve --data DIR`, is killed (SIGKILL) at a random moment under load, in 2,000 or more acknowledged messages' time: MQTT 3.1.1
  and 5 at QoS 1 and 2, AMQP unsettled, with transactions, and settled by its receiver, HTTP under idempotency keys, in batches, and with locks. The clients are bare sockets that share no code with
  the hub. After each kill everything is taken out, mostly over another protocol than it was sent by, and compared: nothing acknowledged is missing; nothing is there twice at QoS 2, by key, or after its
  end was confirmed; transactions are whole; senders' order, priorities, delivery counts, dead letters, last values, and kept sessions with their subscriptions are as they were;
  a log has all of it in order, at the positions where it was, and its group where it had come to. Some hubs are killed again while they recover.
  The page cache survives the end of a process, so this says nothing of fsync: *cuts* does.
- **discharges**: the same process is killed after the commit of AMQP transactions was asked for and before it was answered. Each has happened or not; what was answered has happened.
- **cuts**: a broker on the journal, on a simulated file system in virtual time, with clients over MQTT, AMQP and HTTP. The power is cut at any operation of the file system: of the 4 KiB blocks
  that were not synced all, half, or one in a hundred are lost, and some are torn; some runs have a sync that fails, or a disk that is full for a while. The invariants of the simulation hold throughout.
- **full**: the real process on a file system that is full, and then is not.
- **flips**: one bit of a journal is turned. The damage is named with its file, or everything can be read and is as it was: that is looked at, not assumed.
- **model**: the store beside a plain map that is told the same, reopened again and again.
";

/// Today, in UTC.
fn date() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = (seconds / 86_400) as i64 + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// Processors, their kind, the kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or_default();
    format!("{count} x {model}, Linux {}, load {load} at the end", kernel.trim())
}
