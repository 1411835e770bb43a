//! A server and a client machine, joined by a link that cuts every stream into pieces, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use roadbed_core::{Opened, Origin, Output, Protocol, Time};
use roadbed_mqtt::codec::{Connect, Version};
use roadbed_mqtt::{Error, Event, Machine, MachineConfig, Welcome};

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
    /// Both ends, CONNECT under way.
    pub(crate) fn connecting(connect: Connect, server: MachineConfig, client: MachineConfig, piece: usize) -> Self {
        let mut to_server = Output::new();
        let origin = Arc::<Origin>::default();
        let client = Machine::client(Arc::new(client), connect, origin, START, &mut to_server).expect("a CONNECT");
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

    /// Both ends, connected with what the configurations say.
    pub(crate) fn open_with(connect: Connect, server: MachineConfig, client: MachineConfig, piece: usize) -> Self {
        let mut pair = Self::connecting(connect, server, client, piece);
        let connect = match &pair.at_server()[..] {
            [Event::Connect(connect)] => connect.clone(),
            other => panic!("{other:?}"),
        };
        let mut welcome = Welcome::new(Arc::default(), &Opened::default());
        welcome.qos_max = None;
        welcome.session_expiry_secs = connect.session_expiry_secs.unwrap_or(0);
        pair.server.accept(welcome, pair.now, &mut pair.to_client).expect("a CONNECT waits");
        match &pair.at_client()[..] {
            [Event::ConnAck(connack)] => assert!(!connack.reason.is_failure()),
            other => panic!("{other:?}"),
        }
        pair
    }

    pub(crate) fn open(version: Version, piece: usize) -> Self {
        Self::open_with(Connect::new(version, "dev"), MachineConfig::default(), MachineConfig::default(), piece)
    }

    /// What the client's bytes are to the server.
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

    /// Raw bytes for the client.
    pub(crate) fn inject_client(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        self.to_client.put_slice(bytes);
        self.try_at_client()
    }

    /// What the server has written, taken off the link.
    pub(crate) fn said(&mut self) -> Vec<u8> {
        let len = self.to_client.remaining();
        self.to_client.copy_to_bytes(len).to_vec()
    }

    /// What the client has written, taken off the link.
    pub(crate) fn client_said(&mut self) -> Vec<u8> {
        let len = self.to_server.remaining();
        self.to_server.copy_to_bytes(len).to_vec()
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

fn feed(
    machine: &mut Machine,
    from: &mut Output,
    rest: &mut Bytes,
    piece: usize,
    now: Time,
    out: &mut Output,
) -> Result<Vec<Event>, Error> {
    let mut events = vec![];
    while from.has_remaining() {
        let more = from.copy_to_bytes(piece.min(from.remaining()));
        let (chunk, mut at) = (Bytes::from([&rest[..], &more].concat()), 0);
        while let Some(event) = machine.next(now, &chunk, &mut at, out)? {
            events.push(event);
        }
        *rest = chunk.slice(at..);
    }
    // What waits behind a CONNECT is read once it is answered.
    let (chunk, mut at) = (rest.clone(), 0);
    while let Some(event) = machine.next(now, &chunk, &mut at, out)? {
        events.push(event);
    }
    *rest = chunk.slice(at..);
    Ok(events)
}
