use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::{Buf, Bytes, BytesMut};
use fe2o3_amqp_types::definitions::Role as RoleOf;
use fe2o3_amqp_types::messaging::{Target, TargetArchetype};
use fe2o3_amqp_types::performatives::Attach;
use roadbed_amqp::codec::{Disposition, Fault, Flow, ProtocolHeader, State, Tag, Transfer};
use roadbed_amqp::{Accept, Event, LinkId, Machine, MachineConfig, Sending, SessionId};
use roadbed_core::{Delivery, Losses, Message, Output, Protocol, Qos, Role, Time};

/// An open and a begin: what the interesting frames need before them.
const OPEN: &[u8] = &[0, 0, 0, 17, 2, 0, 0, 0, 0x00, 0x53, 0x10, 0xc0, 4, 1, 0xa1, 1, b'c'];
const BEGIN: &[u8] = &[0, 0, 0, 20, 2, 0, 0, 0, 0x00, 0x53, 0x11, 0xc0, 7, 4, 0x40, 0x43, 0x52, 50, 0x52, 50];

/// The answer to a begin of ours on channel 0.
const BEGUN: &[u8] = &[0, 0, 0, 22, 2, 0, 0, 0, 0x00, 0x53, 0x11, 0xc0, 9, 4, 0x60, 0, 0, 0x43, 0x52, 50, 0x52, 50];

/// The machine as a server, under frames, raw bytes, commands and time: whatever comes, it does not panic, says no more than it was asked,
/// and once closed it stays silent.
pub fn amqp_server(data: &[u8]) {
    let mut out = Output::new();
    let mut end = End::new(Machine::server(limits(), Time::ZERO));
    end.hear(&ProtocolHeader::Amqp.bytes(), &mut out);
    end.hear(OPEN, &mut out);
    end.hear(BEGIN, &mut out);
    // At the end of the data there is nothing more to do.
    let _ = end.run(&mut Unstructured::new(data), &mut out);
}

/// As [`amqp_server`], as a client that has begun a session.
pub fn amqp_client(data: &[u8]) {
    let mut out = Output::new();
    let mut end = End::new(Machine::client(limits(), None, None, Time::ZERO, &mut out));
    end.hear(&ProtocolHeader::Amqp.bytes(), &mut out);
    end.hear(OPEN, &mut out);
    end.machine.begin(&mut out).expect("an open connection has room for a session");
    end.hear(BEGUN, &mut out);
    let _ = end.run(&mut Unstructured::new(data), &mut out);
}

fn limits() -> Arc<MachineConfig> {
    let limits = MachineConfig::default().message_bytes_max(4000).links_max(4).sessions_max(2).incoming_window(20);
    Arc::new(limits.sasl_required(false))
}

struct End {
    machine: Machine,
    now: Time,
    links: Vec<(LinkId, u64)>,
}

impl End {
    const fn new(machine: Machine) -> Self {
        Self { machine, now: Time::ZERO, links: vec![] }
    }

    fn run(&mut self, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        while !u.is_empty() {
            let closed = self.machine.is_closed();
            self.step(u, out)?;
            self.machine.flush(out);
            assert!(!closed || out.is_empty(), "a closed end is silent");
            out.advance(out.remaining());
        }
        Ok(())
    }

    fn step(&mut self, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let index = u.int_in_range(0..=3)?;
        let (link, delivery) =
            self.links.get(index).copied().unwrap_or((LinkId { session: SessionId(0), handle: 0 }, 0));
        match u.int_in_range(0..=12)? {
            0 => {
                let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
                self.hear(u.bytes(len)?, out);
            }
            1 => self.attach(u, out)?,
            2 => self.transfer(u, out)?,
            3 => self.flow(u, out)?,
            4 => self.disposition(u, out)?,
            5 => self.accept(link, u, out)?,
            6 => _ = self.machine.refuse(link, Fault::new("amqp:not-found", "no"), out),
            7 => _ = self.machine.grant(link, u.arbitrary()?, u.arbitrary()?, None, out),
            8 if u.arbitrary()? => self.machine.dispose(link.session, delivery, None, u.arbitrary()?, out),
            8 => self.machine.answer(link.session, delivery, State::Accepted, out),
            9 => self.deliver(link, u, out)?,
            10 => _ = self.machine.detach(link, u.arbitrary()?, None, out).or_else(|_| self.machine.drained(link, out)),
            11 => self.attach_ours(link.session, u, out)?,
            _ => {
                self.now = self.now + Duration::from_secs(u.arbitrary::<u8>()?.into());
                _ = self.machine.handle_timeout(self.now, out);
            }
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8], out: &mut Output) {
        let (chunk, mut at) = (Bytes::copy_from_slice(bytes), 0);
        while let Ok(Some(event)) = self.machine.next(self.now, &chunk, &mut at, out) {
            match event {
                // A client is open with that.
                Event::Open(_) => _ = self.machine.open(out),
                Event::Attach(link, _) => self.links.insert(0, (link, 0)),
                Event::Transfer(incoming) => self.links.insert(0, (incoming.link, incoming.delivery)),
                Event::Disposed(said) => {
                    said.deliveries.iter().for_each(|sent| self.machine.forget(said.session, sent.number, None, out));
                }
                _ => {}
            }
            self.links.truncate(4);
        }
    }

