//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use alloc::vec::Vec;

use bytestring::ByteString;

use super::ack::read_reason;
use super::frame::Frame;
use super::limits::Limits;
use super::property::{Notes, Place, Property, PropertySet, UserProperties, Walker, each_user, write_block};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::sink::{Body, Sink};
use super::types::{PacketId, PacketType, QoS, Version};
use crate::error::DecodeError;

/// A request for subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// What the SUBACK will name.
    pub packet_id: PacketId,
    /// The identifier that deliveries will carry, 1..=268,435,455.
    pub subscription_id: Option<u32>,
    /// The user properties.
    pub user: UserProperties,
    /// At least one.
    pub subscriptions: Vec<Subscription>,
}

/// One filter of a SUBSCRIBE with its options (section 3.8.3.1). Before MQTT 5.0 only filter and QoS are said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Not empty, well-formed UTF-8 without U+0000; its levels and wildcards are not checked here.
    pub filter: ByteString,
    /// The highest QoS of deliveries.
    pub qos: QoS,
    /// Do not deliver what this client published itself.
    pub no_local: bool,
    /// Keep the RETAIN flag of forwarded messages as it was published.
    pub retain_as_published: bool,
    /// What to do with retained messages now.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a new subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; the only way before MQTT 5.0.
    #[default]
    Send = 0,
    /// Only if the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// The answer to a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The SUBSCRIBE that it answers.
    pub packet_id: PacketId,
    /// Text and user properties.
    pub notes: Notes,
    /// One for each filter, in order [MQTT-3.8.4-6]. Before MQTT 5.0 every failure is written as 0x80.
    pub codes: Vec<ReasonCode>,
}

impl Subscription {
    /// A subscription as MQTT 3.1.1 knows it.
    pub fn new(filter: impl Into<ByteString>, qos: QoS) -> Self {
        let filter = filter.into();
        Self { filter, qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let filter = read_filter(reader)?;
        let options = reader.u8()?;
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if options & reserved != 0 {
            return Err(DecodeError::SubscriptionOptions(options));
        }
        let subscription = Self {
            qos: QoS::from_bits(options & 3).ok_or(DecodeError::QoS3)?,
            no_local: options & 0b100 != 0,
            retain_as_published: options & 0b1000 != 0,
            retain_handling: RetainHandling::from_bits(options >> 4).ok_or(DecodeError::RetainHandling)?,
            filter,
        };
        if subscription.no_local && subscription.filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalOnShare);
        }
        Ok(subscription)
    }

    fn options(&self, version: Version) -> u8 {
        if !version.is_v5() {
            return self.qos.bits();
        }
        self.qos.bits()
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// A filter that is not empty.
pub(crate) fn read_filter(reader: &mut Reader<'_>) -> Result<ByteString, DecodeError> {
    match reader.text()? {
        "" => Err(DecodeError::FilterEmpty),
        filter => Ok(filter.into()),
    }
}

impl RetainHandling {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Send,
            1 => Self::SendIfNew,
            2 => Self::DoNotSend,
            _ => return None,
        })
    }
}

/// Reads a list that goes on to the end of the packet and has 1..=`filters_max` entries.
pub(crate) fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    limits: &Limits,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if reader.is_empty() {
        return Err(DecodeError::ListEmpty);
    }
    let mut list = Vec::new();
    while !reader.is_empty() {
        if list.len() >= usize::from(limits.filters_max) {
            return Err(DecodeError::TooManyFilters(limits.filters_max));
        }
        list.push(read(reader)?);
    }
    Ok(list)
}

impl Subscribe {
    pub(crate) fn decode(frame: &Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let packet_id = reader.packet_id()?;
        let mut this = Self { packet_id, subscription_id: None, user: Vec::new(), subscriptions: Vec::new() };
        if version.is_v5() {
            for property in Walker::new(reader.properties()?, Place::Subscribe, limits) {
                match property? {
                    Property::SubscriptionId(id) => this.subscription_id = Some(id),
                    Property::User(name, value) => this.user.push((name.into(), value.into())),
                    _ => {}
                }
            }
        }
        this.subscriptions = read_list(&mut reader, limits, |reader| Subscription::read(reader, version))?;
        Ok(this)
    }
}

impl PropertySet for Subscribe {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        if let Some(id) = self.subscription_id {
            f(Property::SubscriptionId(id));
        }
        each_user(&self.user, f);
    }
}

impl Body for Subscribe {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            write_block(self, sink);
        }
        for subscription in &self.subscriptions {
            sink.text(&subscription.filter);
            sink.u8(subscription.options(version));
        }
    }
}

impl SubAck {
    pub(crate) fn decode(frame: &Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let packet_id = reader.packet_id()?;
        let notes = match version {
            Version::V5 => Notes::read(reader.properties()?, Place::Ack, limits)?,
            _ => Notes::default(),
        };
        let codes = read_list(&mut reader, limits, |reader| read_code(reader, version))?;
        Ok(Self { packet_id, notes, codes })
    }
}

fn read_code(reader: &mut Reader<'_>, version: Version) -> Result<ReasonCode, DecodeError> {
    let kind = PacketType::SubAck;
    let code = read_reason(reader, kind)?;
    let known = version.is_v5() || matches!(code.byte(), 0..=2 | 0x80);
    if known { Ok(code) } else { Err(DecodeError::ReasonCode { kind, code: code.byte() }) }
}

impl Body for SubAck {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            write_block(&self.notes, sink);
        }
        for code in &self.codes {
            let old = !version.is_v5() && code.is_failure();
            sink.u8(if old { ReasonCode::UnspecifiedError.byte() } else { code.byte() });
        }
    }
}
