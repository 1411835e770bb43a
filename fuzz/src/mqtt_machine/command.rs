use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use roadbed_core::{
    Address, Condition, Confirm, Delivery, DeliveryId, DeliveryInfo, Handle, Message, Outcome, Qos, Time,
};
use roadbed_mqtt::Welcome;
use roadbed_mqtt::codec::{
    AckKind, Disconnect, Notes, PacketId, PacketType, QoS, ReasonCode, Subscribe, Subscription, Unsubscribe,
};

use super::end::End;

impl End {
    /// One command of the caller. A caller answers what was asked, once; all else is free.
    pub(super) fn command(&mut self, op: u8, u: &mut Unstructured<'_>, now: Time) -> Result<()> {
        self.events.clear();
        match op % 12 {
            0 | 1 => self.open(u, now),
            2 | 3 => self.transfer(u, now),
            4 => self.confirm(u),
            5 => self.complete(u),
            6 => self.answer(u),
            7 => self.acknowledge(u),
            8 => self.subscribe(u),
            9 => self.authenticate(u),
            10 => self.disconnect(u),
            _ => {
                let before = self.out.len();
                let result = self.machine.ping(&mut self.out);
                self.did(before, &result);
                Ok(())
            }
        }?;
        // What waited for an answer to CONNECT can be read now.
        self.read(now);
        Ok(())
    }

    fn open(&mut self, u: &mut Unstructured<'_>, now: Time) -> Result<()> {
        let before = self.out.len();
        let result = if u.ratio(1, 8)? {
            let reason = reason(u, PacketType::ConnAck)?;
            self.machine.refuse(reason, notes(u)?, &mut self.out)
        } else {
            let welcome = Welcome {
                session_present: u.arbitrary()?,
                client_id: Some("assigned".into()),
                session_expiry_secs: u.arbitrary::<u8>()?.into(),
                qos_max: Some(*u.choose(&[QoS::ExactlyOnce, QoS::AtLeastOnce])?),
                notes: notes(u)?,
                ..Welcome::default()
            };
            let result = self.machine.accept(welcome, now, &mut self.out);
            self.watch.accepted |= result.is_ok();
            result
        };
        let refused = self.machine.is_closed();
        self.did(if refused { self.out.len() } else { before }, &result);
        Ok(())
    }

    fn transfer(&mut self, u: &mut Unstructured<'_>, now: Time) -> Result<()> {
        let (message, slot, dup) = (message(u, now)?, u.arbitrary::<u16>()?.max(1), u.arbitrary()?);
        let qos = *u.choose(&Qos::ALL)?;
        let before = self.out.len();
        let result = if u.arbitrary()? {
            let handle = Handle::new(slot, 1);
            let info = u.ratio(1, 4)?.then(|| {
                let id = DeliveryId::from_bytes(&[7; DeliveryId::LEN]).expect("twenty bytes");
                Box::new(DeliveryInfo { bindings: vec![1, 268_435_455], ..DeliveryInfo::new(id, now) })
            });
            let delivery = Delivery { message, handle, qos, retained: u.arbitrary()?, attempt: 1, info };
            self.machine.deliver(&delivery, dup, now, &mut self.out)
        } else {
            self.machine.publish_message(&message, qos, PacketId::new(slot), dup, now, &mut self.out)
        };
        self.did(before, &result);
        Ok(())
    }

    fn confirm(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let outcome = match u.arbitrary::<u8>()? % 4 {
            0 | 1 => Outcome::Accepted,
            2 => Outcome::Released,
            _ => Outcome::rejected(*u.choose(Condition::ALL)?),
        };
        let Some(at) = pick(u, self.watch.unanswered.len())? else { return Ok(()) };
        let incoming = self.watch.unanswered[at].clone();
        let confirm = Confirm { cookie: incoming.cookie(), outcome, why: None, provisional: None };
        let before = self.out.len();
        let result = self.machine.confirm(&confirm, &mut self.out);
        if self.did(before, &result) && self.out.len() > before {
            self.watch.unanswered.remove(at);
            let positive = confirm.outcome == Outcome::Accepted;
            let id = incoming.packet_id.filter(|_| positive && incoming.qos == Qos::ExactlyOnce);
            self.watch.received.extend(id);
        }
        Ok(())
    }

    fn complete(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(at) = pick(u, self.watch.received.len())? else { return Ok(()) };
        let id = self.watch.received[at];
        let before = self.out.len();
        let result = self.machine.complete(id, ReasonCode::Success, &mut self.out);
        if self.did(before, &result) {
            self.watch.received.remove(at);
        }
        Ok(())
    }

