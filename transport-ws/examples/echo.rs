//! Sends every message back: `cargo run -p roadbed-ws --example echo -- 127.0.0.1:9001`.
//!
//! What WebSocket test suites connect to.

use roadbed_ws::{Messages, Role};
use tokio::net::{TcpListener, TcpStream};

/// The longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

#[tokio::main]
#[allow(clippy::print_stderr, reason = "it is a program")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = echo(stream).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn echo(stream: TcpStream) -> std::io::Result<()> {
    let accepted = roadbed_ws::accept(stream, &[]).await?;
    let mut messages = Messages::new(accepted.io, Role::Server, MESSAGE_BYTES_MAX);
    while let Some(message) = messages.receive().await? {
        messages.send(&message)?;
        messages.flush().await?;
    }
    Ok(())
}
