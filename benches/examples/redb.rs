//! What `store_compare.py` holds the journal's reopening against: the same messages in redb, one row for each.
//!
//!     redb fill PATH COUNT SIZE      # puts them in, and ends as kill -9 would end it
//!     redb open PATH                 # opens it again, and prints seconds, CPU seconds and peak memory
#![allow(clippy::print_stdout, reason = "a program for a script")]

use std::error::Error;
use std::time::Instant;

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

/// By queue and position, as the queues of a broker would be kept.
const QUEUE: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("queue");
/// Messages of one commit: many, since a commit costs a sync and this is not about filling.
const BATCH: u64 = 16_384;
const QUEUES: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", path, count, size] => fill(path, count.parse()?, size.parse()?),
        ["open", path] => open(path),
        _ => Err("redb fill PATH COUNT SIZE, or redb open PATH".into()),
    }
}

fn fill(path: &str, count: u64, size: usize) -> Result<(), Box<dyn Error>> {
    let database = Database::create(path)?;
    let mut body = vec![0; size];
    for start in (0..count).step_by(BATCH as usize) {
        let write = database.begin_write()?;
        let mut queue = write.open_table(QUEUE)?;
        for n in start..count.min(start + BATCH) {
            body[..8].copy_from_slice(&n.to_le_bytes());
            queue.insert(((n % QUEUES) as u32, n / QUEUES), &body[..])?;
        }
        drop(queue);
        write.commit()?;
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Err("not killed".into())
}

fn open(path: &str) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let database = Database::open(path)?;
    let read = database.begin_read()?;
    let rows = read.open_table(QUEUE)?.len()?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|line| line.split_whitespace().next());
    let peak_kib: u64 = peak.ok_or("no VmHWM")?.parse()?;
    println!("{{\"rows\": {rows}, \"seconds\": {seconds:.3}, \"cpu_s\": {cpu_s:.3}, \"peak_kib\": {peak_kib}}}");
    Ok(())
}
