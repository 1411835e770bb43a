//! The little of AMQP 1.0 that a generator needs: performatives encoded by hand, and their first fields read.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

pub const OPEN: u8 = 0x10;
pub const BEGIN: u8 = 0x11;
pub const ATTACH: u8 = 0x12;
pub const FLOW: u8 = 0x13;
pub const TRANSFER: u8 = 0x14;
pub const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;
const CLOSE: u8 = 0x18;

/// How many transfers either end may send ahead.
const WINDOW: u32 = 1 << 20;

/// Where the server is, and who we are.
#[derive(Args, Clone, Debug)]
pub struct Target {
    #[arg(long, default_value = "127.0.0.1:5672")]
    pub addr: SocketAddr,
    /// SASL PLAIN instead of ANONYMOUS
    #[arg(long, requires = "pass")]
    pub user: Option<String>,
    #[arg(long)]
    pub pass: Option<String>,
    /// Hostname in the open frame
    #[arg(long, default_value = "localhost")]
    pub vhost: String,
}

/// What a link is to be.
pub struct Link<'a> {
    pub name: &'a str,
    pub handle: u32,
    pub address: &'a str,
    pub receiver: bool,
    pub settled: bool,
}

impl Target {
    /// Connects, authenticates, opens and begins, blocking; the answers to the last two are still to come.
    pub fn connect(&self, container: &str) -> Result<TcpStream, Box<dyn Error>> {
        let mut s = TcpStream::connect(self.addr)?;
        s.set_nodelay(true)?;
        s.set_read_timeout(Some(Duration::from_secs(20)))?;
        let (mechanism, response) = match (&self.user, &self.pass) {
            (Some(u), Some(p)) => ("PLAIN", format!("\0{u}\0{p}")),
            _ => ("ANONYMOUS", "loadgen".to_owned()),
        };
        s.write_all(b"AMQP\x03\x01\x00\x00")?;
        s.read_exact(&mut [0; 8])?;
        read_frame(&mut s)?; // mechanisms
        s.write_all(&frame(1, &described(0x41, &[text(0xA3, mechanism), text(0xA0, &response), null()])))?;
        let outcome = read_frame(&mut s)?;
        if numbers::<1>(&outcome)[0] != Some(0) {
            return Err("authentication refused".into());
        }
        s.write_all(b"AMQP\x00\x01\x00\x00")?;
        s.read_exact(&mut [0; 8])?;
        let mut hello = frame(0, &described(OPEN, &[string(container), string(&self.vhost), uint(128 * 1024)]));
        hello.extend(frame(0, &described(BEGIN, &[null(), uint(0), uint(WINDOW), uint(WINDOW), uint(65_535)])));
        s.write_all(&hello)?;
        Ok(s)
    }

    /// Connects with one link.
    pub fn attach(&self, link: &Link<'_>) -> Result<TcpStream, Box<dyn Error>> {
        let mut s = self.connect(link.name)?;
        s.write_all(&link.attach())?;
        loop {
            let f = read_frame(&mut s)?;
            match performative(&f) {
                ATTACH => return Ok(s),
                _ => refused(&f).map_or(Ok(()), Err)?,
            }
        }
    }
}

impl Link<'_> {
    pub fn attach(&self) -> Vec<u8> {
        let source = described(0x28, &[string(self.address)]);
        let target = described(0x29, &[string(self.address)]);
        let mode = vec![0x50, u8::from(self.settled)];
        let mut fields =
            vec![string(self.name), uint(self.handle), boolean(self.receiver), mode, vec![0x50, 0], source, target];
        if !self.receiver {
            fields.extend([null(), null(), uint(0)]);
        }
        frame(0, &described(ATTACH, &fields))
    }
}

/// Why the server ends a link, a session or the connection, if that is what the frame says.
pub fn refused(f: &[u8]) -> Option<String> {
    matches!(performative(f), DETACH | END | CLOSE).then(|| format!("refused: {}", String::from_utf8_lossy(f)))
}

pub fn read_frame(s: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut f = vec![0; 4];
    s.read_exact(&mut f)?;
    f.resize(frame_len(&f).unwrap_or(4).max(8), 0);
    s.read_exact(&mut f[4..])?;
    Ok(f)
}

/// A transfer of one message; its delivery id is at `ID_AT`, as is the tag that repeats it.
pub const ID_AT: usize = 8 + 4 + 8 + 2 + 1;
pub const TAG_AT: usize = ID_AT + 4 + 2;

