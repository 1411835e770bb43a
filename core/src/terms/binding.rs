//! What queues follow.

use bytestring::ByteString;

use crate::{Filter, Qos};

/// A filter whose messages a queue follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Which addresses.
    pub filter: Filter,
    /// Messages are shared out among all consumers with this group and filter.
    pub share: Option<ByteString>,
    /// The strongest assurance for what comes by this binding.
    pub qos_max: Qos,
    /// Leave out what this session sent itself.
    pub no_local: bool,
    /// Which retained values are sent when the binding is made.
    pub retain_handling: RetainHandling,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// Told with every delivery that comes by this binding; MQTT 5's subscription identifier.
    pub id: Option<u32>,
}

impl Binding {
    /// Follows `filter` with every default.
    pub fn new(filter: Filter, qos_max: Qos) -> Self {
        Self {
            filter,
            share: None,
            qos_max,
            no_local: false,
            retain_handling: RetainHandling::Always,
            retain_as_published: false,
            id: None,
        }
    }
}

/// Which retained values are sent when a binding is made \[MQTT-3.3.1-9\] to \[MQTT-3.3.1-11\].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// All that match.
    #[default]
    Always,
    /// All that match, if the binding is new.
    IfNew,
    /// None.
    Never,
}

/// What a binding got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The strongest assurance granted.
    pub qos: Qos,
    /// Whether it replaced a binding of the same filter and group.
    pub replaced: bool,
}

/// Which bindings to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbind {
    /// The filter.
    pub filter: Filter,
    /// The group, if shared.
    pub share: Option<ByteString>,
}
