use core::num::NonZeroU16;

use roadbed_core::{Address, Payload, ReadContext, Time, WireQos};

use super::{End, Incoming, Machine};
use crate::codec::{Frame, PublishView, QoS};
use crate::dialect;
use crate::error::{DecodeError, Error};

impl Machine {
    /// Reads a PUBLISH: one allocation, for the message; none for its topic if it is that of the last one.
    pub(super) fn publish(&mut self, frame: Frame<'_>, now: Time) -> Result<Incoming, Error> {
        let view = PublishView::read(frame, self.peer.version, &self.limits)?;
        self.check(&view)?;
        let address = self.address(&view)?;
        let context = ReadContext { origin: &self.origin, now };
        let (durability, sidecar_bytes_max) = (self.config.durability, self.config.sidecar_bytes_max);
        let message = dialect::read_view(&view, address, payload(&view), durability, &context, sidecar_bytes_max);
        Ok(Incoming {
            message,
            qos: view.qos.read(),
            dup: view.dup,
            packet_id: view.packet_id,
            subscription_ids: view.properties.subscription_ids().collect(),
        })
    }

    /// What is legal, but not on this connection.
    fn check(&mut self, view: &PublishView<'_>) -> Result<(), Error> {
        if self.end == End::Server {
            if view.properties.has_subscription_ids() {
                return Err(Error::SubscriptionId);
            }
            if view.qos > self.qos_max {
                return Err(Error::Qos(view.qos.bits()));
            }
            if view.retain && !self.config.retain_available {
                return Err(Error::Retain);
            }
        }
        let counts = view.qos != QoS::AtMostOnce && self.peer.version.is_v5();
        if counts && !self.quota_in.take() {
            return Err(Error::ReceiveMaximum(self.config.receive_maximum));
        }
        Ok(())
    }

    /// The topic name in full, whether it came so or by its alias.
    fn address(&mut self, view: &PublishView<'_>) -> Result<Address, DecodeError> {
        let alias = view.properties.topic_alias;
        let max = self.config.topic_aliases_in_max;
        if let (true, Some(alias)) = (view.topic_bytes().is_empty(), alias) {
            return self.aliases_in.find(alias, max).cloned();
        }
        let address = self.same_or_new(view)?;
        self.learn(alias, &address, max).map(|()| address)
    }

    fn same_or_new(&mut self, view: &PublishView<'_>) -> Result<Address, DecodeError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str().as_bytes() == view.topic_bytes()) {
            return Ok(last.clone());
        }
        // A copy, so that a topic that is kept does not pin the buffer it came in.
        let address = Address::from_checked(view.topic()?.into());
        self.last = Some(address.clone());
        Ok(address)
    }

    fn learn(&mut self, alias: Option<NonZeroU16>, address: &Address, max: u16) -> Result<(), DecodeError> {
        alias.map_or(Ok(()), |alias| self.aliases_in.set(alias, address, max))
    }
}

fn payload(view: &PublishView<'_>) -> Payload {
    match view.payload_bytes() {
        small if small.len() <= Payload::INLINE_MAX => Payload::copy_from_slice(small),
        _ => view.payload().into(),
    }
}
