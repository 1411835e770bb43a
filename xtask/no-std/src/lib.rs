//! Nothing but a panic handler and an allocator around the crates that promise `no_std`. If one of them, or anything that they
//! depend on, brings in the standard library, the panic handler exists twice and this does not compile.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

// Linked, not only resolved.
use {roadbed_core as _, roadbed_mqtt as _};

struct NoMemory;

// SAFETY: a null pointer is how `alloc` says that there is no memory, so nothing is ever handed to `dealloc`.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
