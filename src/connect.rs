//! From a URL to an endpoint.

use std::sync::Arc;

use roadbed_core::{Endpoint, Error, ErrorKind, Open, Result};

use crate::{Client, Url};

/// Opens a session on the server that a URL names.
///
/// # Errors
/// If the protocol is not known, the server cannot be reached, or it refuses.
pub async fn connect(url: &Url) -> Result<Client> {
    Client::open(endpoint(url)?, Open::default()).await
}

/// The server that a URL names, as an endpoint. Nothing is sent before a session is opened.
///
/// # Errors
/// [`ErrorKind::NotSupported`] if the protocol is not known, or its feature is off; [`ErrorKind::Invalid`] for an option
/// that the protocol does not have.
pub fn endpoint(url: &Url) -> Result<Arc<dyn Endpoint>> {
    match url.scheme() {
        #[cfg(feature = "mqtt")]
        "mqtt" => Ok(Arc::new(roadbed_mqtt::connect(url.target().parse()?))),
        #[cfg(feature = "amqp")]
        "amqp" => Ok(Arc::new(roadbed_amqp::connect(url.target().parse()?))),
        #[cfg(feature = "http")]
        "http" => Ok(Arc::new(roadbed_http::connect(&url.target(), roadbed_http::ClientConfig::default())?)),
        #[cfg(all(feature = "ws", feature = "mqtt"))]
        "ws+mqtt" => {
            let over = over_websocket(url, "/mqtt", "mqtt")?;
            Ok(Arc::new(roadbed_mqtt::connect_over(url.target_as("mqtt").parse()?, over)))
        }
        #[cfg(all(feature = "ws", feature = "amqp"))]
        "ws+amqp" => {
            let over = over_websocket(url, "/amqp", "amqp")?;
            Ok(Arc::new(roadbed_amqp::connect_over(url.target_as("amqp").parse()?, over)))
        }
        other => Err(unknown(other)),
    }
}

/// The road to the server of a URL, whose path names an address and not where WebSocket begins.
#[cfg(all(feature = "ws", any(feature = "mqtt", feature = "amqp")))]
fn over_websocket(url: &Url, path: &str, protocol: &str) -> Result<roadbed_ws::WsConnector> {
    let target = url.target();
    let server = roadbed_core::client::ServerUrl::new(&target).and_then(|server| server.host_and_port(80));
    let (host, port) = server.map_err(|what| Error::new(ErrorKind::Invalid, "read the URL").detail(what))?;
    Ok(roadbed_ws::WsConnector::new(host, port, path, [protocol]))
}

fn unknown(scheme: &str) -> Error {
    let ws = cfg!(feature = "ws");
    let known = [
        ("mqtt", cfg!(feature = "mqtt")),
        ("amqp", cfg!(feature = "amqp")),
        ("http", cfg!(feature = "http")),
        ("ws+mqtt", ws && cfg!(feature = "mqtt")),
        ("ws+amqp", ws && cfg!(feature = "amqp")),
    ];
    let known: Vec<_> = known.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let known = if known.is_empty() { "none, for want of features".to_owned() } else { known.join(", ") };
    Error::new(ErrorKind::NotSupported, "connect")
        .detail(format_args!("`{scheme}` is no protocol that is built in; those are: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_that_is_not_there_is_named_with_those_that_are() {
        let error = endpoint(&"gopher://localhost".parse().unwrap()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        assert!(error.to_string().contains("`gopher`"), "{error}");
    }
}
