//! User properties that a hub writes beside those of the sender. From elsewhere they mean nothing, and go no further.

use alloc::string::{String, ToString};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadbed_core::{Message, Sidecar};

use crate::codec::Property;
use crate::conversion::MQTT_5;

/// What MQTT has no place for, for a hub of ours.
const SIDECAR: &str = "roadbed-sidecar";
/// How often the message was delivered in vain.
const DELIVERY_COUNT: &str = "roadbed-delivery-count";

/// What goes beside a message.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    count: Option<String>,
    sidecar: Option<String>,
}

impl Beside {
    pub(crate) fn new(message: &Message, count: u32, sidecar_bytes_max: usize) -> Self {
        let wanted = (sidecar_bytes_max > 0).then(|| Sidecar::encode(message, &MQTT_5, sidecar_bytes_max)).flatten();
        let sidecar = wanted.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Self {
            count: (count > 0).then(|| count.to_string()),
            sidecar: sidecar.filter(|text| text.len() <= usize::from(u16::MAX)),
        }
    }

    /// Whether nothing is lost: a sidecar has it.
    pub(crate) fn is_whole(&self) -> bool {
        self.sidecar.is_some()
    }

    pub(crate) fn write(&self, f: &mut dyn FnMut(Property<'_>)) {
        for (name, text) in [(DELIVERY_COUNT, &self.count), (SIDECAR, &self.sidecar)] {
            if let Some(text) = text {
                f(Property::User(name, text));
            }
        }
    }
}

/// What came beside a message.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) sidecar: Option<Sidecar>,
}

impl Came {
    /// Takes a property that is none of the sender's; whether it is.
    pub(super) fn take(&mut self, name: &str, value: &str, sidecar_bytes_max: usize) -> bool {
        if name == SIDECAR && value.len() <= sidecar_bytes_max.saturating_mul(4).div_ceil(3) {
            let bytes = URL_SAFE_NO_PAD.decode(value).ok();
            self.sidecar = bytes.filter(|_| sidecar_bytes_max > 0).and_then(|bytes| Sidecar::decode(&bytes.into()));
        }
        name == SIDECAR || name == DELIVERY_COUNT
    }
}