    fn frame(&mut self, body: &[u8], out: &mut Output) {
        let frame = [&(body.len() as u32 + 8).to_be_bytes()[..], &[2, 0, 0, 0], body].concat();
        self.hear(&frame, out);
    }

    /// A link with a name and a handle of one byte each, in either role.
    fn attach(&mut self, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let (name, handle, receiver) = (u.int_in_range(b'a'..=b'e')?, u.int_in_range(0..=5)?, u.arbitrary::<bool>()?);
        let role = if receiver { 0x41 } else { 0x42 };
        self.frame(&[0x00, 0x53, 0x12, 0xc0, 7, 3, 0xa1, 1, name, 0x52, handle, role], out);
        Ok(())
    }

    /// We ask for a link, by one of the names that the peer uses, too.
    fn attach_ours(&mut self, session: SessionId, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let (name, role) =
            (u.int_in_range(b'a'..=b'e')?, if u.arbitrary()? { RoleOf::Receiver } else { RoleOf::Sender });
        let tags = (0..u.int_in_range(0..=40)?).filter_map(|n: u8| Tag::new(&[n; 20]));
        let attach = Attach {
            name: char::from(name).into(),
            handle: 0.into(),
            role,
            snd_settle_mode: Default::default(),
            rcv_settle_mode: Default::default(),
            source: Some(Box::default()),
            target: Some(Box::new(TargetArchetype::Target(Target::default()))),
            unsettled: None,
            incomplete_unsettled: u.ratio(1, 8)?,
            initial_delivery_count: Some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let unsettled = tags.map(|tag| (tag, None)).collect();
        if let Ok(link) = self.machine.attach(session, attach, &unsettled, out) {
            self.links.insert(0, (link, 0));
            self.links.truncate(4);
        }
        Ok(())
    }

    fn accept(&mut self, link: LinkId, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let tags = (0..u.int_in_range(0..=40)?).filter_map(|n: u8| Tag::new(&[n; 20]));
        let (unsettled, first_only, resumed) = (tags.map(|tag| (tag, None)).collect(), u.arbitrary()?, u.arbitrary()?);
        let accept = Accept { source: Some(Default::default()), target: None, unsettled, resumed, first_only };
        _ = self.machine.accept(link, accept, out);
        Ok(())
    }

    fn transfer(&mut self, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let transfer = Transfer {
            handle: u.int_in_range(0..=5)?,
            delivery_id: u.arbitrary()?,
            delivery_tag: u.arbitrary::<bool>()?.then(|| Tag::new(b"t")).flatten(),
            settled: u.arbitrary()?,
            more: u.arbitrary()?,
            rcv_settle_mode: u.arbitrary::<bool>()?.then_some(1),
            resume: u.ratio(1, 8)?,
            aborted: u.ratio(1, 8)?,
            ..Transfer::default()
        };
        let mut body = BytesMut::new();
        transfer.encode(&mut body);
        body.resize(body.len() + usize::from(u.arbitrary::<u8>()?) * 8, 1);
        self.frame(&body, out);
        Ok(())
    }

    fn flow(&mut self, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let (next_incoming_id, incoming_window, handle) =
            (u.arbitrary()?, u.arbitrary()?, u.arbitrary::<Option<u8>>()?);
        let (delivery_count, link_credit, drain, echo) = u.arbitrary()?;
        let handle = handle.map(u32::from);
        let flow = Flow {
            next_incoming_id,
            incoming_window,
            handle,
            delivery_count,
            link_credit,
            drain,
            echo,
            ..Flow::default()
        };
        let mut body = BytesMut::new();
        flow.encode(&mut body);
        self.frame(&body, out);
        Ok(())
    }

    fn disposition(&mut self, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let role = if u.arbitrary()? { Role::Receiver } else { Role::Sender };
        let (first, last, settled) = u.arbitrary()?;
        let state = u.arbitrary::<bool>()?.then_some(State::Released);
        let mut body = BytesMut::new();
        Disposition { role, first, last, settled, state, batchable: false }.encode(&mut body);
        self.frame(&body, out);
        Ok(())
    }

    fn deliver(&mut self, link: LinkId, u: &mut Unstructured<'_>, out: &mut Output) -> Result<()> {
        let payload = vec![7; usize::from(u.arbitrary::<u16>()?)];
        let message = Message::new("a".parse().expect("an address"), payload);
        let (cookie, resume, tag) = (u.arbitrary()?, u.arbitrary()?, Tag::new(&u.arbitrary::<[u8; 2]>()?));
        let sending = Sending { cookie, tag, resume, first: u.arbitrary()?, state: None };
        let delivery =
            Delivery { message, handle: None, qos: Qos::AtLeastOnce, retained: false, attempt: 1, info: None };
        let room = self.machine.room(link);
        if u.ratio(1, 8)? {
            _ = self.machine.settle_resumed(link, tag.unwrap_or_default(), None, out);
            return Ok(());
        }
        let sent = self.machine.deliver(link, &delivery, sending, self.now, &mut Losses::default(), out);
        assert!(sent.is_ok() || room == 0, "there was room, but {sent:?}");
        Ok(())
    }
}
