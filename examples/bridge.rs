//! A bridge that lies to nobody: upstream hears of a message only what became of it downstream.
//!
//! `cargo run --example bridge -- mqtt://127.0.0.1:1883/plant/# http://127.0.0.1:8080`

use futures::TryStreamExt;
use roadbed::{Error, Qos, Url};

/// How many messages are under way at a time.
const IN_FLIGHT: usize = 32;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut urls = std::env::args().skip(1).map(|url| url.parse::<Url>());
    let (Some(from), Some(to)) = (urls.next(), urls.next()) else {
        return Err("usage: bridge FROM-URL/FILTER TO-URL".into());
    };
    Ok(bridge(&from?, &to?).await?)
}

async fn bridge(from: &Url, to: &Url) -> Result<(), Error> {
    let filter = from.filter()?;
    let (upstream, downstream) = (roadbed::connect(from).await?, roadbed::connect(to).await?);
    let receiver = upstream.receiver(filter.as_str(), Qos::ExactlyOnce).await?;
    let sender = downstream.sender().await?;
    receiver
        .try_for_each_concurrent(IN_FLIGHT, |received| {
            let sender = sender.clone();
            async move {
                let confirm = sender.send(received.message.clone(), received.qos).await?;
                // Accepted, rejected, released or modified: each side says it in its own words, or in the nearest it has.
                received.settle(confirm.outcome).await?;
                Ok(())
            }
        })
        .await
}
