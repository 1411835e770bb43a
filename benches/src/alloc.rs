//! An allocator that counts, for each thread by itself, so that tests can run side by side.
#![allow(unsafe_code, reason = "an allocator is unsafe by nature; nothing here reads bytes of a peer")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What one thread has allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocations {
    /// How many times memory was asked for; growing a block is once more.
    pub count: u64,
    /// How many bytes were asked for.
    pub bytes: u64,
    /// The largest block asked for at once, in bytes.
    pub largest: usize,
}

/// Runs `f` and tells what this thread has allocated meanwhile.
pub fn count<T>(f: impl FnOnce() -> T) -> (T, Allocations) {
    let outer = SO_FAR.replace(Allocations::default());
    let result = f();
    let found = SO_FAR.replace(outer);
    (result, found)
}

/// How many bytes this thread has asked for, and not given back: what others gave back in its place counts, too.
pub fn live() -> i64 {
    LIVE.get()
}

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static SO_FAR: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0, largest: 0 }) };
}

fn keep(bytes: i64) {
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

fn note(bytes: usize) {
    // At the end of a thread there is nobody left to ask.
    let _ = SO_FAR.try_with(|so_far| {
        let Allocations { count, bytes: before, largest } = so_far.get();
        so_far.set(Allocations { count: count + 1, bytes: before + bytes as u64, largest: largest.max(bytes) });
    });
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        keep(layout.size() as i64);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        keep(layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        keep(bytes as i64 - layout.size() as i64);
        // SAFETY: as in `alloc`; the block came from `System`.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        keep(-(layout.size() as i64));
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_block_with_its_size() {
        let (block, found) = count(|| {
            let mut block = Vec::<u8>::with_capacity(1000);
            block.push(1);
            block.reserve_exact(5000);
            block
        });
        assert_eq!(block, [1]);
        assert_eq!(found, Allocations { count: 2, bytes: 1000 + 5001, largest: 5001 });
    }

    #[test]
    fn counts_this_thread_alone() {
        let (_, found) = count(|| std::thread::scope(|scope| drop(scope.spawn(|| vec![0; 1 << 20]).join())));
        assert!(found.largest < 1 << 20, "{found:?}");
    }
}
