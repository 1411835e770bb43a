//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use roadbed::{LogStart, Url};

use crate::roads::ClientAuth;
use roadbed::sasl::{ITERATIONS, ITERATIONS_MIN};

/// The hub, and a hand to send and receive messages with over every protocol that it speaks.
#[derive(Debug, Parser)]
#[command(
    name = "roadbed",
    version,
    after_help = "\
Try it:
  roadbed demo                                          every protocol to every other, checked
  roadbed serve                                         a hub on this machine: MQTT 1883, AMQP 5672, HTTP 8080
  roadbed receive mqtt://127.0.0.1/plant/+/alarm        follow a filter
  roadbed send http://127.0.0.1:8080/plant/7/alarm hot  send to a topic

Exit codes: 0 done, 1 refused or wrong, 2 usage or configuration, 3 not reachable."
)]
pub struct Cli {
    /// What to log to standard error, such as `debug` or `info,roadbed_mqtt=trace`; otherwise by RUST_LOG
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a hub
    Serve(Serve),
    /// Send messages to any server, and tell what became of them
    Send(Send),
    /// Receive messages from any server, and settle them
    Receive(Receive),
    /// Run a hub and send through it over every protocol to every other, and check that all arrives
    Demo(Demo),
    /// Print the default configuration, or check one
    Config(Config),
    /// Read a password from standard input, and print the line that lets a user in with it
    Hash(Hash),
    /// Look after a file of users
    User(User),
    /// Look after the journal of a hub that does not run
    Store(Store),
    /// Make certificates to develop with
    Tls(Tls),
}

/// `roadbed serve`
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  roadbed serve                                     on 127.0.0.1: MQTT on port 1883, AMQP on 5672, HTTP on 8080
  roadbed serve --mqtt 127.0.0.1:0                  MQTT alone, on a free port
  roadbed serve --listen 127.0.0.1:8883 --cert tls/server.pem --key tls/server.key
                                                    every protocol on one port, over TLS or not
  roadbed serve --config roadbed.toml               as `roadbed config` shows it
  roadbed serve --mqtt 0.0.0.0:1883 --insecure      for everybody who can reach it, without authentication")]
pub struct Serve {
    /// Listen for MQTT here; with any listener named, only those named are opened
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Vec<SocketAddr>,
    /// Listen for HTTP here
    #[arg(long, value_name = "ADDR")]
    pub http: Vec<SocketAddr>,
    /// Listen for AMQP 1.0 here
    #[arg(long, value_name = "ADDR")]
    pub amqp: Vec<SocketAddr>,
    /// Listen for MQTT over TLS here
    #[arg(long, value_name = "ADDR")]
    pub mqtts: Vec<SocketAddr>,
    /// Listen for HTTP over TLS here
    #[arg(long, value_name = "ADDR")]
    pub https: Vec<SocketAddr>,
    /// Listen for AMQP 1.0 over TLS here
    #[arg(long, value_name = "ADDR")]
    pub amqps: Vec<SocketAddr>,
    /// Listen for MQTT and AMQP over WebSocket alone here; HTTP listeners take it, too
    #[arg(long, value_name = "ADDR")]
    pub ws: Vec<SocketAddr>,
    /// The same over TLS
    #[arg(long, value_name = "ADDR")]
    pub wss: Vec<SocketAddr>,
    /// Listen for all of them on one port here: MQTT, AMQP, HTTP and WebSocket, over TLS or not
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Speak TLS with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// and this key of it
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Know the clients whose certificates this authority has signed (PEM)
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates; with --client-ca they are asked unless this says otherwise
    #[arg(long, value_enum, value_name = "HOW")]
    pub client_auth: Option<ClientAuth>,
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep what must survive in this folder [default: ./roadbed-data]
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    pub data: Option<PathBuf>,
    /// Keep everything in memory: a restart loses it
    #[arg(long)]
    pub memory: bool,
    /// Let everybody in, also from other machines
    #[arg(long)]
    pub insecure: bool,
}

/// `roadbed store`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadbed store check roadbed-data           every byte is read; exit code 1 if something is damaged
  roadbed store repair roadbed-data          what a repair would lose
  roadbed store repair roadbed-data --yes    the damaged files are kept beside what could be read
  roadbed store stats roadbed-data           segments, bytes, messages and rows")]
pub struct Store {
    /// What to do
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What to do with a journal.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read every byte, and list what is damaged
    Check {
        /// The folder
        dir: PathBuf,
    },
    /// Write what can be read anew, and list what is lost
    Repair {
        /// The folder
        dir: PathBuf,
        /// Do it, not only say it
        #[arg(long)]
        yes: bool,
    },
    /// Say how much is kept
    Stats {
        /// The folder
        dir: PathBuf,
    },
}

