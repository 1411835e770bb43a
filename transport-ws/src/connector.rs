//! How clients of other protocols come to run over WebSocket.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use roadbed_core::client::{Carrier, Connector, tcp};
use tokio::net::TcpStream;

use crate::handshake::{Ask, connect};

/// Opens WebSocket connections for a client of a protocol.
///
/// ```no_run
/// # fn example() {
/// use roadbed_ws::WsConnector;
///
/// let connector = WsConnector::new("localhost", 8080, "/mqtt", ["mqtt"]);
/// # }
/// ```
#[derive(Clone)]
pub struct WsConnector {
    ask: Ask,
    under: Arc<dyn Connector>,
}

/// The port of HTTP.
const PORT: u16 = 80;
/// The port of HTTPS.
const PORT_SECURE: u16 = 443;

impl WsConnector {
    /// Connects to `host`, a name or a number without the brackets of IPv6, and speaks one of `protocols`.
    pub fn new<P: Into<String>>(
        host: impl Into<String>,
        port: u16,
        path: impl Into<String>,
        protocols: impl IntoIterator<Item = P>,
    ) -> Self {
        let host = host.into();
        let protocols = protocols.into_iter().map(Into::into).collect();
        let ask = Ask { host: named(&host, port, PORT), path: path.into(), protocols };
        Self { ask, under: Arc::new(move || tcp_to(host.clone(), port)) }
    }

    /// As [`new`](Self::new), over what another connector opens to that host and port: through a proxy, or `secure`, over TLS.
    pub fn over<P: Into<String>>(
        under: impl Connector + 'static,
        (host, port, secure): (&str, u16, bool),
        path: impl Into<String>,
        protocols: impl IntoIterator<Item = P>,
    ) -> Self {
        let protocols = protocols.into_iter().map(Into::into).collect();
        let ask =
            Ask { host: named(host, port, if secure { PORT_SECURE } else { PORT }), path: path.into(), protocols };
        Self { ask, under: Arc::new(under) }
    }
}

#[async_trait]
impl Connector for WsConnector {
    async fn connect(&self) -> io::Result<Box<dyn Carrier>> {
        let (stream, _) = connect(self.under.connect().await?, &self.ask).await?;
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for WsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsConnector").field("ask", &self.ask).finish_non_exhaustive()
    }
}

async fn tcp_to(host: String, port: u16) -> io::Result<TcpStream> {
    tcp(&host, port).await
}

/// The server as requests name it: with its port where that is not the usual one.
fn named(host: &str, port: u16, usual: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == usual { host } else { format!("{host}:{port}") }
}
