//! The binary `roadbed`: see `roadbed --help`.
#![forbid(unsafe_code)]

/// A message is an allocation, and a sixth of what a hub spends on small ones was the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    roadbed_hub::main()
}
