//! AMQP by hand: values and frames, well-formed or not, and a client that says exactly what it is told to.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::PATIENCE;

pub(crate) const HEADER: &[u8] = b"AMQP\x00\x01\x00\x00";
pub(crate) const SASL: &[u8] = b"AMQP\x03\x01\x00\x00";

pub(crate) const OPEN: u8 = 0x10;
pub(crate) const BEGIN: u8 = 0x11;
pub(crate) const ATTACH: u8 = 0x12;
pub(crate) const FLOW: u8 = 0x13;
pub(crate) const TRANSFER: u8 = 0x14;
pub(crate) const DISPOSITION: u8 = 0x15;
pub(crate) const DETACH: u8 = 0x16;
pub(crate) const END: u8 = 0x17;
pub(crate) const CLOSE: u8 = 0x18;

pub(crate) fn null() -> Vec<u8> {
    vec![0x40]
}

pub(crate) fn boolean(value: bool) -> Vec<u8> {
    vec![if value { 0x41 } else { 0x42 }]
}

pub(crate) fn uint(value: u32) -> Vec<u8> {
    [&[0x70][..], &value.to_be_bytes()].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [&[0xb1][..], &(value.len() as u32).to_be_bytes(), value.as_bytes()].concat()
}

pub(crate) fn symbol(value: &str) -> Vec<u8> {
    [&[0xa3, value.len() as u8][..], value.as_bytes()].concat()
}

pub(crate) fn binary(value: &[u8]) -> Vec<u8> {
    [&[0xb0][..], &(value.len() as u32).to_be_bytes(), value].concat()
}

pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    compound(0xd0, items.len(), &items.concat())
}

pub(crate) fn map(items: &[Vec<u8>]) -> Vec<u8> {
    compound(0xd1, items.len(), &items.concat())
}

fn compound(code: u8, count: usize, items: &[u8]) -> Vec<u8> {
    [&[code][..], &(items.len() as u32 + 4).to_be_bytes(), &(count as u32).to_be_bytes(), items].concat()
}

pub(crate) fn described(descriptor: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, descriptor][..], value].concat()
}

/// A performative, a terminus or a state: a described list.
pub(crate) fn composite(descriptor: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    described(descriptor, &list(fields))
}

pub(crate) fn frame(channel: u16, body: &[u8]) -> Vec<u8> {
    raw_frame(body.len() as u32 + 8, 2, 0, channel, body)
}

/// A frame whose header may say anything.
pub(crate) fn raw_frame(size: u32, data_offset: u8, kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], &[data_offset, kind], &channel.to_be_bytes(), body].concat()
}

/// Values within values.
pub(crate) fn nested_lists(bytes: usize) -> Vec<u8> {
    let mut value = null();
    while value.len() + 9 <= bytes {
        value = list(&[value]);
    }
    value
}

/// Descriptors that are described values themselves: three bytes a level.
pub(crate) fn nested_descriptions(bytes: usize) -> Vec<u8> {
    let depth = bytes / 3;
    [vec![0x00; depth], [0x53, 0x01].repeat(depth + 1)].concat()
}

pub(crate) fn open() -> Vec<u8> {
    composite(OPEN, &[text("hostile"), null(), uint(64 << 10), vec![0x60, 0xff, 0xff]])
}

pub(crate) fn begin() -> Vec<u8> {
    composite(BEGIN, &[null(), uint(0), uint(1 << 30), uint(1 << 30), uint(u32::MAX)])
}

pub(crate) fn terminus(descriptor: u8, address: &str) -> Vec<u8> {
    composite(descriptor, &[text(address)])
}

/// A link to send on.
pub(crate) fn attach_sender(name: &str, handle: u32, address: &str) -> Vec<u8> {
    let ends = [composite(0x28, &[]), terminus(0x29, address)];
    attach(name, handle, false, &ends, &[null(), boolean(false), uint(0)])
}

/// A link to receive on.
pub(crate) fn attach_receiver(name: &str, handle: u32, address: &str) -> Vec<u8> {
    attach(name, handle, true, &[terminus(0x28, address), composite(0x29, &[])], &[])
}

/// A link to declare and discharge transactions on.
pub(crate) fn attach_controller(name: &str, handle: u32) -> Vec<u8> {
    let ends = [composite(0x28, &[]), composite(0x30, &[])];
    attach(name, handle, false, &ends, &[null(), boolean(false), uint(0)])
}

