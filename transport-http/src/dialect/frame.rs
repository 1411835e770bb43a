//! A message with its headers.

use http::{HeaderMap, HeaderValue};
use roadbed_core::{
    Address, Delivery, DeliveryId, DeliveryInfo, Error, ErrorKind, LogPlace, Losses, Message, Payload, Qos,
    ReadContext, Result, Time, WireMessage,
};

use super::HttpQos;
use crate::codec::fields::{self, Fields, PROPERTY_BYTES_MAX, Side};
use crate::codec::{beside, names};

/// The parts of a request or a response that carry a message.
#[derive(Clone, Debug)]
pub struct HttpMessage {
    /// Where it was sent to: of the path, or the header `roadbed-address`.
    pub address: Address,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub payload: Payload,
}

impl WireMessage for HttpMessage {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        self.read_beside(context, 0)
    }

    fn write(delivery: &Delivery, now: Time, losses: &mut Losses) -> Result<Self> {
        Ok(Self::delivery(delivery, now, PROPERTY_BYTES_MAX, losses))
    }
}

impl HttpMessage {
    /// Reads a request. A sidecar is believed if it has at most so many bytes.
    ///
    /// # Errors
    /// If a header of ours is not what it has to be.
    pub fn read_beside(self, context: &ReadContext<'_>, sidecar_bytes_max: usize) -> Result<Message> {
        let fields = Fields::read(&self.headers, Side::Request, context.now);
        let fields = fields.map_err(|error| Error::new(ErrorKind::Invalid, "read a message").detail(error))?;
        let fields = fields.believe(&self.headers, sidecar_bytes_max);
        Ok(fields.message(self.address, self.payload, Some(context.origin.clone()), context.now))
    }

    /// Writes a delivery, with a sidecar of at most so many bytes.
    pub fn write_beside(delivery: &Delivery, now: Time, sidecar_bytes_max: usize, losses: &mut Losses) -> Self {
        let mut lost = Losses::default();
        let mut written = Self::delivery(delivery, now, PROPERTY_BYTES_MAX, &mut lost);
        match beside::write(&delivery.message, sidecar_bytes_max) {
            Some(sidecar) => {
                written.headers.append(names::SIDECAR, sidecar);
            }
            None => losses.absorb(&mut lost),
        }
        written
    }

    /// A delivery as a response, with at most `bytes_max` bytes of properties.
    pub(crate) fn delivery(delivery: &Delivery, now: Time, bytes_max: usize, losses: &mut Losses) -> Self {
        let message = &delivery.message;
        let mut headers = fields::write(message, now, bytes_max, losses);
        headers.append(names::QOS, HttpQos(delivery.qos).to_value());
        headers.append(names::ATTEMPT, delivery.attempt.into());
        if delivery.retained {
            headers.append(names::RETAINED, fields::TRUE);
        }
        if delivery.handle.is_none() {
            headers.append(names::SETTLED, fields::TRUE);
        }
        if let Some(info) = &delivery.info {
            write_info(info, &mut headers);
        }
        Self { address: message.address().clone(), headers, payload: message.payload().clone() }
    }

    /// A message as a request.
    pub(crate) fn request(message: &Message, qos: Qos, now: Time, losses: &mut Losses) -> Self {
        let mut headers = fields::write(message, now, PROPERTY_BYTES_MAX, losses);
        headers.remove(names::ADDRESS);
        headers.remove(names::SENDER);
        headers.remove(names::SENDER_PROTOCOL);
        if qos != Qos::AtLeastOnce {
            headers.append(names::QOS, HttpQos(qos).to_value());
        }
        Self { address: message.address().clone(), headers, payload: message.payload().clone() }
    }

    /// Reads a response as a delivery that has no name yet; `None` if a header that every delivery has is missing or broken.
    pub(crate) fn into_delivery(self, now: Time) -> Option<Delivery> {
        let fields = Fields::read(&self.headers, Side::Response, now).ok()?;
        let (qos, origin) = (fields.qos?, fields.sender());
        let message = fields.message(self.address, self.payload, origin, now);
        let attempt = number(&self.headers, names::ATTEMPT)?;
        let info = read_info(&self.headers, now).map(Box::new);
        let retained = self.headers.contains_key(names::RETAINED);
        Some(Delivery { message, handle: None, qos, retained, attempt, info })
    }

    /// The address that the headers of a response name.
    pub(crate) fn address_of(headers: &HeaderMap) -> Option<Address> {
        Address::from_path(headers.get(names::ADDRESS)?.to_str().ok()?).ok()
    }
}

fn write_info(info: &DeliveryInfo, headers: &mut HeaderMap) {
    headers.append(names::DELIVERY_ID, hex(&info.id.to_bytes()));
    headers.append(names::DELIVERY_COUNT, info.count.into());
    headers.append(names::ENQUEUED_MS, info.enqueued_at.as_millis().into());
    if let Some(place) = info.log {
        headers.append(names::PARTITION, place.partition.into());
        headers.append(names::POSITION, place.position.into());
    }
    if let Some(until) = info.lease_until {
        headers.append(names::LOCK_UNTIL_MS, until.as_millis().into());
    }
}

fn read_info(headers: &HeaderMap, now: Time) -> Option<DeliveryInfo> {
    let id = headers.get(names::DELIVERY_ID).and_then(|value| unhex(value.as_bytes()))?;
    let enqueued_at = number(headers, names::ENQUEUED_MS).map_or(now, Time::from_millis);
    let mut info = DeliveryInfo::new(DeliveryId::from_bytes(&id)?, enqueued_at);
    info.count = number(headers, names::DELIVERY_COUNT).unwrap_or_default();
    info.lease_until = number(headers, names::LOCK_UNTIL_MS).map(Time::from_millis);
    let place = number(headers, names::PARTITION).zip(number(headers, names::POSITION));
    info.log = place.map(|(partition, position)| LogPlace { partition, position });
    Some(info)
}

pub(crate) fn number<T: std::str::FromStr>(headers: &HeaderMap, name: http::HeaderName) -> Option<T> {
    headers.get(name)?.to_str().ok().and_then(fields::digits)
}

fn hex(bytes: &[u8]) -> HeaderValue {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(text).expect("hexadecimal digits are ASCII")
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let pairs = text.chunks(2).map(|pair| Some((digit(pair.first()?)? * 16 + digit(pair.get(1)?)?) as u8));
    pairs.collect()
}
