//! The receiving engine over a stream in memory: ours, and the acceptor of `fe2o3-amqp`, with the same bytes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use fe2o3_amqp::acceptor::{ConnectionAcceptor, LinkAcceptor, LinkEndpoint, SessionAcceptor};
use fe2o3_amqp::types::messaging::Data;
use roadbed_amqp::codec::State;
use roadbed_amqp::dialect::Encoded;
use roadbed_amqp::{Accept, Event, Machine, MachineConfig};
use roadbed_core::{Address, Message, Origin, Output, Protocol, ReadContext, Result, Socket, WireMessage};
use tokio::runtime::Runtime;

use crate::Wire;
use crate::amqp::{Transfers, hello};
use crate::mqtt::{NOW, TOPIC};

/// How much credit both ends give, and when again: `fe2o3-amqp`'s own numbers.
const CREDIT: u32 = 200;

/// A receiver with one link, and the sender that it gets messages from.
pub struct Peer {
    runtime: Runtime,
    wire: Wire,
    transfers: Transfers,
    messages: usize,
    received: Arc<AtomicUsize>,
}

impl Peer {
    /// Our machine, and nothing around it but the socket.
    pub fn ours(transfers: Transfers, messages: usize) -> Self {
        Self::new(transfers, messages, |wire, received| async move {
            Receiver::new(wire, received).run().await.expect("the sender keeps the protocol");
        })
    }

    /// The acceptor of `fe2o3-amqp`.
    pub fn theirs(transfers: Transfers, messages: usize) -> Self {
        Self::new(transfers, messages, |wire, received| async move {
            let mut connection = ConnectionAcceptor::new("bench").accept(wire).await.expect("a connection");
            let mut session = SessionAcceptor::new().accept(&mut connection).await.expect("a session");
            let link = LinkAcceptor::new().accept(&mut session).await.expect("a link");
            let LinkEndpoint::Receiver(mut receiver) = link else { panic!("the client sends") };
            loop {
                let delivery = receiver.recv::<Data>().await.expect("a message");
                receiver.accept(&delivery).await.expect("an open link");
                received.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    fn new<F>(transfers: Transfers, messages: usize, serve: impl FnOnce(Wire, Arc<AtomicUsize>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (wire, received) = (Wire::new(usize::MAX), Arc::new(AtomicUsize::new(0)));
        runtime.spawn(serve(wire.clone(), received.clone()));
        wire.send(&hello("bench", TOPIC, false));
        let this = Self { runtime, wire, transfers, messages, received };
        this.settle(|| false);
        assert!(this.wire.answer(|_, _| {}).0 > 100, "open, begin, attach and flow");
        this
    }

    /// Sends a batch, and waits until all of it is accepted.
    pub fn receive(&mut self) {
        self.received.store(0, Ordering::Relaxed);
        self.wire.send(&self.transfers.read());
        self.settle(|| self.received.load(Ordering::Relaxed) == self.messages);
        assert_eq!(self.received.load(Ordering::Relaxed), self.messages, "all have come");
        assert!(self.wire.answer(|_, _| {}).0 >= 20, "dispositions");
    }

    /// Lets all tasks do what they can, until `done`.
    fn settle(&self, done: impl Fn() -> bool) {
        self.runtime.block_on(async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
                if done() {
                    break;
                }
            }
            // The last answers are written.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Our machine on a socket.
struct Receiver {
    socket: Socket<Wire>,
    machine: Machine,
    address: Address,
    origin: Arc<Origin>,
    received: Arc<AtomicUsize>,
}

impl Receiver {
    fn new(wire: Wire, received: Arc<AtomicUsize>) -> Self {
        let config = MachineConfig::default().sasl_required(false);
        Self {
            socket: Socket::new(wire),
            machine: Machine::server(Arc::new(config), NOW),
            address: Address::new(TOPIC).expect("a legal name"),
            origin: Arc::new(Origin { principal: "bench".into(), protocol: "amqp" }),
            received,
        }
    }

    async fn run(mut self) -> Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let chunk = ready!(self.socket.poll_chunk(cx)).expect("a stream in memory");
            let Some(chunk) = chunk else { return Poll::Ready(Ok(())) };
            let (mut at, mut out) = (0, self.socket.output());
            while let Some(event) = self.machine.next(NOW, &chunk, &mut at, &mut out).expect("legal frames") {
                self.event(event, &mut out);
            }
            self.machine.flush(&mut out);
            self.socket.unread(&chunk[at..], 0);
            self.socket.poll_flush(cx, out).expect("a stream in memory");
        }
    }

    fn event(&mut self, event: Event, out: &mut Output) {
        match event {
            Event::Open(_) => self.machine.open(out).expect("an open waits"),
            Event::Attach(id, attach) => {
                let (source, target) = (attach.source.map(|it| *it), attach.target.map(|it| *it));
                self.machine.accept(id, Accept { source, target, ..Accept::default() }, out).expect("an attach waits");
                self.machine.grant(id, CREDIT, false, None, out).expect("attached");
            }
            Event::Transfer(incoming) => {
                let encoded = Encoded { address: Some(self.address.clone()), ..Encoded::new(incoming.pieces) };
                let context = ReadContext { origin: &self.origin, now: NOW };
                let message: Message = encoded.read(&context).expect("a legal message");
                drop(std::hint::black_box(message));
                self.machine.answer(incoming.link.session, incoming.delivery, State::Accepted, out);
                if self.machine.credit(incoming.link).credit <= CREDIT / 2 {
                    self.machine.grant(incoming.link, CREDIT, false, None, out).expect("attached");
                }
                self.received.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("messages", &self.messages).finish_non_exhaustive()
    }
}
