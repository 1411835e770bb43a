use alloc::boxed::Box;
use alloc::sync::Arc;
use core::num::NonZeroU16;

use roadbed_core::{Origin, Output, Time};

use super::alias::AliasesOut;
use super::clock::Clock;
use super::quota::Quota;
use super::{End, Machine, Peer, State};
use crate::codec::{ConnAck, Connect, Packet, Subscribe, Unsubscribe};
use crate::config::MachineConfig;
use crate::error::SendError;

impl Machine {
    /// The client's end of a connection, and its CONNECT. What the configuration bounds is told as it stands there: Receive Maximum, Maximum Packet Size and Topic
    /// Alias Maximum. `origin` is stamped on every message that comes.
    ///
    /// # Errors
    /// [`SendError::Encode`] if the packet cannot be written.
    pub fn client(
        config: Arc<MachineConfig>,
        mut connect: Connect,
        origin: Arc<Origin>,
        now: Time,
        out: &mut Output,
    ) -> Result<Self, SendError> {
        if connect.version.is_v5() {
            connect.receive_maximum = NonZeroU16::new(config.receive_maximum).filter(|max| max.get() != u16::MAX);
            connect.maximum_packet_size = Some(config.limits.packet_bytes_max);
            connect.topic_alias_maximum = Some(config.topic_aliases_in_max).filter(|&max| max != 0);
        }
        let mut this = Self::new(config, End::Client, now, connect.version);
        let peer = Peer::client(&connect);
        this.origin = origin;
        this.put(&Packet::Connect(Box::new(connect)), out)?;
        // The limits in a CONNECT are the client's own; of the server's nothing is known yet but what was asked of it.
        this.peer = Peer { packet_bytes_max: u32::MAX, topic_alias_maximum: 0, problem_information: true, ..peer };
        Ok(this)
    }

    /// Asks for subscriptions.
    ///
    /// # Errors
    /// [`SendError::Subscription`] if the server said that it takes none with wildcards, of a group, or with an identifier; else [`SendError`] names each case.
    pub fn subscribe(&mut self, packet: Subscribe, out: &mut Output) -> Result<(), SendError> {
        self.is_open_as(End::Client)?;
        let peer = &self.peer;
        let takes = |filter: &str| {
            let shared = filter.starts_with("$share/");
            (peer.wildcards_available || !filter.contains(['+', '#'])) && (peer.shares_available || !shared)
        };
        let id = packet.subscription_id.is_none() || peer.subscription_ids_available;
        if !id || !packet.subscriptions.iter().all(|subscription| takes(&subscription.filter)) {
            return Err(SendError::Subscription);
        }
        self.put(&Packet::Subscribe(packet), out)
    }

    /// Ends subscriptions.
    ///
    /// # Errors
    /// [`SendError`] names each case.
    pub fn unsubscribe(&mut self, packet: Unsubscribe, out: &mut Output) -> Result<(), SendError> {
        self.is_open_as(End::Client)?;
        self.put(&Packet::Unsubscribe(packet), out)
    }

    /// Asks whether the server is there, beyond the pings that the machine sends of its own accord.
    ///
    /// # Errors
    /// [`SendError::NotConnected`].
    pub fn ping(&mut self, out: &mut Output) -> Result<(), SendError> {
        self.is_open_as(End::Client)?;
        self.put(&Packet::PingReq, out)
    }

    /// CONNACK came.
    pub(super) fn welcomed(&mut self, connack: &ConnAck, now: Time) {
        if connack.reason.is_failure() {
            return self.close();
        }
        self.peer = Peer::server(connack, &self.peer);
        self.state = State::Open;
        self.clock = Clock::ping(now, self.peer.keep_alive_secs, self.config.ping_timeout);
        self.quota_out = Quota::new(self.peer.receive_maximum);
        self.aliases_out = AliasesOut::new(self.config.topic_aliases_out_max.min(self.peer.topic_alias_maximum));
    }
}
