//! AMQP without a network: frames, and machines that are connected.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::definitions::{Handle, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Source, Target, TargetArchetype};
use fe2o3_amqp_types::performatives::{Attach, Begin, Open};
use roadbed_amqp::codec::{Disposition, Flow, Performative, ProtocolHeader, State};
use roadbed_amqp::{Accept, Event, LinkId, Machine, MachineConfig, UnsettledMap};
use roadbed_core::Output;

use crate::mqtt::{NOW, read};

/// More than any benchmark uses up.
const PLENTY: u32 = 1 << 30;

/// How the messages of a benchmark look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A data section and nothing else.
    Plain,
    /// With a header, properties and two application properties, as most libraries write them.
    Full,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Full];

    /// Its name in a row.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Full => "full",
        }
    }
}

/// An encoded message with a payload of `size` bytes.
pub fn message(shape: Shape, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if shape == Shape::Full {
        // Durable: no; priority: 4; a time to live of a minute.
        out.extend([0x00, 0x53, 0x70, 0xc0, 9, 3, 0x42, 0x50, 4, 0x70, 0, 0, 0xea, 0x60]);
        // A message-id, and a content type.
        let (id, json) = (b"7f1c0a52", b"application/json");
        out.extend([0x00, 0x53, 0x73, 0xc0, (2 + id.len() + 5 + 2 + json.len() + 1) as u8, 7, 0xa1, id.len() as u8]);
        out.extend(id);
        out.extend([0x40, 0x40, 0x40, 0x40, 0x40, 0xa3, json.len() as u8]);
        out.extend(json);
        let pairs = [("unit", "celsius"), ("sensor", "PT100-17")];
        let bytes: usize = pairs.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
        out.extend([0x00, 0x53, 0x74, 0xc1, bytes as u8 + 1, 4]);
        for text in pairs.iter().flat_map(|&(name, value)| [name, value]) {
            out.extend([0xa1, text.len() as u8]);
            out.extend(text.as_bytes());
        }
    }
    match u8::try_from(size) {
        Ok(size) => out.extend([0x00, 0x53, 0x75, 0xa0, size]),
        Err(_) => {
            out.extend([0x00, 0x53, 0x75, 0xb0]);
            out.extend((size as u32).to_be_bytes());
        }
    }
    out.resize(out.len() + size, b'x');
    out
}

/// The transfers of one link, on and on: their numbers are written anew for each batch.
#[derive(Debug, Clone)]
pub struct Transfers {
    batch: Vec<u8>,
    frame: usize,
    next: u32,
}

/// Where the number is in a frame; the tag repeats it.
const ID_AT: usize = 8 + 6 + 1 + 1;
const TAG_AT: usize = ID_AT + 4 + 2;

impl Transfers {
    /// Batches of `messages` transfers on handle 0.
    pub fn new(message: &[u8], settled: bool, messages: usize) -> Self {
        let mut one = vec![0, 0, 0, 0, 2, 0, 0, 0];
        let settled = if settled { 0x41 } else { 0x42 };
        one.extend([0x00, 0x53, 0x14, 0xc0, 15, 5, 0x43, 0x70, 0, 0, 0, 0, 0xa0, 4, 0, 0, 0, 0, 0x43, settled]);
        one.extend(message);
        let len = one.len() as u32;
        one[..4].copy_from_slice(&len.to_be_bytes());
        Self { batch: one.repeat(messages), frame: one.len(), next: 0 }
    }

    /// As [`new`](Self::new), going on from others.
    pub fn starting_at(next: u32, message: &[u8], settled: bool, messages: usize) -> Self {
        Self { next, ..Self::new(message, settled, messages) }
    }

    /// The number of the next transfer.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// The next batch, as if it had been read.
    pub fn read(&mut self) -> Bytes {
        for frame in self.batch.chunks_exact_mut(self.frame) {
            frame[ID_AT..ID_AT + 4].copy_from_slice(&self.next.to_be_bytes());
            frame[TAG_AT..TAG_AT + 4].copy_from_slice(&self.next.to_be_bytes());
            self.next = self.next.wrapping_add(1);
        }
        Bytes::copy_from_slice(&self.batch)
    }
}

/// What a receiver says of deliveries: accepted, all of them with one frame.
pub fn accepts(first: u32, last: u32) -> Bytes {
    let last = Some(last);
    let state = Some(State::Accepted);
    let role = roadbed_core::Role::Receiver;
    frame(&Performative::Disposition(Disposition { role, first, last, settled: true, state, batchable: false }))
}