    fn answer(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(at) = pick(u, self.watch.asked.len())? else { return Ok(()) };
        let (subscribe, id, filters) = self.watch.asked.remove(at);
        let (before, notes) = (self.out.len(), notes(u)?);
        let kind = if subscribe { PacketType::SubAck } else { PacketType::UnsubAck };
        let codes = (0..filters).map(|_| reason(u, kind)).collect::<Result<Vec<_>>>()?;
        let result = match subscribe {
            true => self.machine.subscribed(id, codes, notes, &mut self.out),
            false => self.machine.unsubscribed(id, codes, notes, &mut self.out),
        };
        self.did(before, &result);
        Ok(())
    }

    /// The second half of what was sent; a caller says PUBREL only.
    fn acknowledge(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let id = PacketId::new(u.arbitrary::<u16>()?.max(1)).expect("one or more");
        let before = self.out.len();
        let result = self.machine.release(id, reason(u, AckKind::PubRel.packet_type())?, &mut self.out);
        self.did(before, &result);
        Ok(())
    }

    fn subscribe(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let id = PacketId::new(u.arbitrary::<u16>()?.max(1)).expect("one or more");
        let filter = *u.choose(&["a", "a/#", "+/b", "$share/g/a"])?;
        let before = self.out.len();
        let result = if u.arbitrary()? {
            let (subscription_id, subscriptions) =
                (u.arbitrary::<bool>()?.then_some(5), vec![Subscription::new(filter, QoS::ExactlyOnce)]);
            let packet = Subscribe { packet_id: id, subscription_id, user: vec![], subscriptions };
            self.machine.subscribe(packet, &mut self.out)
        } else {
            let packet = Unsubscribe { packet_id: id, user: vec![], filters: vec![filter.into()] };
            self.machine.unsubscribe(packet, &mut self.out)
        };
        self.did(before, &result);
        Ok(())
    }

    fn authenticate(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (before, reason, notes) = (self.out.len(), reason(u, PacketType::Auth)?, notes(u)?);
        let result = self.machine.authenticate(reason, Some("data".into()), notes, &mut self.out);
        self.did(before, &result);
        Ok(())
    }

    fn disconnect(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut packet = Disconnect::new(reason(u, PacketType::Disconnect)?);
        packet.session_expiry_secs = u.arbitrary()?;
        packet.notes = notes(u)?;
        let result = self.machine.disconnect(packet, &mut self.out);
        self.events += &format!("{result:?}\n");
        Ok(())
    }
}

fn pick(u: &mut Unstructured<'_>, len: usize) -> Result<Option<usize>> {
    if len == 0 { Ok(None) } else { u.choose_index(len).map(Some) }
}

fn reason(u: &mut Unstructured<'_>, kind: PacketType) -> Result<ReasonCode> {
    let legal: Vec<_> = ReasonCode::ALL.iter().filter(|code| code.is_allowed_in(kind)).collect();
    u.choose(&legal).map(|code| **code)
}

fn notes(u: &mut Unstructured<'_>) -> Result<Notes> {
    Ok(match u.arbitrary::<u8>()? % 4 {
        0 => Notes::text("x".repeat(u.arbitrary::<u8>()?.into())),
        1 => Notes { reason_string: None, user: vec![("a".into(), "b".into())] },
        _ => Notes::default(),
    })
}

fn message(u: &mut Unstructured<'_>, now: Time) -> Result<Message> {
    let name = *u.choose(&["a", "a/b", "$SYS/x", "queues/orders", "ü"])?;
    let address = Address::new(name).expect("a legal name");
    let len = *u.choose(&[0, 1, 95, 96, 3000])?;
    let mut message = Message::builder(address, vec![b'x'; len]).retain(u.arbitrary()?);
    if u.ratio(1, 3)? {
        message = message
            .expires_at(now + Duration::from_millis(u.arbitrary::<u16>()?.into()))
            .property("name", "value")
            .details(|details| {
                details.utf8 = Some(true);
                details.content_type = Some("text/plain".into());
                details.reply_to = Address::new("re/ply").ok();
                details.correlation_id = Some(roadbed_core::Value::Binary(vec![0, 255].into()));
            });
    }
    if u.ratio(1, 8)? {
        message = message.origin(Arc::default());
    }
    Ok(message.build())
}
