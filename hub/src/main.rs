//! The binary `roadbed`: see `roadbed --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    roadbed_hub::main()
}