/// Everything that a client without SASL says to have one link with an address; as the receiver it grants credit for ever.
pub fn hello(container: &str, address: &str, receiver: bool) -> Bytes {
    let mut out = BytesMut::from(&ProtocolHeader::Amqp.bytes()[..]);
    let open = Open {
        container_id: container.into(),
        hostname: None,
        max_frame_size: (128 << 10).into(),
        channel_max: 0.into(),
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    out.put(frame(&Performative::Open(Box::new(open))));
    out.put(begin());
    out.put(frame(&Performative::Attach(Box::new(attach(address, receiver)))));
    if receiver {
        out.put(frame(&Performative::Flow(credit(0, PLENTY))));
    }
    out.freeze()
}

/// Attaches of many links, with handles from `first`; receivers grant a little credit.
pub fn attaches(first: u32, links: u32, address: &str, receivers: bool) -> Bytes {
    let mut out = BytesMut::new();
    for handle in first..first + links {
        let name = format!("device-{handle:06}");
        out.put(frame(&Performative::Attach(Box::new(Attach {
            name,
            handle: Handle(handle),
            ..attach(address, receivers)
        }))));
        if receivers {
            out.put(frame(&Performative::Flow(credit(handle, 100))));
        }
    }
    out.freeze()
}

fn credit(handle: u32, credit: u32) -> Flow {
    Flow {
        next_incoming_id: None,
        incoming_window: PLENTY,
        next_outgoing_id: 0,
        outgoing_window: PLENTY,
        handle: Some(handle),
        delivery_count: None,
        link_credit: Some(credit),
        available: None,
        drain: false,
        echo: false,
        txn: None,
    }
}

fn begin() -> Bytes {
    frame(&Performative::Begin(Box::new(Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: PLENTY,
        outgoing_window: PLENTY,
        handle_max: Handle(u32::MAX),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    })))
}

/// A link as a client asks for it.
pub fn attach(address: &str, receiver: bool) -> Attach {
    Attach {
        name: "bench".into(),
        handle: Handle(0),
        role: if receiver { Role::Receiver } else { Role::Sender },
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: Default::default(),
        source: Some(Box::new(Source { address: Some(address.into()), ..Source::default() })),
        target: Some(Box::new(TargetArchetype::Target(Target { address: Some(address.into()), ..Target::default() }))),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: (!receiver).then_some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// A machine that serves a client with one link, on which it receives or sends.
pub fn serving(receives: bool) -> (Machine, LinkId) {
    let config = MachineConfig::default().sasl_required(false).incoming_window(PLENTY);
    let mut machine = Machine::server(Arc::new(config), NOW);
    let (mut out, mut link) = (Output::new(), None);
    read(&mut machine, &hello("bench", "queues/q", !receives), &mut out, |machine, event, out| match event {
        Event::Open(_) => machine.open(out).expect("an open waits"),
        Event::Attach(id, attach) => {
            let (source, target) = (attach.source.map(|it| *it), attach.target.map(|it| *it));
            machine.accept(id, Accept { source, target, ..Accept::default() }, out).expect("an attach waits");
            link = Some(id);
        }
        _ => {}
    });
    let link = link.expect("the client attaches");
    if receives {
        machine.grant(link, PLENTY, false, None, &mut out).expect("attached");
    }
    (machine, link)
}

/// A machine that is a client with one link, on which it receives or sends.
pub fn connected(receives: bool) -> (Machine, LinkId) {
    let config = |name: &str| {
        let config = MachineConfig::default().sasl_required(false).incoming_window(PLENTY);
        Arc::new(config.container_id(name.into()))
    };
    let (mut to_server, mut to_client) = (Output::new(), Output::new());
    let mut client = Machine::client(config("client"), None, None, NOW, &mut to_server);
    let mut server = Machine::server(config("server"), NOW);
    let (mut ours, mut step) = (None, 0);
    // Opens, begins, attaches, grants: an answer to each before the next.
    while step < 4 {
        let mut theirs = None;
        read(&mut server, &written(&mut to_server), &mut to_client, |server, event, out| match event {
            Event::Open(_) => server.open(out).expect("an open waits"),
            Event::Attach(id, attach) => {
                let (source, target) = (attach.source.map(|it| *it), attach.target.map(|it| *it));
                server.accept(id, Accept { source, target, ..Accept::default() }, out).expect("an attach waits");
                theirs = Some(id);
            }
            _ => {}
        });
        if let (Some(theirs), false) = (theirs, receives) {
            server.grant(theirs, PLENTY, false, None, &mut to_client).expect("attached");
        }
        read(&mut client, &written(&mut to_client), &mut to_server, |client, event, out| match event {
            Event::Open(_) => drop(client.begin(out).expect("room for a session")),
            Event::Begin(session) => {
                let attach = attach("queues/q", receives);
                ours = Some(client.attach(session, attach, &UnsettledMap::new(), out).expect("room for a link"));
            }
            Event::Attach(id, _) if receives => client.grant(id, PLENTY, false, None, out).expect("attached"),
            _ => {}
        });
        step += 1;
    }
    (client, ours.expect("attached"))
}

/// Takes what is to be written.
fn written(out: &mut Output) -> Bytes {
    use bytes::Buf;
    let len = out.remaining();
    out.copy_to_bytes(len)
}

fn frame(performative: &Performative) -> Bytes {
    let mut out = BytesMut::from(&[0, 0, 0, 0, 2, 0, 0, 0][..]);
    performative.encode(&mut out);
    let len = out.len() as u32;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out.freeze()
}
