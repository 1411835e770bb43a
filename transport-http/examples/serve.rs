//! A broker in this process, served over HTTP: `cargo run -p roadbed-http --example serve -- 127.0.0.1:8080`.
//!
//! ```sh
//! curl -X PUT localhost:8080/v1/subscriptions/alarms -d '{"filters":["plant/+/alarm"]}'
//! curl localhost:8080/v1/messages/plant/7/alarm -d 'too hot'
//! curl -i localhost:8080/v1/messages/queues/alarms
//! ```

use std::sync::Arc;

use roadbed_broker::Broker;
use roadbed_http::{HttpConfig, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let broker = Broker::new();
    broker.spawn_timers();
    let listener = Server::new(Arc::new(broker), HttpConfig::default())?.bind(&*address).await?;
    listener.serve(std::future::pending()).await?;
    Ok(())
}
