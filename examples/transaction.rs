//! An order becomes an invoice, or stays an order: nothing in between is ever seen. The order is taken in this process, the
//! invoice is sent over HTTP: one transaction, since both are the same principal's.
//!
//! `cargo run --example transaction`
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use roadbed::http::{HttpConfig, Server};
use roadbed::{Broker, Client, Message, Open, Origin, Outcome, Qos, Receiver, Sender, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Arc::new(Broker::new());
    let listener = Server::new(broker.clone(), HttpConfig::default())?.bind("127.0.0.1:0").await?;
    let url = format!("http://shop:secret@{}", listener.local_addr()?);
    tokio::spawn(listener.serve(std::future::pending()));

    let origin = Arc::new(Origin { principal: "shop".into(), protocol: "memory" });
    let client = Client::open(broker, Open { origin, ..Open::default() }).await?;
    let web = connect(&url.parse()?).await?;
    let sender = web.sender().await?;
    let orders = client.receiver("queues/orders", Qos::AtLeastOnce).await?;
    let invoices = client.receiver("queues/invoices", Qos::AtLeastOnce).await?;
    sender.send(Message::new("queues/orders".parse()?, "one road"), Qos::AtLeastOnce).await?;

    invoice(&client, &orders, &sender, false).await?;
    println!("rolled back: the order is there again, and there is no invoice");
    invoice(&client, &orders, &sender, true).await?;
    if let Some(invoice) = invoices.receive().await? {
        let payload = invoice.message.payload().to_bytes();
        println!("committed: {}", String::from_utf8_lossy(&payload));
        invoice.accept().await?;
    }
    Ok(client.close().await?)
}

/// Takes an order and sends an invoice, in one transaction.
async fn invoice(
    client: &Client,
    orders: &Receiver,
    sender: &Sender,
    commit: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let order = orders.receive().await?.ok_or("the link has ended")?;
    let transaction = client.transaction().await?;
    let text = format!("to be paid: {}", String::from_utf8_lossy(&order.message.payload().to_bytes()));
    let invoice = Message::new("queues/invoices".parse()?, text);
    sender.send_in(transaction.id(), invoice, Qos::AtLeastOnce).await?;
    if commit {
        order.settle_in(transaction.id(), Outcome::Accepted).await?;
        transaction.commit().await?;
    } else {
        // Rolled back, the delivery is still this receiver's: it gives it back.
        transaction.rollback().await?;
        order.release().await?;
    }
    Ok(())
}
