//! A connection that a client reads frames from, and what can go wrong with it.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take that must come: longer than a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What is read at once.
const CHUNK: usize = 64 << 10;

/// Why a client cannot go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection is lost, as it is when the hub is killed.
    Gone,
    /// The hub did what it must not.
    Wrong(String),
}

impl Trouble {
    pub(crate) fn wrong<T>(what: impl Into<String>) -> Result<T> {
        Err(Self::Wrong(what.into()))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the connection is lost"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

pub(crate) type Result<T = ()> = std::result::Result<T, Trouble>;

/// A step in which the connection must not be lost.
pub(crate) trait During<T> {
    fn during(self, step: &str) -> Result<T>;
}

impl<T> During<T> for Result<T> {
    fn during(self, step: &str) -> Self {
        self.map_err(|trouble| Trouble::Wrong(format!("{step}: {trouble}")))
    }
}

/// A socket with what was read and not taken, and what is to be written.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    read: Vec<u8>,
    taken: usize,
    patience: Duration,
    pub(crate) out: Vec<u8>,
}

impl Conn {
    pub(crate) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|_| Trouble::Gone)?;
        stream.set_nodelay(true).map_err(|_| Trouble::Gone)?;
        Ok(Self { stream, read: Vec::new(), taken: 0, patience: Duration::ZERO, out: Vec::new() })
    }

    /// Writes what is to be written.
    pub(crate) fn flush(&mut self) -> Result {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).map_err(|_| Trouble::Gone)?;
            self.out.clear();
        }
        Ok(())
    }

    /// What was read and not taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.read[self.taken..]
    }

    pub(crate) fn take(&mut self, bytes: usize) -> &[u8] {
        let from = self.taken;
        self.taken += bytes;
        &self.read[from..self.taken]
    }

    /// Reads something; false if nothing comes in this time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<bool> {
        if patience != self.patience {
            self.stream.set_read_timeout(Some(patience)).map_err(|_| Trouble::Gone)?;
            self.patience = patience;
        }
        self.read.drain(..self.taken);
        self.taken = 0;
        let before = self.read.len();
        self.read.resize(before + CHUNK, 0);
        let read = self.stream.read(&mut self.read[before..]);
        self.read.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Trouble::Gone),
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
                _ => Err(Trouble::Gone),
            },
        }
    }

    /// Reads something that must come.
    pub(crate) fn must(&mut self, what: &str) -> Result {
        match self.wait(PATIENCE)? {
            true => Ok(()),
            false => Trouble::wrong(format!("the hub is silent for {} s: no {what}", PATIENCE.as_secs())),
        }
    }
}
