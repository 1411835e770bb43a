//! Limits and habits of the client.

use crate::config::settings;

settings! {
    /// Limits and habits of a client.
    pub struct ClientConfig {
        /// How long connecting may take, in milliseconds: 10 s.
        connect_ms: u64 = 10_000,
        /// How long a request may take beyond what it asks the server to wait, in milliseconds: 30 s.
        request_ms: u64 = 30_000,
        /// How many idle connections are kept: 16.
        idle_connections_max: usize = 16,
        /// How long an idle connection is kept, in milliseconds: 60 s, which is less than servers do.
        idle_ms: u64 = 60_000,
        /// Whether the server is known to speak HTTP/2 (RFC 9113, section 3.3).
        http2: bool = false,
        /// How many requests of one link are under way at once: 16. Messages to one address go one after the other.
        requests_max: usize = 16,
        /// How many messages one producer keeps for sending: 1,024.
        buffer_messages_max: usize = 1024,
        /// How many bytes of messages one producer keeps for sending: 8 MiB. One message may be longer.
        buffer_bytes_max: usize = 8 << 20,
        /// How many messages one poll asks for at most: 32.
        page_max: u32 = 32,
        /// How many deliveries of one consumer may be unsettled at once: 256.
        window: u16 = 256,
        /// How long a poll is held, in milliseconds: 30 s, or what the server permits.
        wait_ms: u64 = 30_000,
        /// How long a client rests after an empty poll that the server did not hold, in milliseconds: 1 s.
        rest_ms: u64 = 1_000,
        /// How often a request that is safe to repeat is sent before it counts as failed: 5.
        attempts_max: usize = 5,
        /// How long the client waits before the first repetition, in milliseconds: 100; each further wait is twice as long, with
        /// some chance in it.
        backoff_ms_min: u64 = 100,
        /// The longest of these waits, in milliseconds: 10 s.
        backoff_ms_max: u64 = 10_000,
        /// Where the chance in these waits begins, so that a run can be repeated; 0: somewhere else each time.
        seed: u64 = 0,
        /// How long a consumer goes on trying while its server cannot be reached, in milliseconds: 2 min. Then its link is dead.
        outage_ms_max: u64 = 120_000,
        /// The longest response, in bytes: 64 MiB.
        response_bytes_max: usize = 64 << 20,
        /// How many lock tokens are kept for settling by id: 65,536.
        tokens_max: usize = 65_536,
        /// How long the server keeps the queue of a session's own consumer while it is not polled, in milliseconds: 1 h.
        session_queue_ms: u64 = 3_600_000,
    }
}
