//! What can go wrong on the way: carriers that are cut, split and delayed on command.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Sleep;

/// The command desk of all carriers that were made with it. A clone commands the same carriers.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cuts: u64,
    budget: [Option<u64>; 2],
    passed: [u64; 2],
    split: Split,
    delay: Duration,
    made: u64,
    alive: Vec<Weak<Mutex<Wakers>>>,
}

#[derive(Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// How reads and writes are cut into pieces, between which there is nothing to read for a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// As they come.
    #[default]
    None,
    /// One byte at a time.
    EveryByte,
    /// Pieces of 1 to 64 bytes, mostly small ones, by this seed.
    Random(u64),
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Client,
    /// The one that accepted.
    Server,
}

impl Faults {
    /// Bytes that a pipe holds before its writer has to wait.
    pub const PIPE_BYTES: usize = 64 * 1024;

    /// Carriers without a fault.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts every carrier made so far: what is under way is lost, both ends see an error. Later ones are whole.
    pub fn cut(&self) {
        let alive = {
            let mut state = self.lock();
            state.cuts += 1;
            state.budget = [None; 2];
            std::mem::take(&mut state.alive)
        };
        for wakers in alive.iter().filter_map(Weak::upgrade) {
            let wakers = std::mem::take(&mut *wakers.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.read.into_iter().chain(wakers.write).for_each(Waker::wake);
        }
    }

    /// Cuts when `bytes` more bytes have arrived in this direction.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.lock().budget[direction as usize] = Some(bytes);
    }

    /// How many bytes have arrived in this direction, over all carriers.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.lock().passed[direction as usize]
    }

    /// Cuts the bytes of all carriers into pieces from now on.
    pub fn split(&self, split: Split) {
        self.lock().split = split;
    }

    /// Holds up every read for this long from now on.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Puts a connection under command.
    pub fn carrier<S>(&self, io: S, side: Side) -> Carrier<S> {
        let wakers = Arc::new(Mutex::new(Wakers::default()));
        let mut state = self.lock();
        state.alive.retain(|other| other.strong_count() > 0);
        state.alive.push(Arc::downgrade(&wakers));
        state.made += 1;
        let random = state.made.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Carrier { io, faults: self.clone(), side, born: state.cuts, wakers, random, sleep: None, between: false }
    }

    /// A pipe in memory: the client's end and the server's.
    pub fn pipe(&self) -> (Carrier<DuplexStream>, Carrier<DuplexStream>) {
        let (client, server) = tokio::io::duplex(Self::PIPE_BYTES);
        (self.carrier(client, Side::Client), self.carrier(server, Side::Server))
    }

    /// A place in memory to connect to, any number of times.
    pub fn listen(&self) -> (Dialer, Listener) {
        let (connect, accept) = mpsc::channel(16);
        (Dialer { faults: self.clone(), connect }, Listener(accept))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Faults").field("cuts", &state.cuts).field("split", &state.split).finish_non_exhaustive()
    }
}

/// The client's end of a place in memory.
#[derive(Clone, Debug)]
pub struct Dialer {
    faults: Faults,
    connect: mpsc::Sender<Carrier<DuplexStream>>,
}

impl Dialer {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens any more.
    pub async fn dial(&self) -> io::Result<Carrier<DuplexStream>> {
        let (client, server) = self.faults.pipe();
        match self.connect.send(server).await {
            Ok(()) => Ok(client),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// What connects for a client, as often as it likes.
    pub fn connector(self) -> impl Fn() -> Dialing + Clone + Send + Sync + 'static {
        move || {
            let dialer = self.clone();
            Box::pin(async move { dialer.dial().await })
        }
    }
}

/// A connection that is being made.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Carrier<DuplexStream>>> + Send>>;

/// The server's end of a place in memory.
#[derive(Debug)]
pub struct Listener(mpsc::Receiver<Carrier<DuplexStream>>);

impl Listener {
    /// The next connection; `None` when no dialer is left.
    pub async fn accept(&mut self) -> Option<Carrier<DuplexStream>> {
        self.0.recv().await
    }

