//! HTTP/1.1 by hand, pipelined.

use std::fmt::Write as _;

use super::conn::{Conn, Result, Trouble};

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: &'a [u8],
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Http(Conn);

impl Http {
    pub(crate) fn open(port: u16) -> Result<Self> {
        Conn::open(port).map(Self)
    }

    /// Puts a request among what is to be written.
    pub(crate) fn put(&mut self, request: &Request<'_>) {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: hub\r\n", request.method, request.path);
        head.push_str("authorization: Basic dG9ydHVyZTo=\r\n");
        for (name, value) in &request.headers {
            let _infallible = write!(head, "{name}: {value}\r\n");
        }
        let _infallible = write!(head, "content-length: {}\r\n\r\n", request.body.len());
        self.0.out.extend(head.as_bytes());
        self.0.out.extend(request.body);
    }

    pub(crate) fn flush(&mut self) -> Result {
        self.0.flush()
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        loop {
            if let Some(answer) = self.take()? {
                return Ok(answer);
            }
            self.0.must("answer")?;
        }
    }

    /// One request and its answer.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Result<Answer> {
        self.put(request);
        self.flush()?;
        self.answer()
    }

    fn take(&mut self) -> Result<Option<Answer>> {
        let buffered = self.0.buffered();
        let Some(head) = buffered.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&buffered[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status else { return Trouble::wrong(format!("an answer without a status: {text}")) };
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        if buffered.len() < head + length {
            return Ok(None);
        }
        let body = self.0.take(head + length)[head..].to_vec();
        Ok(Some(Answer { status, body }))
    }
}
