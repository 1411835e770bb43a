use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who may come in beside the users of the configuration, and what everybody may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Auth {
    /// A file of users, as `roadbed user add` writes it; empty: none.
    pub users_file: PathBuf,
    /// As whom somebody comes in who shows a client certificate and nothing else: a name, in which `{id}` is the name in the certificate; empty:
    /// nobody does.
    pub certificate: String,
    /// As whom somebody comes in who shows nothing at all; empty: nobody does.
    pub anonymous: String,
    /// How much later than it says a token ends, and how much earlier it begins, in seconds, because clocks differ.
    pub clock_skew_seconds: u64,
    /// A file of rules about who may send, receive and manage what; empty: whoever is in may do everything.
    pub policy: PathBuf,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            users_file: PathBuf::new(),
            certificate: String::new(),
            anonymous: String::new(),
            clock_skew_seconds: 30,
            policy: PathBuf::new(),
        }
    }
}
