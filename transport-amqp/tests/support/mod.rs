//! A server and a client machine, joined by a link that cuts every stream into pieces, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use fe2o3_amqp_types::definitions::{Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Source, Target, TargetArchetype};
use fe2o3_amqp_types::performatives::Attach;
use roadbed_amqp::{Accept, Error, Event, LinkId, Machine, MachineConfig, Sasl, SessionId, UnsettledMap};
use roadbed_core::{Output, Protocol, Time};

pub(crate) struct Pair {
    pub(crate) server: Machine,
    pub(crate) client: Machine,
    pub(crate) to_client: Output,
    pub(crate) to_server: Output,
    pub(crate) now: Time,
    at_client: Bytes,
    at_server: Bytes,
    /// How many bytes come at once.
    pub(crate) piece: usize,
}

pub(crate) const START: Time = Time::from_millis(1_000_000);

impl Pair {
    pub(crate) fn connecting(server: MachineConfig, client: MachineConfig, sasl: Option<Sasl>, piece: usize) -> Self {
        let mut to_server = Output::new();
        let client = Machine::client(Arc::new(client), sasl, Some("host".into()), START, &mut to_server);
        Self {
            server: Machine::server(Arc::new(server), START),
            client,
            to_client: Output::new(),
            to_server,
            now: START,
            at_client: Bytes::new(),
            at_server: Bytes::new(),
            piece,
        }
    }

    /// Both ends, open.
    pub(crate) fn open_with(server: MachineConfig, client: MachineConfig, piece: usize) -> Self {
        let mut pair = Self::connecting(server.sasl_required(false), client, None, piece);
        assert!(matches!(&pair.at_server()[..], [Event::Open(_)]));
        pair.server.open(&mut pair.to_client).expect("an open waits");
        assert!(matches!(&pair.at_client()[..], [Event::Open(_)]));
        assert!(pair.server.is_open() && pair.client.is_open());
        pair
    }

    pub(crate) fn open(piece: usize) -> Self {
        Self::open_with(MachineConfig::default(), MachineConfig::default(), piece)
    }

    /// A session that the client has begun.
    pub(crate) fn session(&mut self) -> (SessionId, SessionId) {
        let ours = self.client.begin(&mut self.to_server).expect("there is room");
        let [Event::Begin(theirs)] = self.at_server()[..] else { panic!("a session begins") };
        assert!(matches!(&self.at_client()[..], [Event::Begin(id)] if *id == ours));
        (ours, theirs)
    }

    /// A link that the client has attached, at both ends.
    pub(crate) fn link(&mut self, session: SessionId, attach: Attach) -> (LinkId, LinkId) {
        let (source, target) = (attach.source.clone(), attach.target.clone());
        let ours =
            self.client.attach(session, attach, &UnsettledMap::new(), &mut self.to_server).expect("there is room");
        let theirs = match &self.at_server()[..] {
            [Event::Attach(id, _)] => *id,
            other => panic!("{other:?}"),
        };
        let accept = Accept { source: source.map(|s| *s), target: target.map(|t| *t), ..Accept::default() };
        self.server.accept(theirs, accept, &mut self.to_client).expect("an attach waits");
        assert!(matches!(&self.at_client()[..], [Event::Attach(id, _)] if *id == ours));
        (ours, theirs)
    }

    pub(crate) fn at_server(&mut self) -> Vec<Event> {
        self.try_at_server().expect("a client that keeps the protocol")
    }

    pub(crate) fn at_client(&mut self) -> Vec<Event> {
        self.try_at_client().expect("a server that keeps the protocol")
    }

    pub(crate) fn try_at_server(&mut self) -> Result<Vec<Event>, Error> {
        let (machine, out) = (&mut self.server, &mut self.to_client);
        feed(machine, &mut self.to_server, &mut self.at_server, self.piece, self.now, out)
    }

    pub(crate) fn try_at_client(&mut self) -> Result<Vec<Event>, Error> {
        let (machine, out) = (&mut self.client, &mut self.to_server);
        feed(machine, &mut self.to_client, &mut self.at_client, self.piece, self.now, out)
    }

    /// Raw bytes for the server.
    pub(crate) fn inject(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        self.to_server.put_slice(bytes);
        self.try_at_server()
    }

    /// What the server has written, taken off the link.
    pub(crate) fn said(&mut self) -> Bytes {
        let len = self.to_client.remaining();
        self.to_client.copy_to_bytes(len)
    }

    /// Lets time pass, step by step, and both ends do what is due.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<(), Error> {
        let until = self.now + time;
        while let Some(next) = [self.server.poll_timeout(), self.client.poll_timeout()].into_iter().flatten().min() {
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now, &mut self.to_server)?;
            self.server.handle_timeout(self.now, &mut self.to_client)?;
            self.try_at_server()?;
            self.try_at_client()?;
        }
        self.now = until;
        Ok(())
    }
}

pub(crate) fn sender(name: &str, to: &str) -> Attach {
    Attach {
        name: name.into(),
        handle: 0.into(),
        role: Role::Sender,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: Default::default(),
        source: Some(Box::default()),
        target: Some(Box::new(TargetArchetype::Target(Target { address: Some(to.into()), ..Target::default() }))),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: Some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

pub(crate) fn receiver(name: &str, from: &str) -> Attach {
    Attach {
        role: Role::Receiver,
        source: Some(Box::new(Source { address: Some(from.into()), ..Source::default() })),
        initial_delivery_count: None,
        ..sender(name, "there")
    }
}

fn feed(
    machine: &mut Machine,
    from: &mut Output,
    rest: &mut Bytes,
    piece: usize,
    now: Time,
    out: &mut Output,
) -> Result<Vec<Event>, Error> {
    let mut events = vec![];
    let mut read = |rest: &mut Bytes, more: &[u8], out: &mut Output| {
        let (chunk, mut at) = (Bytes::from([&rest[..], more].concat()), 0);
        let result = loop {
            match machine.next(now, &chunk, &mut at, out) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        *rest = chunk.slice(at..);
        result
    };
    while from.has_remaining() {
        let more = from.copy_to_bytes(piece.min(from.remaining()));
        read(rest, &more, out)?;
    }
    read(rest, &[], out)?;
    machine.flush(out);
    Ok(events)
}
