//! The section of the configuration about AMQP, and the server that it makes.

use std::time::Duration;

use roadbed::Authenticator;
use roadbed::amqp::{MachineConfig, Server, ServerConfig};
use serde::{Deserialize, Serialize};

use crate::hub::Serving;

/// What the AMQP server takes, offers and waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Amqp {
    /// The largest frame, in bytes.
    pub frame_bytes_max: u32,
    /// The largest message, in bytes.
    pub message_bytes_max: u64,
    /// How many bytes of messages that have not come whole a connection may hold.
    pub partial_bytes_max: u64,
    /// The longest sidecar that is written to clients and believed of them, in bytes: what AMQP has no place for. Only for clients that are hubs of
    /// yours; 0: none.
    pub sidecar_bytes_max: usize,
    /// How many sessions a connection may have.
    pub sessions_max: u16,
    /// How many links a connection may have.
    pub links_max: u32,
    /// How many transfers a client may send before the session's window is opened again.
    pub incoming_window: u32,
    /// The SASL mechanisms that are offered, as far as anybody can come in by them.
    pub sasl_mechanisms: Vec<String>,
    /// Whether clients may leave SASL out, where anonymous ones may come in.
    pub sasl_optional: bool,
    /// How long a connection may take to be open, in seconds.
    pub open_timeout_seconds: u64,
    /// How long a client may be silent, in seconds; 0: for ever.
    pub idle_timeout_seconds: u64,
    /// How many messages a link may have sent that are not answered.
    pub credit_max: u32,
    /// How many bytes may wait to be written to a client before nothing more is taken for it.
    pub write_bytes_max: usize,
    /// How many bytes of answers may wait to be written before nothing more is read.
    pub answer_bytes_max: usize,
    /// How many attaches, declares, discharges and requests of a client may be under way.
    pub requests_max: usize,
    /// How many transactions a connection may have.
    pub transactions_max: usize,
    /// How many identities a connection may have beside its own, each by a token of its own.
    pub identities_max: usize,
    /// How long the answer to a request waits for the credit of its link, in seconds; then it is dropped.
    pub reply_timeout_seconds: u64,
    /// How long the last bytes may take to leave, in seconds.
    pub close_timeout_seconds: u64,
    /// How many connections a listener serves at once; further ones wait to be accepted.
    pub connections_max: usize,
}

impl Default for Amqp {
    fn default() -> Self {
        let server = ServerConfig::default();
        let machine = &server.machine;
        Self {
            frame_bytes_max: machine.frame_bytes_max,
            message_bytes_max: machine.message_bytes_max,
            partial_bytes_max: machine.partial_bytes_max,
            sidecar_bytes_max: machine.sidecar_bytes_max,
            sessions_max: machine.sessions_max,
            links_max: machine.links_max,
            incoming_window: machine.incoming_window,
            sasl_mechanisms: machine.mechanisms.clone(),
            sasl_optional: true,
            open_timeout_seconds: machine.open_timeout.as_secs(),
            idle_timeout_seconds: machine.idle_timeout.as_secs(),
            credit_max: server.credit_max,
            write_bytes_max: server.write_bytes_max,
            answer_bytes_max: server.answer_bytes_max,
            requests_max: server.requests_max,
            transactions_max: server.transactions_max,
            identities_max: server.identities_max,
            reply_timeout_seconds: server.reply_timeout.as_secs(),
            close_timeout_seconds: server.close_timeout.as_secs(),
            connections_max: 65_536,
        }
    }
}

impl Amqp {
    /// Who leaves SASL out is anonymous, or shows a token once it is in: where no such client can come in, it is told at once.
    fn machine(&self, authenticator: &dyn Authenticator) -> MachineConfig {
        let anonymous = authenticator.mechanisms().contains(&"ANONYMOUS");
        MachineConfig::default()
            .frame_bytes_max(self.frame_bytes_max.max(512))
            .message_bytes_max(self.message_bytes_max)
            .partial_bytes_max(self.partial_bytes_max)
            .sidecar_bytes_max(self.sidecar_bytes_max)
            .sessions_max(self.sessions_max.max(1))
            .links_max(self.links_max.max(1))
            .incoming_window(self.incoming_window.max(1))
            .open_timeout(Duration::from_secs(self.open_timeout_seconds))
            .idle_timeout(Duration::from_secs(self.idle_timeout_seconds))
            .mechanisms(self.sasl_mechanisms.clone())
            .sasl_required(!(self.sasl_optional && anonymous))
    }