/// `roadbed tls`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadbed tls make tls                                     ca.pem, server.pem and client.pem, each with its key
  roadbed tls make tls --client sensor-7 --no-server       one more client of the same authority
  roadbed serve --mqtts 127.0.0.1:8883 --cert tls/server.pem --key tls/server.key --client-ca tls/ca.pem
  roadbed send mqtts://localhost/plant/7/alarm hot --ca tls/ca.pem --cert tls/client.pem --key tls/client.key")]
pub struct Tls {
    /// What to do
    #[command(subcommand)]
    pub command: TlsCommand,
}

/// What to do about certificates.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Write an authority, or use the one that is there, and certificates of a server and of clients
    Make {
        /// The folder
        dir: PathBuf,
        /// A name of the server, or a number [default: localhost, 127.0.0.1, ::1]
        #[arg(long, value_name = "HOST", conflicts_with = "no_server")]
        server: Vec<String>,
        /// Make none for a server
        #[arg(long)]
        no_server: bool,
        /// The name of a client [default: client]
        #[arg(long, value_name = "NAME")]
        client: Vec<String>,
        /// Write over what is there, the authority too
        #[arg(long)]
        force: bool,
    },
}

/// What `send` and `receive` have in common.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where: `mqtt://user:password@host:port/topic`, `amqp://host/queues/name`, `http://host:port/queues/name`; also `mqtts://`, `amqps://`, `https://`, and
    /// `ws+mqtt://`, `ws+amqp://`, `wss+mqtt://`, `wss+amqp://`
    #[arg(value_name = "URL")]
    pub url: String,
    /// The assurance to ask for: 0, 1 or 2
    #[arg(long, default_value = "1", value_name = "0|1|2", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Trust servers whose certificates this authority has signed (PEM) [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Show this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Go through this HTTP proxy (CONNECT), `http://user:password@host:port`; empty: straight. Otherwise HTTPS_PROXY is for URLs over TLS, but for hosts of NO_PROXY and this
    /// machine
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
}

impl Common {
    /// By which road the server is reached.
    pub(crate) fn route(&self, url: &Url) -> roadbed::Route {
        let mut route = roadbed::Route::default();
        route.tls =
            roadbed::tls::ClientSettings { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() };
        let proxy = self.proxy.clone().or_else(|| proxy_for(url, |name| std::env::var(name).ok()));
        route.proxy = proxy.filter(|proxy| !proxy.is_empty());
        route
    }
}

/// `roadbed send`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadbed send mqtt://127.0.0.1/plant/7/alarm 'too hot'
  roadbed send http://127.0.0.1:8080/queues/orders - < order.json
  roadbed send --property unit=C amqp://127.0.0.1/queues/readings 21
  seq 1000 | roadbed send --lines --qos 2 mqtt://127.0.0.1/numbers")]
pub struct Send {
    /// Where, and how
    #[command(flatten)]
    pub common: Common,
    /// The payload; `-` reads it from standard input; none sends an empty one
    #[arg(value_name = "PAYLOAD")]
    pub payload: Option<String>,
    /// Send every line of standard input as a message
    #[arg(long, conflicts_with = "payload")]
    pub lines: bool,
    /// Add an application property
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    pub property: Vec<(String, String)>,
    /// How long the message lives, such as `90s`, `5m`, `2h`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub ttl: Option<Duration>,
    /// Make it the last value of its address
    #[arg(long)]
    pub retain: bool,
    /// 0 to 9, higher first
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: Option<u8>,
    /// The media type of the payload
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Send it this many times
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub count: u64,
    /// How long to wait for the server, and for each answer
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration)]
    pub timeout: Duration,
}

/// `roadbed receive`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadbed receive mqtt://127.0.0.1/plant/+/alarm
  roadbed receive --json --count 1 --timeout 5s http://127.0.0.1:8080/queues/orders
  roadbed receive --settle release amqp://127.0.0.1/queues/orders        (a look: it goes back as it was)
  roadbed receive --settle reject http://127.0.0.1:8080/queues/orders    (to the dead letters)
  roadbed receive --from 2026-01-31T12:00:00Z amqp://127.0.0.1/logs/telemetry
  roadbed receive --group billing http://127.0.0.1:8080/logs/telemetry/0  (goes on where the group was)")]
pub struct Receive {
    /// Where, and how
    #[command(flatten)]
    pub common: Common,
    /// Print the address before each payload
    #[arg(long, short)]
    pub verbose: bool,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Read a log from here on: a position, earliest, latest, checkpoint, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "START", value_parser = LogStart::from_str)]
    pub from: Option<LogStart>,
    /// Read a log for this group: from its checkpoint on, unless --from says otherwise; what is settled moves it
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub group: Option<String>,
    /// Take the log from readers of the group with a lower epoch, or none
    #[arg(long, value_name = "N")]
    pub epoch: Option<u64>,
    /// What to do with each message
    #[arg(long, value_enum, default_value_t = SettleAs::Accept)]
    pub settle: SettleAs,
    /// End when nothing has come for this time; with --count that is a failure
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// What `receive` does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SettleAs {
    /// Take responsibility
    Accept,
    /// The message is at fault: to the dead letters
    Reject,
    /// Give it back untried
    Release,
    /// Give it back as failed here: its delivery count grows
    Abandon,
    /// Say nothing: it is held until the link ends or its lock lapses
    None,
}

