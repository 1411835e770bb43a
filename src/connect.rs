//! From a URL to an endpoint.

use std::sync::Arc;

use roadbed_core::client::Connector;
use roadbed_core::{Endpoint, Error, ErrorKind, Open, Result};

use crate::proxy::Proxy;
use crate::{Client, Url};

/// By which road a server is reached, where its URL does not say it all.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Route {
    /// Whom to trust, and who one is: for URLs over TLS.
    #[cfg(feature = "tls")]
    pub tls: roadbed_tls::ClientSettings,
    /// A proxy to go through, by CONNECT (RFC 9110, section 9.3.6): `http://user:password@host:port`.
    pub proxy: Option<String>,
}

/// Opens a session on the server that a URL names.
///
/// # Errors
/// If the protocol is not known, the server cannot be reached, or it refuses.
pub async fn connect(url: &Url) -> Result<Client> {
    connect_by(url, &Route::default()).await
}

/// As [`connect`], by this route.
///
/// # Errors
/// As [`connect`], and [`ErrorKind::Invalid`] if a file of a certificate is missing or wrong, with what to do.
pub async fn connect_by(url: &Url, route: &Route) -> Result<Client> {
    Client::open(endpoint_by(url, route)?, Open::default()).await
}

/// The server that a URL names, as an endpoint. Nothing is sent before a session is opened.
///
/// # Errors
/// [`ErrorKind::NotSupported`] if the protocol is not known, or its feature is off; [`ErrorKind::Invalid`] for an option
/// that the protocol does not have.
pub fn endpoint(url: &Url) -> Result<Arc<dyn Endpoint>> {
    endpoint_by(url, &Route::default())
}

/// As [`endpoint`], by this route.
///
/// # Errors
/// As [`endpoint`], and [`ErrorKind::Invalid`] if a file of a certificate is missing or wrong, with what to do.
pub fn endpoint_by(url: &Url, route: &Route) -> Result<Arc<dyn Endpoint>> {
    match url.scheme() {
        #[cfg(feature = "mqtt")]
        "mqtt" if route.proxy.is_none() => Ok(Arc::new(roadbed_mqtt::connect(url.target().parse()?))),
        #[cfg(feature = "mqtt")]
        "mqtt" => Ok(over_mqtt(url, Road::tcp(url, route, 1883)?)?),
        #[cfg(all(feature = "tls", feature = "mqtt"))]
        "mqtts" => Ok(over_mqtt(url, Road::tls(url, route, 8883, &["mqtt"])?)?),
        #[cfg(feature = "amqp")]
        "amqp" if route.proxy.is_none() => Ok(Arc::new(roadbed_amqp::connect(url.target().parse()?))),
        #[cfg(feature = "amqp")]
        "amqp" => Ok(over_amqp(url, Road::tcp(url, route, 5672)?)?),
        #[cfg(all(feature = "tls", feature = "amqp"))]
        "amqps" => Ok(over_amqp(url, Road::tls(url, route, 5671, &["amqp"])?)?),
        #[cfg(feature = "http")]
        "http" if route.proxy.is_none() => {
            Ok(Arc::new(roadbed_http::connect(&url.target(), roadbed_http::ClientConfig::default())?))
        }
        #[cfg(feature = "http")]
        "http" => over_http(url, Road::tcp(url, route, 80)?),
        #[cfg(all(feature = "tls", feature = "http"))]
        "https" => over_http(url, Road::tls(url, route, 443, &["http/1.1"])?),
        #[cfg(all(feature = "ws", feature = "mqtt"))]
        "ws+mqtt" => over_mqtt(url, Road::tcp(url, route, 80)?.websocket("/mqtt", "mqtt")),
        #[cfg(all(feature = "ws", feature = "amqp"))]
        "ws+amqp" => over_amqp(url, Road::tcp(url, route, 80)?.websocket("/amqp", "amqp")),
        #[cfg(all(feature = "tls", feature = "ws", feature = "mqtt"))]
        "wss+mqtt" => over_mqtt(url, Road::tls(url, route, 443, &["http/1.1"])?.websocket("/mqtt", "mqtt")),
        #[cfg(all(feature = "tls", feature = "ws", feature = "amqp"))]
        "wss+amqp" => over_amqp(url, Road::tls(url, route, 443, &["http/1.1"])?.websocket("/amqp", "amqp")),
        other => Err(unknown(other)),
    }
}

