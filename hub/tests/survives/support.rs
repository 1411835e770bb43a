//! A hub that is killed and started again on the same folder, and peers that are written by hand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::serving::serve;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A hub and its folder.
pub(crate) struct Hub {
    child: Child,
    folder: Option<TempDir>,
    config: String,
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
        Self::on(tempfile::tempdir().expect("a folder"), config)
    }

    /// A hub on this folder.
    pub(crate) fn on(folder: TempDir, config: &str) -> Self {
        let (child, [mqtt, http, amqp]) = start(folder.path(), config);
        Self { child, folder: Some(folder), config: config.into(), mqtt, http, amqp }
    }

    /// It has no time to say anything, and is started again.
    pub(crate) fn killed(self) -> Self {
        self.down(Duration::ZERO)
    }

    /// As [`killed`](Self::killed), and down for so long.
    pub(crate) fn down(mut self, time: Duration) -> Self {
        self.kill();
        std::thread::sleep(time);
        let (child, [mqtt, http, amqp]) = start(self.place(), &self.config);
        (self.child, self.mqtt, self.http, self.amqp) = (child, mqtt, http, amqp);
        self
    }

    /// Its journal.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.place().join("data")
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It is killed; what it leaves.
    pub(crate) fn into_folder(mut self) -> TempDir {
        self.kill();
        self.folder.take().expect("it is taken once")
    }

    fn place(&self) -> &Path {
        self.folder.as_ref().expect("it is taken at the end").path()
    }

    /// Asks over HTTP; the connection ends with the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.http).expect("the hub listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let length = body.len();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n");
        headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).expect("the hub reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer in text");
        Answer::read(&text)
    }

    pub(crate) fn post(&self, address: &str, headers: &[(&str, &str)], body: &str) {
        let answer = self.ask("POST", &format!("/v1/messages/{address}"), headers, body);
        assert_eq!(answer.status, 202, "{answer:?}");
    }

    /// Takes one message under a lock; the status is 204 if there is none.
    pub(crate) fn poll(&self, address: &str) -> Answer {
        self.ask("GET", &format!("/v1/messages/{address}"), &[], "")
    }

    /// Takes everything, each message completed; their bodies in order.
    pub(crate) fn take_all(&self, address: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let answer = self.poll(address);
            if answer.status == 204 {
                return bodies;
            }
            assert_eq!(self.settle(&answer, "").status, 204);
            bodies.push(answer.body);
        }
    }

    /// Completes a lock, or does to it what `verb` says.
    pub(crate) fn settle(&self, taken: &Answer, verb: &str) -> Answer {
        let token = taken.header("etag").expect("a token").trim_matches('"');
        match verb {
            "" => self.ask("DELETE", &format!("/v1/locks/{token}"), &[], ""),
            verb => self.ask("POST", &format!("/v1/locks/{token}/{verb}"), &[], ""),
        }
    }

    pub(crate) fn backlog(&self, address: &str) -> u64 {
        let answer = self.ask("HEAD", &format!("/v1/messages/{address}"), &[], "");
        answer.header("roadbed-backlog").and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(folder: &Path, config: &str) -> (Child, [String; 3]) {
    let file = folder.join("roadbed.toml");
    std::fs::write(&file, config).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
    serve(command.args(["serve", "--data"]).arg(folder.join("data")), &file, Stdio::null())
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self { status, headers: lines.filter_map(pair).collect(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}
