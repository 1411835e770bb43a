#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod guard;
mod jwt;
mod policy;
mod resource;
pub mod sas;
mod secret;

pub use error::SetupError;
pub use guard::{Guard, GuardCounters, GuardSettings};
pub use jwt::{JwtSettings, JwtVerifier};
pub use policy::{Allow, Policy, PolicyAuthorizer};
pub use resource::Resource;
pub use sas::{SasSettings, SasToken, SasTokenError, SasVerifier};
pub use secret::Secret;
