//! `roadbed serve`: a hub until a signal ends it.

use std::net::SocketAddr;

use crate::access::Access;
use crate::cli;
use crate::error::Result;
use crate::hub::Running;
use crate::output::say;
use crate::{ClientAuth, Config, Listen, Tls};

/// Runs a hub as the options and the configuration file say.
///
/// # Errors
/// If the configuration is not in order, or an address cannot be had.
pub(crate) async fn run(options: &cli::Serve) -> Result {
    let config = config(options)?;
    let access = Access::of(&config)?;
    let hub = Running::start(&config, None).await?;
    hub.shutdown().on_signals();
    // Nobody has to read it.
    let _ = say(banner(&hub, access, &config.store.place()));
    hub.ended().await
}

/// The file, and what the command line says otherwise. With a listener on the command line, only those there are opened.
fn config(options: &cli::Serve) -> Result<Config> {
    let mut config = match &options.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    let named = Listen {
        mqtt: options.mqtt.clone(),
        http: options.http.clone(),
        amqp: options.amqp.clone(),
        mqtts: options.mqtts.clone(),
        https: options.https.clone(),
        amqps: options.amqps.clone(),
        ws: options.ws.clone(),
        wss: options.wss.clone(),
        any: options.listen.clone(),
    };
    if named != Listen::NONE {
        config.listen = named;
    }
    tls(options, &mut config.tls);
    config.hub.insecure |= options.insecure;
    config.store.memory |= options.memory;
    if let Some(dir) = &options.data {
        (config.store.data, config.store.memory) = (dir.clone(), false);
    }
    Ok(config)
}

/// What the command line says of certificates.
fn tls(options: &cli::Serve, tls: &mut Tls) {
    if let (Some(cert), Some(key)) = (&options.cert, &options.key) {
        (tls.cert, tls.key) = (cert.clone(), key.clone());
    }
    if let Some(authority) = &options.client_ca {
        tls.client_ca = authority.clone();
        if tls.client_auth == ClientAuth::Off {
            tls.client_auth = ClientAuth::Requested;
        }
    }
    tls.client_auth = options.client_auth.unwrap_or(tls.client_auth);
}

fn banner(hub: &Running, access: Access, place: &str) -> String {
    let mut out = format!("roadbed {}, {place}; {}\n", env!("CARGO_PKG_VERSION"), access.notice());
    for address in hub.mqtt() {
        out += &format!("  MQTT  mqtt://{address}\n");
    }
    for address in hub.http() {
        out += &format!("  HTTP  http://{address}    /metrics /healthz\n");
    }
    for address in hub.amqp() {
        out += &format!("  AMQP  amqp://{address}\n");
    }
    for (road, addresses) in hub.listen().roads() {
        let what = match road.name {
            "mqtts" => "MQTT  mqtts://",
            "https" => "HTTP  https://",
            "amqps" => "AMQP  amqps://",
            "ws" => "WS    ws://",
            "wss" => "WS    wss://",
            "any" => "ALL   ",
            _ => continue,
        };
        addresses.iter().for_each(|address| out += &format!("  {what}{address}\n"));
    }
    out + &examples(hub.mqtt().first(), hub.http().first(), hub.amqp().first())
}

/// What can be tried on the listeners that are open.
fn examples(mqtt: Option<&SocketAddr>, http: Option<&SocketAddr>, amqp: Option<&SocketAddr>) -> String {
    let mqtt = mqtt.map(|address| format!("-h {} -p {}", address.ip(), address.port()));
    let http = http.map(|address| format!("http://{address}/v1/messages"));
    let mut out = String::from("Try it:\n");
    if let Some(server) = &mqtt {
        out += &format!("  mosquitto_sub {server} -t 'plant/#' -v\n");
    }
    match (&http, &mqtt) {
        (Some(url), _) => {
            out += &format!("  curl {url}/plant/7/alarm -d 'too hot'\n");
            out += &format!("  curl -i {url}/queues/orders -d '1 road'; curl -i {url}/queues/orders");
        }
        (None, Some(server)) => {
            out += &format!("  mosquitto_pub {server} -t plant/7/alarm -m 'too hot'\n");
            out += &format!("  mosquitto_sub {server} -t '$SYS/#' -v");
        }
        (None, None) => {
            let url = amqp.map(|address| format!("amqp://{address}")).unwrap_or_default();
            out += &format!("  roadbed receive -v '{url}/plant/#'\n  roadbed send {url}/plant/7/alarm 'too hot'");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_alone_has_something_to_try() {
        let address: SocketAddr = "127.0.0.1:5".parse().unwrap();
        for (mqtt, http, amqp, says) in [
            (Some(&address), None, None, "mosquitto_pub -h 127.0.0.1 -p 5"),
            (None, Some(&address), None, "curl http://127.0.0.1:5/v1/messages/"),
            (None, None, Some(&address), "roadbed send amqp://127.0.0.1:5/"),
        ] {
            let examples = examples(mqtt, http, amqp);
            assert!(examples.contains(says), "{examples}");
        }
    }

    #[test]
    fn one_listener_named_means_only_that_one() {
        let mqtt = vec!["127.0.0.1:0".parse().unwrap()];
        let options = cli::Serve { mqtt: mqtt.clone(), ..cli::Serve::default() };
        assert_eq!(config(&options).unwrap().listen, Listen { mqtt, ..Listen::NONE });
        assert_eq!(config(&cli::Serve::default()).unwrap(), Config::default());
    }
}