pub(crate) fn attach(name: &str, handle: u32, receives: bool, ends: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<u8> {
    let modes = [vec![0x50, 2], vec![0x50, 0]];
    composite(ATTACH, &[&[text(name), uint(handle), boolean(receives)][..], &modes, ends, more].concat())
}

/// A flow of a link: the window is wide.
pub(crate) fn flow(handle: u32, count: u32, credit: u32, echo: bool) -> Vec<u8> {
    let session = [uint(0), uint(u32::MAX >> 1), uint(0), uint(u32::MAX >> 1)];
    let link = [uint(handle), uint(count), uint(credit), null(), boolean(false), boolean(echo)];
    composite(FLOW, &[&session[..], &link].concat())
}

/// The first frame of a delivery, or the whole of it.
pub(crate) fn transfer(handle: u32, number: u32, more: bool, payload: &[u8]) -> Vec<u8> {
    transfer_as(handle, number, more, null(), payload)
}

/// As [`transfer`], with a state.
pub(crate) fn transfer_as(handle: u32, number: u32, more: bool, state: Vec<u8>, payload: &[u8]) -> Vec<u8> {
    let tag = binary(&number.to_be_bytes());
    let fields = [uint(handle), uint(number), tag, uint(0), boolean(false), boolean(more), null(), state];
    [&composite(TRANSFER, &fields)[..], payload].concat()
}

/// A message with one data section.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    described(0x75, &binary(payload))
}

pub(crate) fn disposition(receives: bool, first: u32, last: u32, state: Vec<u8>) -> Vec<u8> {
    composite(DISPOSITION, &[boolean(receives), uint(first), uint(last), boolean(true), state])
}

pub(crate) fn accepted() -> Vec<u8> {
    composite(0x24, &[])
}

/// A connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) channel: u16,
    pub(crate) code: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Whether these words are in it: conditions are text on the wire, too.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.body.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

impl Peer {
    /// Nothing has been said yet.
    pub(crate) fn silent(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the hub listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream }
    }

    /// Open, with sessions on these channels.
    pub(crate) fn with_sessions(address: &str, channels: u16) -> Self {
        let mut this = Self::silent(address);
        this.say(&[HEADER, &frame(0, &open())].concat());
        this.header();
        assert_eq!(this.frame().code, OPEN);
        for channel in 0..channels {
            this.send(channel, &begin());
            assert_eq!(this.frame().code, BEGIN);
        }
        this
    }

    /// Open, with a session.
    pub(crate) fn connect(address: &str) -> Self {
        Self::with_sessions(address, 1)
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the hub reads");
    }

    /// As [`say`](Self::say), to a hub that may have had enough.
    pub(crate) fn try_say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn send(&mut self, channel: u16, body: &[u8]) {
        self.say(&frame(channel, body));
    }

    /// Attaches a link to send on, and has credit on it.
    pub(crate) fn sender(&mut self, handle: u32, address: &str) {
        self.send(0, &attach_sender(&format!("sender {handle}"), handle, address));
        self.until(ATTACH);
        self.until(FLOW);
    }

    /// Sends a message that is accepted.
    pub(crate) fn put(&mut self, handle: u32, number: u32, payload: &[u8]) {
        self.send(0, &transfer(handle, number, false, &message(payload)));
        let answer = self.until(DISPOSITION);
        assert!(answer.body.windows(3).any(|window| window == [0x00, 0x53, 0x24]), "{answer:?}");
    }

    /// Attaches a link to receive on, with credit.
    pub(crate) fn receiver(&mut self, handle: u32, address: &str, credit: u32) {
        self.send(0, &attach_receiver(&format!("receiver {handle}"), handle, address));
        self.until(ATTACH);
        self.send(0, &flow(handle, 0, credit, false));
    }

    pub(crate) fn header(&mut self) -> [u8; 8] {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).expect("a protocol header");
        header
    }

    pub(crate) fn try_frame(&mut self) -> std::io::Result<Frame> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head)?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut body = vec![0; size as usize - 8];
        self.stream.read_exact(&mut body)?;
        let code = if body.is_empty() { 0 } else { body[2] };
        Ok(Frame { channel: u16::from_be_bytes([head[6], head[7]]), code, body })
    }

    /// The next frame that is no heartbeat.
    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            let frame = self.try_frame().expect("a frame comes in time");
            if frame.code != 0 {
                return frame;
            }
        }
    }

    /// The next frame of that kind; others are skipped.
    pub(crate) fn until(&mut self, code: u8) -> Frame {
        loop {
            let frame = self.frame();
            if frame.code == code {
                return frame;
            }
            assert!(frame.code != CLOSE, "{frame:?}");
        }
    }

    /// The hub closes with this condition, and hangs up.
    pub(crate) fn closed(&mut self, condition: &str) {
        let close = loop {
            let frame = self.frame();
            if frame.code == CLOSE {
                break frame;
            }
        };
        assert!(close.says(condition), "expected {condition}: {}", String::from_utf8_lossy(&close.body));
        self.hung_up();
    }

    /// Nothing more comes.
    pub(crate) fn hung_up(&mut self) {
        let ended = std::io::copy(&mut self.stream, &mut std::io::sink());
        assert!(ended.is_ok_and(|read| read == 0) || self.stream.read(&mut [0]).is_err(), "the hub hangs up");
    }
}
