//! A client and its server, on a real socket; HTTP/1.1 by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roadbed::{Authenticator, Endpoint, Permissive};
use roadbed_http::{HttpConfig, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Result;
use crate::stage::Stage;
use crate::tell::Context as _;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// The server under test, until it is dropped.
pub(crate) struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(
        stage: &Stage,
        endpoint: Arc<dyn Endpoint>,
        config: HttpConfig,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self> {
        let server = Server::builder(endpoint).config(config).clock(stage.clock.clone()).authenticator(authenticator);
        let server = server.build().during("the server")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.during("listen")?;
        let address = listener.local_addr().during("listen")?;
        let task = tokio::spawn(async move { server.serve_listener(listener, std::future::pending()).await });
        Ok(Self { address, task })
    }

    pub(crate) async fn permissive(stage: &Stage) -> Result<Self> {
        Self::start(stage, stage.endpoint(), HttpConfig::default(), Arc::new(Permissive)).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Peer(TcpStream);

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    status: String,
    head: String,
    pub(crate) body: Vec<u8>,
}

/// `Authorization` of two principals.
pub(crate) const ME: &str = "authorization: Basic bWU6eA==\r\n";
pub(crate) const ANOTHER: &str = "authorization: Basic eW91Ong=\r\n";

impl Peer {
    pub(crate) async fn connect(served: &Served) -> Result<Self> {
        TcpStream::connect(served.address).await.map(Self).during("connect")
    }

    /// Writes a request; `headers` are whole lines.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: hub\r\ncontent-length: {length}\r\n{headers}\r\n");
        self.0.write_all(&[head.as_bytes(), body].concat()).await.during("write")
    }

    /// Asks as `ME`, and reads the answer.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Response> {
        self.ask(method, path, ME, body.as_bytes()).await?;
        self.response().await
    }

    pub(crate) async fn response(&mut self) -> Result<Response> {
        tokio::time::timeout(PATIENCE, self.read()).await.during("the answer")?
    }

    async fn read(&mut self) -> Result<Response> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.0.read_buf(&mut bytes).await.during("read")? == 0 {
                return Err("the connection was closed without an answer".into());
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).during("the head")?;
        let status = head.split(' ').nth(1).ok_or("no status")?.to_owned();
        let mut response = Response { status, head, body: bytes[end..].to_vec() };
        let length = response.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        while response.body.len() < length {
            if self.0.read_buf(&mut response.body).await.during("read")? == 0 {
                return Err("the connection was closed in the middle of an answer".into());
            }
        }
        Ok(response)
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.0.read_u8()).await.is_err()
    }

    /// Ends the connection without a word.
    pub(crate) async fn cut(self) {
        drop(self.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// In the grammar of answers.
    pub(crate) fn told(&self) -> String {
        match self.header("retry-after") {
            Some(_) => format!("{} Retry-After", self.status),
            None => self.status.clone(),
        }
    }
}
