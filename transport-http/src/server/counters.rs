//! What the server has done, and how often a bound was hit.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a server has done since its start, and how often a bound was hit.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct HttpCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl HttpCounters {
            /// Every counter by its name, for a metrics exporter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }

        #[derive(Debug, Default)]
        pub(super) struct Meters {
            $(pub(super) $name: Meter,)+
        }

        impl Meters {
            pub(super) fn snapshot(&self) -> HttpCounters {
                HttpCounters { $($name: self.$name.0.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    connections,
    /// Connections that have ended.
    connections_ended,
    /// Connections cut off since no request head came in time.
    heads_late,
    /// Connections cut off since the peer did not read.
    writes_stalled,
    /// Connections ended since they were idle.
    idle,
    /// Requests.
    requests,
    /// Requests without a valid credential.
    unauthenticated,
    /// Bodies longer than a limit.
    bodies_too_large,
    /// Bodies that came too slowly.
    bodies_too_slow,
    /// Messages that the endpoint did not confirm in time.
    unconfirmed,
    /// Polls that could not be held, since too many are.
    polls_unheld,
    /// Polls that came too early.
    polls_early,
}

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
