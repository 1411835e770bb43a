//! CONNECT (section 3.1).

use core::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;

use super::frame::Frame;
use super::limits::Limits;
use super::property::{Place, Property, PropertySet, UserProperties, Walker, each_text, each_user, write_block};
use super::reader::Reader;
use super::sink::{Body, Sink};
use super::text::topic;
use super::types::{QoS, Version};
use crate::error::DecodeError;

/// The first packet of a connection. Properties are of MQTT 5.0 only; an absent one means its default (section 3.1.2.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that the connection will speak.
    pub version: Version,
    /// Forget an earlier session (Clean Session before MQTT 5.0).
    pub clean_start: bool,
    /// Seconds between packets of the client at the most; zero is off.
    pub keep_alive_secs: u16,
    /// Who the client is; empty asks for a name.
    pub client_id: ByteString,
    /// What to publish when the connection is lost.
    pub will: Option<Will>,
    /// The user name, which may be empty: that is not the same as none.
    pub user_name: Option<ByteString>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
    /// Seconds that the session outlives the connection; absent: 0.
    pub session_expiry_secs: Option<u32>,
    /// How many QoS 1 and 2 messages the client takes at once; absent: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet the client takes, in bytes; absent: no limit.
    pub maximum_packet_size: Option<u32>,
    /// How many topic aliases the client takes; absent: 0.
    pub topic_alias_maximum: Option<u16>,
    /// The client would like Response Information; absent: no.
    pub request_response_information: Option<bool>,
    /// Reason strings and user properties may come in any packet; absent: yes.
    pub request_problem_information: Option<bool>,
    /// The method of an enhanced authentication.
    pub auth_method: Option<ByteString>,
    /// The first word of an enhanced authentication.
    pub auth_data: Option<Bytes>,
    /// The user properties.
    pub user: UserProperties,
}

/// The will of a client (section 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will {
    /// Where to publish it; not empty, without wildcards.
    pub topic: ByteString,
    /// The payload.
    pub payload: Bytes,
    /// The quality of service to publish it with.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// Seconds to wait for the client to come back; absent: 0.
    pub delay_secs: Option<u32>,
    /// As in [`super::PublishProperties::payload_is_text`].
    pub payload_is_text: Option<bool>,
    /// Lifetime in seconds from publication.
    pub message_expiry_secs: Option<u32>,
    /// The content type.
    pub content_type: Option<ByteString>,
    /// Where an answer should go.
    pub response_topic: Option<ByteString>,
    /// What an answer should carry.
    pub correlation_data: Option<Bytes>,
    /// The user properties.
    pub user: UserProperties,
}

const USER_NAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS: u8 = 0b0001_1000;
const WILL: u8 = 0b0000_0100;
const CLEAN_START: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;

impl Connect {
    /// A clean start without keep-alive.
    pub fn new(version: Version, client_id: impl Into<ByteString>) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: client_id.into(),
            will: None,
            user_name: None,
            password: None,
            session_expiry_secs: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: None,
            request_problem_information: None,
            auth_method: None,
            auth_data: None,
            user: UserProperties::new(),
        }
    }

    pub(crate) fn decode(frame: &Frame<'_>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let version = read_version(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let mut this = Self::new(version, "");
        this.clean_start = flags & CLEAN_START != 0;
        this.keep_alive_secs = reader.u16()?;
        if version.is_v5() {
            this.read_properties(reader.properties()?, limits)?;
        }
        this.client_id = reader.text()?.into();
        if flags & WILL != 0 {
            this.will = Some(Will::read(&mut reader, flags, version, limits)?);
        }
        if flags & USER_NAME != 0 {
            this.user_name = Some(reader.text()?.into());
        }
        if flags & PASSWORD != 0 {
            this.password = Some(Bytes::copy_from_slice(reader.binary()?));
        }
        reader.end()?;
        this.check_client_id().map(|()| this)
    }

    fn read_properties(&mut self, block: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        for property in Walker::new(block, Place::Connect, limits) {
            self.set(property?);
        }
        match (&self.auth_method, &self.auth_data) {
            (None, Some(_)) => Err(DecodeError::AuthenticationMethodMissing),
            _ => Ok(()),
        }
    }

    fn set(&mut self, property: Property<'_>) {
        match property {
            Property::SessionExpiry(seconds) => self.session_expiry_secs = Some(seconds),
            Property::ReceiveMaximum(packets) => self.receive_maximum = Some(packets),
            Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
            Property::TopicAliasMaximum(aliases) => self.topic_alias_maximum = Some(aliases),
            Property::RequestResponseInformation(on) => self.request_response_information = Some(on),
            Property::RequestProblemInformation(on) => self.request_problem_information = Some(on),
            Property::AuthMethod(method) => self.auth_method = Some(method.into()),
            Property::AuthData(data) => self.auth_data = Some(Bytes::copy_from_slice(data)),
            Property::User(name, value) => self.user.push((name.into(), value.into())),
            _ => {}
        }
    }

    fn check_client_id(&self) -> Result<(), DecodeError> {
        let must_have_one = match self.version {
            Version::V31 => true,
            Version::V311 => !self.clean_start,
            Version::V5 => false,
        };
        if must_have_one && self.client_id.is_empty() { Err(DecodeError::ClientId) } else { Ok(()) }
    }

    /// A password without a user name, which only MQTT 5.0 can say.
    pub(crate) fn password_alone(&self) -> bool {
        self.password.is_some() && self.user_name.is_none()
    }

    fn flags(&self) -> u8 {
        let on = |set: bool, flag: u8| if set { flag } else { 0 };
        on(self.user_name.is_some(), USER_NAME)
            | on(self.password.is_some(), PASSWORD)
            | on(self.clean_start, CLEAN_START)
            | self.will.as_ref().map_or(0, |will| WILL | on(will.retain, WILL_RETAIN) | will.qos.bits() << 3)
    }
}

