//! How the session store names what MQTT knows by a packet identifier.

use roadbed_core::Key;

use crate::codec::PacketId;

pub(super) const fn name(id: PacketId) -> Key {
    Key::Number(id.get() as u32)
}

/// `None` for a name that another protocol has given.
pub(super) fn packet_id(name: &Key) -> Option<PacketId> {
    match name {
        Key::Number(number) => u16::try_from(*number).ok().and_then(PacketId::new),
        Key::Name(_) => None,
    }
}