    pub(crate) fn server(&self, serving: &Serving) -> Server {
        let mut config = ServerConfig::new(serving.authenticator.clone())
            .machine(self.machine(&*serving.authenticator))
            .credit_max(self.credit_max.max(1))
            .transactions_max(self.transactions_max);
        config.write_bytes_max = self.write_bytes_max;
        config.answer_bytes_max = self.answer_bytes_max;
        config.requests_max = self.requests_max.max(1);
        config.identities_max = self.identities_max;
        config.reply_timeout = Duration::from_secs(self.reply_timeout_seconds);
        config.close_timeout = Duration::from_secs(self.close_timeout_seconds);
        Server::new(serving.endpoint.clone(), config)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::config::Listen;
    use crate::hub::Running;
    use crate::{Config, Store};

    #[tokio::test]
    async fn a_hub_that_listens_for_amqp_answers_in_amqp() {
        let amqp = vec!["127.0.0.1:0".parse().unwrap()];
        let config = Config { listen: Listen { amqp, ..Listen::NONE }, store: Store::in_memory(), ..Config::default() };
        let hub = Running::start(&config, None).await.unwrap();
        for header in [b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"] {
            let mut stream = TcpStream::connect(hub.amqp()[0]).await.unwrap();
            stream.write_all(header).await.unwrap();
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, header);
        }
        hub.stop().await.expect("the hub ends");
    }

    /// What a hub answers to a client that begins with SASL, and to one that does not.
    async fn greeted(users: &str) -> (Vec<String>, [u8; 8]) {
        let amqp = vec!["127.0.0.1:0".parse().unwrap()];
        let users = toml::from_str(users).unwrap();
        let config =
            Config { listen: Listen { amqp, ..Listen::NONE }, users, store: Store::in_memory(), ..Config::default() };
        let hub = Running::start(&config, None).await.unwrap();
        let mut with = TcpStream::connect(hub.amqp()[0]).await.unwrap();
        with.write_all(b"AMQP\x03\x01\x00\x00").await.unwrap();
        let mut said = vec![0; 12];
        with.read_exact(&mut said).await.unwrap();
        let mut frame = vec![0; u32::from_be_bytes(said[8..].try_into().unwrap()) as usize - 4];
        with.read_exact(&mut frame).await.unwrap();
        let text = String::from_utf8_lossy(&frame).into_owned();
        let offered = super::Amqp::default().sasl_mechanisms.into_iter().filter(|name| text.contains(&**name));
        let mut without = TcpStream::connect(hub.amqp()[0]).await.unwrap();
        without.write_all(b"AMQP\x00\x01\x00\x00").await.unwrap();
        let mut header = [0; 8];
        without.read_exact(&mut header).await.unwrap();
        let offered = offered.collect();
        hub.stop().await.expect("the hub ends");
        (offered, header)
    }

    #[tokio::test]
    async fn what_a_hub_offers_is_what_its_users_have() {
        let (offered, header) = greeted("").await;
        assert_eq!((&offered[..], &header), (&["PLAIN".into(), "ANONYMOUS".into()][..], b"AMQP\x00\x01\x00\x00"));
        let hashed = crate::auth::line("alice", b"secret", None).unwrap();
        let (offered, header) = greeted(&hashed).await;
        assert_eq!((&offered[..], &header), (&["PLAIN".into()][..], b"AMQP\x03\x01\x00\x00"), "nobody is anonymous");
        let scram = crate::auth::line("alice", b"secret", Some(4096)).unwrap();
        let (offered, _) = greeted(&scram).await;
        assert_eq!(offered, ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]);
    }
}
