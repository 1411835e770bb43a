//! Logs go to standard error, so that standard output has nothing but what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Failure, Result};

/// What is logged without `--log` and `RUST_LOG`.
const DEFAULT: &str = "info";

/// Starts logging by `filter`, or else by `RUST_LOG`, or else from level `info` on.
///
/// # Errors
/// If `filter` is not legal.
pub(crate) fn start(filter: Option<&str>) -> Result {
    let filter = match filter {
        Some(text) => EnvFilter::try_new(text).map_err(|error| {
            Failure::usage(format!("--log {text}: {error}")).help("such as `info,roadbed_mqtt=debug`")
        })?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT)),
    };
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    // Somebody else may log already, as tests do.
    let _ = log.try_init();
    Ok(())
}
