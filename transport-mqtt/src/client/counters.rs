use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a client has counted since it was made, over all its sessions.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ClientCounts { $($(#[doc = $doc])+ pub $name: u64,)+ }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $($name: AtomicU64,)+ }

        impl Counters {
            pub(super) fn read(&self) -> ClientCounts {
                ClientCounts { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }

            $(pub(super) fn $name(&self) {
                self.$name.fetch_add(1, Ordering::Relaxed);
            })+
        }
    };
}

counters! {
    /// Connections that were opened, the first of each session included.
    connected,
    /// Sessions that the server had lost, or did not keep, when their connection was opened anew.
    sessions_lost,
    /// Messages of QoS 0 that came while too many waited to be received.
    dropped,
    /// Messages that expired before they were sent or received.
    expired,
    /// Rejections that MQTT 3 cannot say: the server was told that the message was accepted.
    rejections_unsaid,
    /// Releases and failures, which MQTT cannot say.
    releases_unsaid,
    /// Messages that the server sent again and that had been taken already.
    duplicates,
}
