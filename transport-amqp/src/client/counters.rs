use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a client has counted since it was made, over all its sessions.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ClientCounts { $($(#[doc = $doc])+ pub $name: u64,)+ }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($name: AtomicU64,)+ }

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
    /// Connections that were opened.
    connected,
    /// Links that the server had kept, and that went on where they were.
    links_resumed,
    /// Links that were attached anew, since the server had not kept them.
    links_lost,
    /// Messages that expired before they were sent or received.
    expired,
    /// Deliveries that came again while they were still held here.
    duplicates,
    /// Deliveries that could not be read, and were rejected.
    unreadable,
}
