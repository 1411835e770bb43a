//! One client for every protocol: `cargo run --example client -- mqtt://127.0.0.1:1883` or `http://127.0.0.1:8080`.
#![allow(clippy::print_stdout)]

use roadbed::{Message, Qos};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_owned());
    let client = roadbed::connect(&url.parse()?).await?;

    let alarms = client.receiver("plant/+/alarm", Qos::AtLeastOnce).await?;
    let sender = client.sender().await?;

    let alarm = Message::builder("plant/7/alarm".parse()?, "too hot").property("unit", "°C").build();
    let confirm = sender.send(alarm, Qos::AtLeastOnce).await?; // resolves with the server's real answer
    println!("sent: {}", confirm.outcome);

    if let Some(alarm) = alarms.receive().await? {
        let payload = alarm.message.payload().to_bytes();
        println!("{}: {}", alarm.message.address(), String::from_utf8_lossy(&payload));
        alarm.accept().await?; // or reject, release, abandon
    }
    Ok(client.close().await?)
}
