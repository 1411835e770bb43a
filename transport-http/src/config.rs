//! Limits and habits of the server.

use std::fmt;
use std::time::Duration;

macro_rules! settings {
    ($(#[$meta:meta])* pub struct $config:ident { $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
        #[non_exhaustive]
        pub struct $config {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl $config {
            $(
                #[doc = concat!("Sets [`", stringify!($config), "::", stringify!($name), "`].")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}

#[cfg(feature = "client")]
pub(crate) use settings;

settings! {
    /// Limits and habits of a server.
    ///
    /// ```
    /// let config = roadbed_http::HttpConfig::default().body_bytes_max(64 << 10).long_poll_ms_max(20_000);
    /// assert_eq!(config.page_max, 100);
    /// ```
    pub struct HttpConfig {
        /// How long a request's headers may take, and how long a fresh connection may be without any, in milliseconds: 10 s.
        /// It is looked at twice in that time, so a connection may last half as long again.
        header_read_ms: u64 = 10_000,
        /// How long a connection may be without a request, in milliseconds: 75 s.
        idle_ms: u64 = 75_000,
        /// How long the other end may refuse to take what is written, in milliseconds: 30 s.
        write_stall_ms: u64 = 30_000,
        /// How long a body may take, in milliseconds: 5 min.
        body_ms_max: u64 = 300_000,
        /// How often a body's rate is looked at, in milliseconds: 5 s.
        body_grace_ms: u64 = 5_000,
        /// The slowest rate of a body, in bytes a second: 256.
        body_bytes_per_second_min: u64 = 256,
        /// The longest message, in bytes: 1 MiB.
        body_bytes_max: usize = 1 << 20,
        /// The longest JSON document, in bytes: 64 KiB.
        json_bytes_max: usize = 64 << 10,
        /// How many headers a request may have: 100 (HTTP/1.1).
        headers_max: usize = 100,
        /// The longest request head, in bytes: 64 KiB, and at least 8 KiB. It is also what is read at once.
        header_bytes_max: usize = 64 << 10,
        /// How many requests of one HTTP/2 connection are served at once: 128.
        h2_streams_max: u32 = 128,
        /// How many connections a listener serves at once: 10,000; further ones wait to be accepted.
        connections_max: usize = 10_000,
        /// How many principals one connection may speak for at once: 16; the one that was silent longest gives way.
        principals_max: usize = 16,
        /// After how long a credential is checked again on a connection that goes on, in milliseconds: 60 s.
        credential_recheck_ms: u64 = 60_000,
        /// The longest wait of a long poll, in milliseconds: 60 s, which is below what common proxies allow.
        long_poll_ms_max: u64 = 60_000,
        /// How many polls are held at once: 20,000; further ones are answered at once.
        long_polls_max: usize = 20_000,
        /// How many messages one poll may ask for: 100.
        page_max: u32 = 100,
        /// How many bytes of messages a page has at most: 4 MiB, or one message. What else was taken is released.
        page_bytes_max: usize = 4 << 20,
        /// How many events one batch may bring: 100.
        batch_max: usize = 100,
        /// The longest sidecar that is written to clients and believed of them, in bytes: what HTTP has no place for. Only for clients that are hubs of
        /// yours; 0, the default: none. Headers have limits: more than 8 KiB is more than many servers take.
        sidecar_bytes_max: usize = 0,
        /// How long a lock lasts if a poll asks for nothing else, in milliseconds: 60 s.
        lock_ms: u64 = 60_000,
        /// How long a lock can last at most, in milliseconds: 1 h; a poll that asks for more gets this.
        lock_ms_max: u64 = 3_600_000,
        /// How long the endpoint may take to confirm a message, in milliseconds: 30 s.
        confirm_ms: u64 = 30_000,
        /// How long a principal must wait between two polls of one queue, in milliseconds: 0, which is off.
        poll_interval_ms_min: u64 = 0,
        /// How many pairs of principal and queue the interval is kept for: 100,000; further ones are told to wait.
        poll_entries_max: usize = 100_000,
        /// How many transactions may be open or ended not long ago, over all principals: 10,000.
        transactions_max: usize = 10_000,
        /// How long a transaction may stay open, in milliseconds: 60 s, or what the endpoint allows if that is less.
        transaction_ms_max: u64 = 60_000,
        /// How long the end of a transaction is remembered, so that the same commit twice is answered twice, in milliseconds: 5 min.
        transaction_window_ms: u64 = 300_000,
        /// What `Retry-After` says where nothing better is known, in seconds: 1.
        retry_after_secs: u32 = 1,
        /// How long requests may go on after the shutdown has begun, in milliseconds: 10 s.
        shutdown_ms: u64 = 10_000,
        /// What lock tokens are signed with. `None`: a key of this process, so that no token outlives it.
        token_key: Option<TokenKey> = None,
    }
}

/// What lock tokens are signed with: 32 secret bytes, the same on every server that stands before the same queues, and over its restarts.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TokenKey(pub [u8; 32]);

impl TokenKey {
    /// A key that nobody knows.
    ///
    /// # Errors
    /// [`HttpError::Randomness`](crate::HttpError::Randomness) if the system has no randomness.
    #[cfg(feature = "server")]
    pub fn random() -> Result<Self, crate::HttpError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| crate::HttpError::Randomness)?;
        Ok(Self(key))
    }
}

impl fmt::Debug for TokenKey {
    /// Never shows the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
