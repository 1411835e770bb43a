//! How clients of other protocols come to run over WebSocket.

use std::io;

use async_trait::async_trait;
use roadbed_core::client::{Carrier, Connector, tcp};

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
#[derive(Clone, Debug)]
pub struct WsConnector {
    host: String,
    port: u16,
    ask: Ask,
}

/// The port of HTTP.
const PORT: u16 = 80;

impl WsConnector {
    /// Connects to `host`, a name or a number without the brackets of IPv6, and speaks one of `protocols`.
    pub fn new<P: Into<String>>(
        host: impl Into<String>,
        port: u16,
        path: impl Into<String>,
        protocols: impl IntoIterator<Item = P>,
    ) -> Self {
        let host = host.into();
        let named = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let named = if port == PORT { named } else { format!("{named}:{port}") };
        let protocols = protocols.into_iter().map(Into::into).collect();
        Self { host, port, ask: Ask { host: named, path: path.into(), protocols } }
    }
}

#[async_trait]
impl Connector for WsConnector {
    async fn connect(&self) -> io::Result<Box<dyn Carrier>> {
        let (stream, _) = connect(tcp(&self.host, self.port).await?, &self.ask).await?;
        Ok(Box::new(stream))
    }
}
