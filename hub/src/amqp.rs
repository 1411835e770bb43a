//! The section of the configuration about AMQP, and the server that it makes.

use std::time::Duration;

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
    /// How many sessions a connection may have.
    pub sessions_max: u16,
    /// How many links a connection may have.
    pub links_max: u32,
    /// How many transfers a client may send before the session's window is opened again.
    pub incoming_window: u32,
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
            sessions_max: machine.sessions_max,
            links_max: machine.links_max,
            incoming_window: machine.incoming_window,
            open_timeout_seconds: machine.open_timeout.as_secs(),
            idle_timeout_seconds: machine.idle_timeout.as_secs(),
            credit_max: server.credit_max,
            write_bytes_max: server.write_bytes_max,
            answer_bytes_max: server.answer_bytes_max,
            requests_max: server.requests_max,
            transactions_max: server.transactions_max,
            reply_timeout_seconds: server.reply_timeout.as_secs(),
            close_timeout_seconds: server.close_timeout.as_secs(),
            connections_max: 65_536,
        }
    }
}

impl Amqp {
    /// Who leaves out SASL is anonymous; whether such a client comes in is for the authenticator to say.
    fn machine(&self) -> MachineConfig {
        MachineConfig::default()
            .frame_bytes_max(self.frame_bytes_max.max(512))
            .message_bytes_max(self.message_bytes_max)
            .partial_bytes_max(self.partial_bytes_max)
            .sessions_max(self.sessions_max.max(1))
            .links_max(self.links_max.max(1))
            .incoming_window(self.incoming_window.max(1))
            .open_timeout(Duration::from_secs(self.open_timeout_seconds))
            .idle_timeout(Duration::from_secs(self.idle_timeout_seconds))
            .sasl_required(false)
    }

    pub(crate) fn server(&self, serving: &Serving) -> Server {
        let mut config = ServerConfig::new(serving.authenticator.clone())
            .machine(self.machine())
            .credit_max(self.credit_max.max(1))
            .transactions_max(self.transactions_max);
        config.write_bytes_max = self.write_bytes_max;
        config.answer_bytes_max = self.answer_bytes_max;
        config.requests_max = self.requests_max.max(1);
        config.reply_timeout = Duration::from_secs(self.reply_timeout_seconds);
        config.close_timeout = Duration::from_secs(self.close_timeout_seconds);
        Server::new(serving.endpoint.clone(), config)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::Config;
    use crate::config::Listen;
    use crate::hub::Running;

    #[tokio::test]
    async fn a_hub_that_listens_for_amqp_answers_in_amqp() {
        let amqp = vec!["127.0.0.1:0".parse().unwrap()];
        let config = Config { listen: Listen { amqp, ..Listen::NONE }, ..Config::default() };
        let hub = Running::start(&config, None).await.unwrap();
        for header in [b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"] {
            let mut stream = TcpStream::connect(hub.amqp()[0]).await.unwrap();
            stream.write_all(header).await.unwrap();
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, header);
        }
        hub.stop().await;
    }
}
