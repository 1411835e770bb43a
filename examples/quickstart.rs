//! A broker with MQTT and HTTP in front of it, used from this process, too: `cargo run --example quickstart`, then
//! `mosquitto_pub -t plant/7/alarm -m hot` or `curl -d hot http://127.0.0.1:8080/v1/messages/plant/7/alarm`.
#![allow(clippy::print_stdout)]

use std::{future::pending, sync::Arc};

use roadbed::{Broker, Client, Open, Qos, http, mqtt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Arc::new(Broker::new());
    broker.spawn_timers();
    let over_mqtt = mqtt::Server::new(broker.clone(), mqtt::ServerConfig::permissive());
    let over_http = http::Server::new(broker.clone(), http::HttpConfig::default())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:1883").await?;
    tokio::spawn(mqtt::Listener::new(listener, over_mqtt).run(pending()));
    tokio::spawn(over_http.bind("127.0.0.1:8080").await?.serve(pending()));

    let client = Client::open(broker, Open::default()).await?;
    let alarms = client.receiver("plant/+/alarm", Qos::AtLeastOnce).await?;
    while let Some(alarm) = alarms.receive().await? {
        println!("{}: {:?}", alarm.message.address(), alarm.message.payload().to_bytes());
        alarm.accept().await?;
    }
    Ok(())
}
