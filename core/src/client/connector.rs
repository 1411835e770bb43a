use alloc::boxed::Box;
use core::future::Future;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream that a protocol can run over.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Carrier for S {}

/// Opens the byte streams that a client runs over, one for each connection: TCP, TLS, WebSocket, a pipe in memory.
///
/// Any function that returns a future of a stream is one.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Opens a stream.
    ///
    /// # Errors
    /// If the server cannot be reached now.
    async fn connect(&self) -> io::Result<Box<dyn Carrier>>;
}

#[async_trait]
impl<F, R, S> Connector for F
where
    F: Fn() -> R + Send + Sync,
    R: Future<Output = io::Result<S>> + Send,
    S: Carrier + 'static,
{
    async fn connect(&self) -> io::Result<Box<dyn Carrier>> {
        Ok(Box::new(self().await?))
    }
}

/// Connects over TCP, and sends small frames at once.
///
/// # Errors
/// If nobody listens there, or the name is not known.
pub async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Without it the connection is slower, not wrong.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
