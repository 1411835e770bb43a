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
        other => Err(unknown(other)),
    }
}

fn unknown(scheme: &str) -> Error {
    let known = [("mqtt", cfg!(feature = "mqtt")), ("amqp", cfg!(feature = "amqp")), ("http", cfg!(feature = "http"))];
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
