//! Ways over transports to the broker of a simulation.
#![allow(unreachable_pub, reason = "part of a test")]

use std::sync::Arc;
use std::time::Duration;

use roadbed_conformance::simulation::Ground;
use roadbed_conformance::{Boxed, Faults};
use roadbed_core::{Credential, Endpoint};
use roadbed_http::{ByteStream, HttpClient};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{ClientConfig, ServerConfig, connect_over};

pub fn over_mqtt(version: Version, ground: &Ground, faults: &Faults) -> Arc<dyn Endpoint> {
    let served = ServerConfig::permissive().clock(ground.clock.clone()).seed(ground.seed);
    let server = roadbed_mqtt::Server::new(Arc::clone(&ground.broker), served);
    let config = ClientConfig::default()
        .version(version)
        .clock(ground.clock.clone())
        .reconnect_delay_min(Duration::from_millis(5))
        .seed(ground.seed);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    let connector = dialer.connector();
    Arc::new(connect_over(config, connector))
}

pub fn over_amqp(ground: &Ground, faults: &Faults) -> Arc<dyn Endpoint> {
    let served = roadbed_amqp::ServerConfig::permissive().clock(ground.clock.clone());
    let server = roadbed_amqp::Server::new(Arc::clone(&ground.broker), served);
    // Cut while it connects, again and again, it is to be back before its actor loses patience.
    let config = roadbed_amqp::ClientConfig::default()
        .clock(ground.clock.clone())
        .reconnect_delay_min(Duration::from_millis(5))
        .reconnect_delay_max(Duration::from_millis(200))
        .seed(ground.seed);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    let connector = dialer.connector();
    Arc::new(roadbed_amqp::connect_over(config, connector))
}

pub fn over_http(name: &str, ground: &Ground, faults: &Faults) -> Arc<dyn Endpoint> {
    let server = roadbed_http::Server::builder(Arc::clone(&ground.broker)).clock(ground.clock.clone());
    let server = server.build().expect("a server can be built");
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| {
        let server = server.clone();
        async move { server.serve(stream).await }
    });
    let dial = move || {
        let dialer = dialer.clone();
        Box::pin(async move { Ok(Box::new(dialer.dial().await?) as Box<dyn ByteStream>) }) as Boxed<_>
    };
    let user = Credential::Password { user: name.into(), password: "".into() };
    let config = roadbed_http::ClientConfig::default().backoff_ms_min(5).seed(ground.seed + 1);
    let client = HttpClient::builder("http://hub.example").config(config).credential(user).clock(ground.clock.clone());
    Arc::new(client.dial(dial).build().expect("the URL is one"))
}