#[cfg(feature = "mqtt")]
fn over_mqtt(url: &Url, road: Road) -> Result<Arc<dyn Endpoint>> {
    let config = url.target_as("mqtt").parse()?;
    Ok(Arc::new(roadbed_mqtt::connect_over(config, road)))
}

#[cfg(feature = "amqp")]
fn over_amqp(url: &Url, road: Road) -> Result<Arc<dyn Endpoint>> {
    let mut config: roadbed_amqp::ClientConfig = url.target_as("amqp").parse()?;
    // Who shows a certificate, and says nothing else of itself, is who that says.
    if road.certified && matches!(config.sasl, Some(roadbed_amqp::Sasl::Anonymous)) && !url.has_option("sasl") {
        config.sasl = Some(roadbed_amqp::Sasl::External);
    }
    Ok(Arc::new(roadbed_amqp::connect_over(config, road)))
}

#[cfg(feature = "http")]
fn over_http(url: &Url, road: Road) -> Result<Arc<dyn Endpoint>> {
    let dial = move || -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
        let road = road.clone();
        Box::pin(
            async move { road.connect().await.map(|stream| Box::new(stream) as Box<dyn roadbed_http::ByteStream>) },
        )
    };
    Ok(Arc::new(roadbed_http::HttpClient::builder(url.target()).dial(dial).build()?))
}

/// What a protocol runs over, to one server.
#[derive(Clone)]
#[cfg_attr(not(all(feature = "ws", feature = "amqp")), allow(dead_code))]
struct Road {
    host: String,
    port: u16,
    secure: bool,
    /// Whether a certificate is shown.
    certified: bool,
    connector: Arc<dyn Connector>,
}

#[async_trait::async_trait]
impl Connector for Road {
    async fn connect(&self) -> std::io::Result<Box<dyn roadbed_core::client::Carrier>> {
        self.connector.connect().await
    }
}

impl Road {
    fn tcp(url: &Url, route: &Route, port_default: u16) -> Result<Self> {
        let target = url.target();
        let server =
            roadbed_core::client::ServerUrl::new(&target).and_then(|server| server.host_and_port(port_default));
        let (host, port) = server.map_err(invalid)?;
        let connector: Arc<dyn Connector> = match &route.proxy {
            Some(proxy) => Arc::new(Proxy::new(proxy, &host, port)?),
            None => {
                let host = host.clone();
                Arc::new(move || {
                    let host = host.clone();
                    async move { roadbed_core::client::tcp(&host, port).await }
                })
            }
        };
        Ok(Self { host, port, secure: false, certified: false, connector })
    }

    #[cfg(feature = "tls")]
    fn tls(url: &Url, route: &Route, port_default: u16, protocols: &[&str]) -> Result<Self> {
        let under = Self::tcp(url, route, port_default)?;
        let (host, port) = (under.host.clone(), under.port);
        let connector = roadbed_tls::TlsConnector::new(&route.tls, &host, protocols, under).map_err(|error| {
            let help = error.help().map(|help| format!(": {help}")).unwrap_or_default();
            Error::new(ErrorKind::Invalid, "speak TLS").detail(format_args!("{error}{help}"))
        })?;
        let certified = route.tls.cert.is_some();
        Ok(Self { host, port, secure: true, certified, connector: Arc::new(connector) })
    }

    /// Over it, WebSocket. The path of a URL names an address and not where WebSocket begins.
    #[cfg(feature = "ws")]
    fn websocket(self, path: &str, protocol: &str) -> Self {
        let (host, port, secure, certified) = (self.host.clone(), self.port, self.secure, self.certified);
        let connector = roadbed_ws::WsConnector::over(self, (&host, port, secure), path, [protocol]);
        Self { host, port, secure, certified, connector: Arc::new(connector) }
    }
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, "read the URL").detail(format_args!("{what}"))
}

fn unknown(scheme: &str) -> Error {
    let (mqtt, amqp, http) = (cfg!(feature = "mqtt"), cfg!(feature = "amqp"), cfg!(feature = "http"));
    let (tls, ws) = (cfg!(feature = "tls"), cfg!(feature = "ws"));
    let known = [
        ("mqtt", mqtt),
        ("amqp", amqp),
        ("http", http),
        ("mqtts", tls && mqtt),
        ("amqps", tls && amqp),
        ("https", tls && http),
        ("ws+mqtt", ws && mqtt),
        ("ws+amqp", ws && amqp),
        ("wss+mqtt", tls && ws && mqtt),
        ("wss+amqp", tls && ws && amqp),
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
