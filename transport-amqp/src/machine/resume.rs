//! What outlives a link's attachment: unsettled maps, and deliveries that go on (Part 2, section 2.6.13).

use alloc::boxed::Box;

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::definitions::DeliveryTag;
use fe2o3_amqp_types::messaging::DeliveryState;
use fe2o3_amqp_types::performatives::Attach;
use roadbed_core::Output;

use super::{LinkId, Machine, UnsettledMap};
use crate::codec::{FRAME_BYTES_MIN, Performative, State, Tag, Transfer};
use crate::error::SendError;

/// The unsettled map of an attach. States that are not known here count as none: the delivery is in the map, and that is what matters.
pub fn unsettled_map(attach: &Attach) -> UnsettledMap {
    let map = attach.unsettled.iter().flat_map(|map| map.iter());
    map.filter_map(|(tag, state)| Some((Tag::new(tag)?, state.as_ref().and_then(read_state)))).collect()
}

impl Machine {
    /// Whether only deliveries of earlier attachments go on this link, since one end could not name all that it has not settled: when
    /// they are settled, the link is to be detached, and attached again.
    pub fn only_resumes(&self, id: LinkId) -> bool {
        let link = self.sessions.get(&id.session.0).and_then(|session| session.links.get(id.handle as usize));
        link.and_then(Option::as_deref).is_some_and(|link| link.only_resumes)
    }

    /// Tells the receiver, which has named this delivery in its unsettled map, that it is settled: without its message, since its outcome is known.
    ///
    /// # Errors
    /// [`SendError`] if the link is not attached, or has no credit.
    pub fn settle_resumed(
        &mut self,
        id: LinkId,
        tag: Tag,
        state: Option<State>,
        out: &mut Output,
    ) -> Result<(), SendError> {
        self.conclude(id, Transfer { delivery_tag: Some(tag), state, settled: Some(true), ..Transfer::default() }, out)
    }

    /// Gives up a delivery that the receiver has only a part of: it may be sent anew.
    ///
    /// # Errors
    /// [`SendError`] if the link is not attached, or has no credit.
    pub fn abort_resumed(&mut self, id: LinkId, tag: Tag, out: &mut Output) -> Result<(), SendError> {
        self.conclude(id, Transfer { delivery_tag: Some(tag), aborted: true, ..Transfer::default() }, out)
    }

    fn conclude(&mut self, id: LinkId, last: Transfer, out: &mut Output) -> Result<(), SendError> {
        let (session, first) = self.begin_transfer(id, 0, None)?;
        // Neither end has anything to settle after this, whatever the link's settle mode.
        session.sent.remove(session.next_sent - 1);
        let Transfer { handle, delivery_id, message_format, .. } = first;
        let transfer = Transfer { handle, delivery_id, message_format, resume: true, ..last };
        self.queue_transfer(id.session, transfer, out);
        Ok(())
    }

    /// Writes an attach with as much of the map as the peer's frames have room for.
    pub(super) fn put_attach(&mut self, id: LinkId, mut attach: Attach, map: &UnsettledMap, out: &mut Output) {
        let room = (self.peer_frame_max as usize).saturating_sub(FRAME_BYTES_MIN);
        fit(&mut attach, map, room);
        if attach.incomplete_unsettled
            && let Some(link) = self.sessions.get_mut(&id.session.0).and_then(|session| session.link(id.handle))
        {
            link.only_resumes = true;
        }
        self.put(id.session.0, &Performative::Attach(Box::new(attach)), out);
    }
}

/// Puts as many deliveries of the map into the attach as it may have within `room` bytes.
fn fit(attach: &mut Attach, map: &UnsettledMap, room: usize) {
    let entry = |(tag, state): (&Tag, &Option<State>)| (DeliveryTag::from(tag.to_vec()), write_state(state.as_ref()));
    if map.is_empty() {
        return;
    }
    let mut count = map.len();
    while count > 0 {
        attach.unsettled = Some(map.iter().take(count).map(entry).collect());
        let mut encoded = BytesMut::new();
        Performative::Attach(Box::new(attach.clone())).encode(&mut encoded);
        if encoded.len() <= room {
            return;
        }
        attach.incomplete_unsettled = true;
        count = (count * room / encoded.len()).min(count - 1);
    }
    attach.unsettled = None;
}

fn read_state(state: &DeliveryState) -> Option<State> {
    let encoded: Bytes = serde_amqp::to_vec(state).ok()?.into();
    State::read(&encoded, &encoded).ok()
}

fn write_state(state: Option<&State>) -> Option<DeliveryState> {
    let mut encoded = BytesMut::new();
    state?.write(&mut encoded);
    serde_amqp::from_slice(&encoded).ok()
}