/// Protocol name and level, read together: 3.1 has another name, and the shape of the rest depends on the level.
fn read_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = reader.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.u8()?;
    [Version::V31, Version::V311, Version::V5]
        .into_iter()
        .find(|version| version.level() == level && version.name().as_bytes() == name)
        .ok_or(DecodeError::ProtocolLevel(level))
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    let will_without_will = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0;
    let password_alone = !version.is_v5() && flags & (PASSWORD | USER_NAME) == PASSWORD;
    if flags & RESERVED != 0 || will_without_will || password_alone {
        return Err(DecodeError::ConnectFlags(flags));
    }
    if flags & WILL_QOS == WILL_QOS { Err(DecodeError::QoS3) } else { Ok(()) }
}

impl PropertySet for Connect {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        let mut put = |property: Option<Property<'_>>| property.into_iter().for_each(&mut *f);
        put(self.session_expiry_secs.map(Property::SessionExpiry));
        put(self.receive_maximum.map(Property::ReceiveMaximum));
        put(self.maximum_packet_size.map(Property::MaximumPacketSize));
        put(self.topic_alias_maximum.map(Property::TopicAliasMaximum));
        put(self.request_response_information.map(Property::RequestResponseInformation));
        put(self.request_problem_information.map(Property::RequestProblemInformation));
        each_user(&self.user, f);
        each_text(&self.auth_method, Property::AuthMethod, f);
        if let Some(data) = &self.auth_data {
            f(Property::AuthData(data));
        }
    }
}

impl Body for Connect {
    /// The version is the packet's own, whatever the caller says.
    fn write<S: Sink>(&self, _: Version, sink: &mut S) {
        sink.field(self.version.name().as_bytes());
        sink.u8(self.version.level());
        sink.u8(self.flags());
        sink.u16(self.keep_alive_secs);
        if self.version.is_v5() {
            write_block(self, sink);
        }
        sink.text(&self.client_id);
        if let Some(will) = &self.will {
            will.write(self.version, sink);
        }
        if let Some(name) = &self.user_name {
            sink.text(name);
        }
        if let Some(password) = &self.password {
            sink.field(password);
        }
    }
}

impl Will {
    /// A will without options.
    pub fn new(topic: impl Into<ByteString>, payload: impl Into<Bytes>, qos: QoS) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos, ..Self::default() }
    }

    fn read(reader: &mut Reader<'_>, flags: u8, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let qos = QoS::from_bits((flags & WILL_QOS) >> 3).ok_or(DecodeError::QoS3)?;
        let mut this = Self { qos, retain: flags & WILL_RETAIN != 0, ..Self::default() };
        if version.is_v5() {
            for property in Walker::new(reader.properties()?, Place::Will, limits) {
                this.set(property?);
            }
        }
        this.topic = topic(reader.binary()?)?.into();
        if this.topic.is_empty() {
            return Err(DecodeError::TopicName);
        }
        this.payload = Bytes::copy_from_slice(reader.binary()?);
        Ok(this)
    }

    fn set(&mut self, property: Property<'_>) {
        match property {
            Property::WillDelay(seconds) => self.delay_secs = Some(seconds),
            Property::PayloadFormat(is_text) => self.payload_is_text = Some(is_text),
            Property::MessageExpiry(seconds) => self.message_expiry_secs = Some(seconds),
            Property::ContentType(text) => self.content_type = Some(text.into()),
            Property::ResponseTopic(text) => self.response_topic = Some(text.into()),
            Property::CorrelationData(data) => self.correlation_data = Some(Bytes::copy_from_slice(data)),
            Property::User(name, value) => self.user.push((name.into(), value.into())),
            _ => {}
        }
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if version.is_v5() {
            write_block(self, sink);
        }
        sink.text(&self.topic);
        sink.field(&self.payload);
    }
}

impl PropertySet for Will {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        let mut put = |property: Option<Property<'_>>| property.into_iter().for_each(&mut *f);
        put(self.delay_secs.map(Property::WillDelay));
        put(self.payload_is_text.map(Property::PayloadFormat));
        put(self.message_expiry_secs.map(Property::MessageExpiry));
        put(self.content_type.as_deref().map(Property::ContentType));
        put(self.response_topic.as_deref().map(Property::ResponseTopic));
        put(self.correlation_data.as_deref().map(Property::CorrelationData));
        each_user(&self.user, f);
    }
}