pub fn transfer(size: usize, settled: bool) -> Vec<u8> {
    let mut tag = vec![0xA0, 4];
    tag.extend([0; 4]);
    let fields = [vec![0x52, 0], uint(0), tag, uint(0), boolean(settled)];
    let mut body = described(TRANSFER, &fields);
    match u8::try_from(size) {
        Ok(size) => body.extend([0, 0x53, 0x75, 0xA0, size]),
        Err(_) => {
            body.extend([0, 0x53, 0x75, 0xB0]);
            body.extend((size as u32).to_be_bytes());
        }
    }
    body.extend((0..size).map(|i| b'a' + (i % 26) as u8));
    frame(0, &body)
}

pub fn credit(out: &mut Vec<u8>, handle: u32, received: u32, credit: u32) {
    let window = uint(WINDOW);
    let fields = [uint(received), window.clone(), uint(0), window, uint(handle), uint(received), uint(credit)];
    out.extend(frame(0, &described(FLOW, &fields)));
}

pub fn accept(out: &mut Vec<u8>, first: u32, last: u32) {
    let fields = [boolean(true), uint(first), uint(last), boolean(true), described(0x24, &[])];
    out.extend(frame(0, &described(DISPOSITION, &fields)));
}

pub fn frame_len(b: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(b.get(..4)?.try_into().ok()?) as usize)
}

/// The descriptor of a frame's performative.
pub fn performative(f: &[u8]) -> u8 {
    let at = usize::from(f[4]) * 4;
    f.get(at + 2).copied().unwrap_or(0)
}

/// The numbers among the first fields of a performative; other types read as `None`.
pub fn numbers<const N: usize>(f: &[u8]) -> [Option<u32>; N] {
    let mut at = usize::from(f[4]) * 4 + 3;
    let mut count = match f[at] {
        0x45 => 0,
        0xC0 => usize::from(f[at + 2]),
        _ => u32::from_be_bytes([f[at + 5], f[at + 6], f[at + 7], f[at + 8]]) as usize,
    };
    at += match f[at] {
        0x45 => 1,
        0xC0 => 3,
        _ => 9,
    };
    std::array::from_fn(|_| {
        if count == 0 {
            return None;
        }
        count -= 1;
        let code = f[at];
        let (width, value) = match code {
            0x43 => (0, Some(0)),
            0x52 | 0x50 => (1, Some(u32::from(f[at + 1]))),
            0x70 => (4, Some(u32::from_be_bytes([f[at + 1], f[at + 2], f[at + 3], f[at + 4]]))),
            0x56 => (1, Some(u32::from(f[at + 1]))),
            0x41 => (0, Some(1)),
            0x42 => (0, Some(0)),
            0xA0 | 0xA1 | 0xA3 => (1 + usize::from(f[at + 1]), None),
            _ => (0, None), // null, or something met after all we want
        };
        at += 1 + width;
        value
    })
}

fn uint(n: u32) -> Vec<u8> {
    let mut v = vec![0x70];
    v.extend(n.to_be_bytes());
    v
}

fn text(code: u8, s: &str) -> Vec<u8> {
    let mut v = vec![code, s.len() as u8];
    v.extend(s.as_bytes());
    v
}

fn string(s: &str) -> Vec<u8> {
    text(0xA1, s)
}

/// A described list: the shape of every performative.
fn described(code: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let body: usize = fields.iter().map(Vec::len).sum();
    let mut v = vec![0, 0x53, code, 0xD0];
    v.extend((body as u32 + 4).to_be_bytes());
    v.extend((fields.len() as u32).to_be_bytes());
    fields.iter().for_each(|f| v.extend(f));
    v
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut v = (body.len() as u32 + 8).to_be_bytes().to_vec();
    v.extend([2, kind, 0, 0]);
    v.extend(body);
    v
}

fn null() -> Vec<u8> {
    vec![0x40]
}

fn boolean(b: bool) -> Vec<u8> {
    vec![if b { 0x41 } else { 0x42 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_has_its_id_and_tag_where_it_says() {
        let mut t = transfer(64, false);
        assert_eq!(frame_len(&t), Some(t.len()));
        t[ID_AT..ID_AT + 4].copy_from_slice(&0x0102_0304u32.to_be_bytes());
        assert_eq!(numbers::<2>(&t), [Some(0), Some(0x0102_0304)]);
        assert_eq!(t[TAG_AT - 2..TAG_AT], [0xA0, 4]);
        assert_eq!(performative(&t), TRANSFER);
    }
}