    /// Serves each connection in a task of its own, as long as there is a dialer.
    pub fn serve<F>(mut self, serve: impl Fn(Carrier<DuplexStream>) -> F + Send + 'static)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tokio::spawn(async move {
            while let Some(stream) = self.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    }
}

/// One end of a connection, under the command of its [`Faults`].
pub struct Carrier<S> {
    io: S,
    faults: Faults,
    side: Side,
    born: u64,
    wakers: Arc<Mutex<Wakers>>,
    random: u64,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The last read brought a piece: the next one finds nothing.
    between: bool,
}

impl<S> Carrier<S> {
    /// How many bytes may pass in one piece; an error if the carrier is cut.
    fn piece(&mut self) -> io::Result<usize> {
        let (cuts, split) = {
            let state = self.faults.lock();
            (state.cuts, state.split)
        };
        if cuts != self.born {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(match split {
            Split::None => usize::MAX,
            Split::EveryByte => 1,
            Split::Random(seed) => self.random_piece(seed),
        })
    }

    fn random_piece(&mut self, seed: u64) -> usize {
        self.random ^= seed;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bits = self.random % 7;
        1 + (self.random >> 8) as usize % (1 << bits)
    }

    fn incoming(&self) -> Direction {
        match self.side {
            Side::Client => Direction::Down,
            Side::Server => Direction::Up,
        }
    }

    fn watch(&self, set: impl FnOnce(&mut Wakers)) {
        set(&mut self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits out the delay, once for every read.
    fn poll_delay(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let delay = self.faults.lock().delay;
        if delay.is_zero() {
            self.sleep = None;
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(delay)));
        sleep.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Carrier<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.watch(|wakers| wakers.read = Some(cx.waker().clone()));
        let direction = this.incoming() as usize;
        let budget = this.faults.lock().budget[direction];
        if budget == Some(0) {
            this.faults.cut();
        }
        let budget = budget.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let max = this.piece()?.min(budget).min(buf.remaining());
        ready!(this.poll_delay(cx));
        if std::mem::take(&mut this.between) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if max == buf.remaining() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let mut part = buf.take(max);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
            let piece = part.filled().to_vec();
            buf.put_slice(&piece);
            this.between = true;
        }
        let read = buf.filled().len() - before;
        this.sleep = None;
        let mut state = this.faults.lock();
        state.passed[direction] += read as u64;
        if let Some(left) = &mut state.budget[direction] {
            *left = left.saturating_sub(read as u64);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Carrier<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch(|wakers| wakers.write = Some(cx.waker().clone()));
        let max = this.piece()?.min(buf.len());
        Pin::new(&mut this.io).poll_write(cx, &buf[..max])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.piece()?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for Carrier<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").field("side", &self.side).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_alone() {
        let faults = Faults::new();
        let (mut client, mut server) = faults.pipe();
        client.write_all(b"abc").await.unwrap();
        faults.split(Split::EveryByte);
        let mut buffer = [0; 8];
        for byte in b"abc" {
            assert_eq!(server.read(&mut buffer).await.unwrap(), 1);
            assert_eq!(buffer[0], *byte);
        }
        assert_eq!(faults.passed(Direction::Up), 3);
    }

    #[tokio::test]
    async fn random_pieces_keep_every_byte_in_order() {
        let faults = Faults::new();
        faults.split(Split::Random(7));
        let (mut client, mut server) = faults.pipe();
        let sent: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        client.write_all(&sent).await.unwrap();
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_cut_is_seen_by_who_waits_and_spares_the_next() {
        let faults = Faults::new();
        let (mut client, mut server) = faults.pipe();
        let waits = tokio::spawn(async move { server.read_u8().await.map_err(|error| error.kind()) });
        tokio::task::yield_now().await;
        faults.cut();
        assert_eq!(waits.await.unwrap(), Err(io::ErrorKind::ConnectionReset));
        assert!(client.write_all(b"x").await.is_err());
        let (mut client, mut server) = faults.pipe();
        client.write_u8(9).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_cut_can_fall_on_any_byte() {
        let faults = Faults::new();
        let (mut client, mut server) = faults.pipe();
        faults.cut_after(Direction::Up, 2);
        client.write_all(b"abc").await.unwrap();
        let mut buffer = [0; 2];
        server.read_exact(&mut buffer).await.unwrap();
        assert!(server.read_u8().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_delays() {
        let faults = Faults::new();
        let (mut client, mut server) = faults.pipe();
        faults.delay(Duration::from_secs(3));
        let started = tokio::time::Instant::now();
        client.write_u8(1).await.unwrap();
        server.read_u8().await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 3);
    }
}