/// `roadbed demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// How many messages for each pair of protocols and each QoS
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub messages: usize,
    /// Spoil one message on its way in by this protocol: `mqtt:drop`, `http:duplicate`, `mqtt:corrupt`; the demo must notice
    #[arg(long = "break", value_name = "PROTOCOL:HOW", hide = true)]
    pub fault: Option<String>,
}

/// `roadbed config`
#[derive(Debug, Args)]
pub struct Config {
    /// Read this file, and say what is wrong with it
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

/// `roadbed hash`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadbed hash alice            then put the line into [users] of roadbed.toml
  roadbed hash --scram alice    alice can also prove over AMQP and MQTT 5 to know the password, without sending it")]
pub struct Hash {
    /// Add verifiers for SCRAM-SHA-512 and SCRAM-SHA-256
    #[arg(long)]
    pub scram: bool,
    /// How often each client hashes the password when it comes in by SCRAM: its work, and that of who steals the file
    #[arg(long, requires = "scram", default_value_t = ITERATIONS, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(ITERATIONS_MIN)..))]
    pub iterations: u32,
    /// The user's name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `roadbed user`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadbed user add alice                     asks for a password; again, and it is changed
  roadbed user add --scram alice             alice can also prove to know it without sending it
  roadbed user list
  roadbed user remove alice
A hub reads the file that `users_file` in [auth] names, at its start and at SIGHUP.")]
pub struct User {
    /// What to do
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What to do with a file of users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Read a password from standard input, and let a user in with it
    Add {
        /// Who, and how
        #[command(flatten)]
        hash: Hash,
        /// The file
        #[arg(long, value_name = "FILE", default_value = "roadbed-users.toml")]
        file: PathBuf,
    },
    /// Print the names
    List {
        /// The file
        #[arg(long, value_name = "FILE", default_value = "roadbed-users.toml")]
        file: PathBuf,
    },
    /// Let a user in no more
    Remove {
        /// The user's name
        #[arg(value_name = "NAME")]
        name: String,
        /// The file
        #[arg(long, value_name = "FILE", default_value = "roadbed-users.toml")]
        file: PathBuf,
    },
}

/// The proxy that the environment names for this URL.
fn proxy_for(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !(matches!(url.scheme(), "mqtts" | "amqps" | "https") || url.scheme().starts_with("wss+")) {
        return None;
    }
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
    let host = url.host().to_ascii_lowercase();
    let skipped = either("NO_PROXY").unwrap_or_default().to_ascii_lowercase();
    let skipped = skipped.split(',').map(str::trim).chain(["localhost", "127.0.0.1", "::1"]);
    let mut skipped = skipped.filter(|name| !name.is_empty()).map(|name| name.trim_start_matches('.'));
    let is_within = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    match skipped.any(|name| name == "*" || is_within(name)) {
        true => None,
        false => either("HTTPS_PROXY"),
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a property is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `250ms`, `90s`, `5m`, `2h`, `1d`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a time is a number and a unit, such as 90s")?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{unit}` is none of ms, s, m, h, d")),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_proxy_of_the_environment_is_for_tls_to_others() {
        let proxy = |url: &str, except: &str| {
            let variable = |name: &str| match name {
                "https_proxy" => Some("http://proxy:3128".to_owned()),
                "NO_PROXY" => Some(except.to_owned()),
                _ => None,
            };
            proxy_for(&url.parse().unwrap(), variable).is_some()
        };
        assert!(proxy("mqtts://hub.example/a", "") && proxy("wss+amqp://hub.example:8443/a", "other.example"));
        assert!(!proxy("mqtt://hub.example/a", "") && !proxy("https://localhost:8443/a", ""));
        assert!(!proxy("https://[::1]:8443/a", "") && !proxy("https://hub.example/a", "x, .EXAMPLE"));
        assert!(!proxy("https://hub.example/a", "*") && proxy("https://myexample/a", "example"));
    }

    #[test]
    fn reads_times_with_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(duration("s").is_err() && duration("1 week").is_err() && duration("99999999999999999999d").is_err());
        assert!(duration("18446744073709551615d").is_err());
    }

    #[test]
    fn splits_properties_at_the_first_sign() {
        assert_eq!(property("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(property("a").is_err());
    }
}
