use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

use crate::alloc::count;

/// Criterion with our settings: a second or two for each row.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(20)
        .configure_from_args()
}

/// A row of a benchmark: `f` handles `messages` messages at each call. Criterion tells the messages per second; the allocations per message are counted over one
/// call, after another that fills what is kept for the next time.
#[allow(clippy::print_stdout, reason = "criterion prints its half of the row there, too")]
pub fn per_message(group: &mut BenchmarkGroup<'_, WallTime>, row: &str, messages: usize, mut f: impl FnMut()) {
    group.throughput(Throughput::Elements(messages as u64));
    // Criterion calls this for every sample.
    let mut told = false;
    group.bench_function(row, |bencher| {
        if !std::mem::replace(&mut told, true) {
            f();
            let found = count(&mut f).1;
            let (times, bytes) = (found.count as f64 / messages as f64, found.bytes as f64 / messages as f64);
            println!("{row}: {times:.2} allocations and {bytes:.0} B allocated per message");
        }
        bencher.iter(&mut f);
    });
}
