//! CONNACK (section 3.2).

use core::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;

use super::ack::read_reason;
use super::frame::Frame;
use super::limits::Limits;
use super::property::{Notes, Place, Property, PropertySet, Walker, each_text, write_block};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::sink::{Body, Sink};
use super::types::{PacketType, QoS, Version};
use crate::error::DecodeError;

/// The answer to CONNECT. Before MQTT 5.0 it has only the first two fields. An absent property means its default (section 3.2.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck {
    /// The server has kept the session.
    pub session_present: bool,
    /// Success, or why the client is refused.
    pub reason: ReasonCode,
    /// Seconds that the session outlives the connection, if it is not what the client asked for.
    pub session_expiry_secs: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes at once; absent: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS the server takes; absent: 2. QoS 2 cannot be written here.
    pub maximum_qos: Option<QoS>,
    /// Whether messages can be retained; absent: yes.
    pub retain_available: Option<bool>,
    /// The largest packet the server takes, in bytes; absent: no limit.
    pub maximum_packet_size: Option<u32>,
    /// The identifier of a client that gave none.
    pub assigned_client_id: Option<ByteString>,
    /// How many topic aliases the server takes; absent: 0.
    pub topic_alias_maximum: Option<u16>,
    /// Whether filters can have wildcards; absent: yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions can have identifiers; absent: yes.
    pub subscription_ids_available: Option<bool>,
    /// Whether subscriptions can be shared; absent: yes.
    pub shared_subscription_available: Option<bool>,
    /// Seconds of keep-alive that the client must use instead of its own.
    pub server_keep_alive_secs: Option<u16>,
    /// The basis for response topics, if the client asked.
    pub response_information: Option<ByteString>,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
    /// The method of an enhanced authentication.
    pub auth_method: Option<ByteString>,
    /// The last word of an enhanced authentication.
    pub auth_data: Option<Bytes>,
    /// Text and user properties.
    pub notes: Notes,
}

impl ConnAck {
    /// A refusal without more.
    pub fn refused(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    pub(crate) fn decode(frame: &Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let flags = reader.u8()?;
        if flags & !1 != 0 {
            return Err(DecodeError::ConnAckFlags(flags));
        }
        // MQTT 3.1 knows no Session Present: its whole byte is reserved, and says nothing.
        let mut this = Self { session_present: flags == 1 && version != Version::V31, ..Self::default() };
        if version.is_v5() && frame.body().len() > 2 {
            this.reason = read_reason(&mut reader, PacketType::ConnAck)?;
            this.read_properties(reader.properties()?, limits)?;
        } else {
            this.reason = read_return_code(&mut reader, version)?;
        }
        if this.session_present && this.reason.is_failure() {
            return Err(DecodeError::SessionPresent);
        }
        reader.end().map(|()| this)
    }

    fn read_properties(&mut self, block: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        for property in Walker::new(block, Place::ConnAck, limits) {
            self.set(&property?);
        }
        match (&self.auth_method, &self.auth_data) {
            (None, Some(_)) => Err(DecodeError::AuthenticationMethodMissing),
            _ => Ok(()),
        }
    }

    fn set(&mut self, property: &Property<'_>) {
        match *property {
            Property::SessionExpiry(seconds) => self.session_expiry_secs = Some(seconds),
            Property::ReceiveMaximum(packets) => self.receive_maximum = Some(packets),
            Property::MaximumQos(qos) => self.maximum_qos = Some(qos),
            Property::RetainAvailable(on) => self.retain_available = Some(on),
            Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
            Property::AssignedClientId(id) => self.assigned_client_id = Some(id.into()),
            Property::TopicAliasMaximum(aliases) => self.topic_alias_maximum = Some(aliases),
            Property::WildcardSubscriptionAvailable(on) => self.wildcard_subscription_available = Some(on),
            Property::SubscriptionIdsAvailable(on) => self.subscription_ids_available = Some(on),
            Property::SharedSubscriptionAvailable(on) => self.shared_subscription_available = Some(on),
            Property::ServerKeepAlive(seconds) => self.server_keep_alive_secs = Some(seconds),
            Property::ResponseInformation(text) => self.response_information = Some(text.into()),
            Property::ServerReference(text) => self.server_reference = Some(text.into()),
            Property::AuthMethod(method) => self.auth_method = Some(method.into()),
            Property::AuthData(data) => self.auth_data = Some(Bytes::copy_from_slice(data)),
            ref note => self.notes.set(note),
        }
    }
}

/// The return code of MQTT 3. A server that speaks nothing newer answers a CONNECT of 5.0 with code 1 in this form, and with no other code
/// [MQTT-3.1.2-2 of 3.1.1].
fn read_return_code(reader: &mut Reader<'_>, version: Version) -> Result<ReasonCode, DecodeError> {
    let code = reader.u8()?;
    ReasonCode::from_return_code(code)
        .filter(|_| !version.is_v5() || code == 1)
        .ok_or(DecodeError::ReasonCode { kind: PacketType::ConnAck, code })
}

impl PropertySet for ConnAck {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        let mut put = |property: Option<Property<'_>>| property.into_iter().for_each(&mut *f);
        put(self.session_expiry_secs.map(Property::SessionExpiry));
        put(self.receive_maximum.map(Property::ReceiveMaximum));
        put(self.maximum_qos.filter(|&qos| qos != QoS::ExactlyOnce).map(Property::MaximumQos));
        put(self.retain_available.map(Property::RetainAvailable));
        put(self.maximum_packet_size.map(Property::MaximumPacketSize));
        put(self.assigned_client_id.as_deref().map(Property::AssignedClientId));
        put(self.topic_alias_maximum.map(Property::TopicAliasMaximum));
        put(self.notes.reason_string.as_deref().map(Property::ReasonString));
        self.notes.user.iter().for_each(|(name, value)| put(Some(Property::User(name, value))));
        put(self.wildcard_subscription_available.map(Property::WildcardSubscriptionAvailable));
        put(self.subscription_ids_available.map(Property::SubscriptionIdsAvailable));
        put(self.shared_subscription_available.map(Property::SharedSubscriptionAvailable));
        put(self.server_keep_alive_secs.map(Property::ServerKeepAlive));
        put(self.response_information.as_deref().map(Property::ResponseInformation));
        each_text(&self.server_reference, Property::ServerReference, f);
        each_text(&self.auth_method, Property::AuthMethod, f);
        if let Some(data) = &self.auth_data {
            f(Property::AuthData(data));
        }
    }
}

impl Body for ConnAck {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        // Session present has no place in a refusal [MQTT-3.2.2-6], nor in MQTT 3.1, where the whole byte is reserved.
        sink.u8((self.session_present && !self.reason.is_failure() && version != Version::V31).into());
        if version.is_v5() {
            sink.u8(self.reason.byte());
            write_block(self, sink);
        } else {
            sink.u8(self.reason.return_code());
        }
    }
}
