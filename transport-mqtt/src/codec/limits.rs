/// What a decoder takes from one packet. All are counted before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest whole packet in bytes, fixed header included, as Maximum Packet Size counts it (section 3.1.2.11.4). Default 1 MiB.
    pub packet_bytes_max: u32,
    /// The most filters in one SUBSCRIBE or UNSUBSCRIBE, and the most reason codes in its answer. Default 256.
    pub filters_max: u16,
    /// The most user properties in one packet or will. Default 128.
    pub user_properties_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { packet_bytes_max: 1 << 20, filters_max: 256, user_properties_max: 128 }
    }
}

impl Limits {
    /// Sets [`Limits::packet_bytes_max`].
    pub fn packet_bytes_max(mut self, bytes: u32) -> Self {
        self.packet_bytes_max = bytes;
        self
    }

    /// Sets [`Limits::filters_max`].
    pub fn filters_max(mut self, filters: u16) -> Self {
        self.filters_max = filters;
        self
    }

    /// Sets [`Limits::user_properties_max`].
    pub fn user_properties_max(mut self, properties: u16) -> Self {
        self.user_properties_max = properties;
        self
    }
}
