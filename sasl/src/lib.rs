#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod decoy;
mod hash;
mod message;
mod rounds;
mod server;
mod verifier;

pub use client::ScramClient;
pub use decoy::secret_of;
pub use hash::ScramHash;
pub use server::{ScramServer, ScramStore};
pub use verifier::{ITERATIONS, ITERATIONS_MIN, SALT_BYTES, Verifier, VerifierError};
