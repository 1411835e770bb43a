//! A hub under attack, and the bytes to attack it with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::serving::serve;

/// How long a well-behaved client may wait while the hub is attacked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A hub that ends with the test.
pub(crate) struct Hub {
    child: Child,
    pub(crate) mqtt: String,
    pub(crate) http: String,
    pub(crate) amqp: String,
}

impl Hub {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// A hub with this configuration.
    pub(crate) fn with(config: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), config).expect("a temporary file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
        let (child, [mqtt, http, amqp]) = serve(command.args(["serve", "--memory"]), file.path(), Stdio::null());
        Self { child, mqtt, http, amqp }
    }

    /// What the hub occupies, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the hub lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
    }

    /// The time that its threads have run.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the hub lives");
        let after_name = stat.rsplit_once(')').expect("the name is in brackets").1;
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Two clients of good manners still get a message across, in time.
    pub(crate) fn serves_others(&self) {
        let mut receiver = Client::connect(&self.mqtt, "polite-receiver");
        receiver.subscribe("polite/#", 1);
        let mut sender = Client::connect(&self.mqtt, "polite-sender");
        sender.publish("polite/letter", b"still here", 1);
        assert_eq!(sender.packet().0 >> 4, PUBACK);
        let (first, body) = receiver.packet();
        assert_eq!(first >> 4, PUBLISH);
        assert!(body.ends_with(b"still here"));
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const DISCONNECT: u8 = 14;

/// An MQTT 5 client of few words.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next_id: u16,
}

impl Client {
    pub(crate) fn connect(address: &str, name: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the hub listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        let mut this = Self { stream, next_id: 0 };
        this.send(&connect(name));
        assert_eq!(this.packet().1[1], 0, "CONNACK of {name}");
        this
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the hub reads");
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.next_id += 1;
        let request = subscribe(self.next_id, filter, qos);
        self.send(&request);
        let (first, body) = self.packet();
        assert_eq!(first >> 4, SUBACK);
        assert!(body[3] < 0x80, "SUBACK {:#x}", body[3]);
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) {
        self.next_id += 1;
        let request = publish(self.next_id, topic, payload, qos, &[]);
        self.send(&request);
    }

    /// The first byte and the body of the next packet.
    pub(crate) fn packet(&mut self) -> (u8, Vec<u8>) {
        self.try_packet().expect("a packet comes in time")
    }

    pub(crate) fn try_packet(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let (mut byte, mut length, mut shift) = ([0], 0usize, 0);
        self.stream.read_exact(&mut byte)?;
        let first = byte[0];
        loop {
            self.stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }
}

pub(crate) fn connect(name: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0];
    text(&mut body, name);
    packet(0x10, &body)
}

pub(crate) fn subscribe(id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    text(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// A PUBLISH with these bytes as its properties.
pub(crate) fn publish(id: u16, topic: &str, payload: &[u8], qos: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    varint(&mut body, properties.len());
    body.extend(properties);
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

pub(crate) fn text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    into.extend(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    varint(&mut out, body.len());
    out.extend(body);
    out
}

fn varint(into: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return into.push(low);
        }
        into.push(low | 0x80);
    }
}
