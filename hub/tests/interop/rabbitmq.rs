//! Our client against Debian's RabbitMQ with its plugin for AMQP 1.0: `roadbed send` and `roadbed receive`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Process, finish, finish_with, free_port, peer, roadbed};

/// A RabbitMQ of its own: ports, data, cookie and name are nobody else's, and everything listens on the loopback interface alone.
struct RabbitMq {
    _server: Process,
    _names: Process,
    port: u16,
    _home: tempfile::TempDir,
}

impl RabbitMq {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let [port, distribution, names] = [free_port(), free_port(), free_port()];
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).expect("a temporary file");
            path
        };
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = info\nlog.file = false\n"
        );
        let (config, plugins) = (write("rabbitmq.conf", &config), write("plugins", "[rabbitmq_amqp1_0]."));
        // It would start one of its own, which stays behind.
        let mut epmd =
            Process::start(peer("epmd").args(["-debug", "-address", "127.0.0.1", "-port", &names.to_string()]));
        epmd.line("epmd running");
        // Its script looks for others beside itself, not beside a link to it.
        let link = peer("rabbitmq-server").get_args().last().map(PathBuf::from).expect("a program");
        let mut command = Command::new(link.canonicalize().expect("it is there"));
        command
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("ERL_EPMD_PORT", names.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("peer{port}@localhost"))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", home.path().join("data"))
            .env("RABBITMQ_LOG_BASE", home.path())
            .env("RABBITMQ_CONFIG_FILE", config)
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins)
            .env("RABBITMQ_CONF_ENV_FILE", Path::new("/dev/null"))
            // One process, which ends with the test.
            .env("RABBITMQ_ALLOW_INPUT", "true")
            .env(
                "RABBITMQ_SERVER_START_ARGS",
                "-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            );
        let mut server = Process::start(&mut command);
        server.line("Server startup complete");
        Self { _server: server, _names: epmd, port, _home: home }
    }

    fn url(&self, login: &str, address: &str) -> String {
        format!("amqp://{login}127.0.0.1:{}/{address}", self.port)
    }
}

fn done(arguments: &[&str], input: &[u8]) -> String {
    let output = finish_with(roadbed().args(arguments), input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// All in one, since the server takes longer to start than everything else to run.
#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn sends_and_receives_settles_and_is_refused() {
    let server = RabbitMq::start();
    properties(&server);
    outcomes(&server);
    a_thousand_in_order(&server);
    refusals(&server);
}

fn properties(server: &RabbitMq) {
    for login in ["", "guest:guest@"] {
        let url = server.url(login, "/queue/one");
        let details = ["--property", "unit=°C", "--content-type", "text/plain", "--ttl", "1h"];
        assert_eq!(done(&[&["send", &url, "21"][..], &details].concat(), b"").trim(), "accepted");
        let got = done(&["receive", &url, "--count", "1", "--timeout", "20s", "--json"], b"");
        let got: serde_json::Value = serde_json::from_str(&got).expect("it is JSON");
        assert_eq!((&got["payload"], &got["content_type"]), (&"21".into(), &"text/plain".into()), "{got}");
        assert_eq!(got["properties"], serde_json::json!([["unit", "°C"]]), "{got}");
        assert!(got["ttl_ms"].as_u64().is_some_and(|ttl| ttl > 3_000_000 && ttl <= 3_600_000), "{got}");
    }
    // Sent settled, nothing is answered.
    let url = server.url("", "/queue/settled");
    assert!(done(&["send", &url, "x", "--qos", "0"], b"").starts_with("1 sent"));
    assert_eq!(done(&["receive", &url, "--count", "1", "--timeout", "20s", "--qos", "0"], b""), "x\n");
}

fn outcomes(server: &RabbitMq) {
    let url = server.url("", "/queue/jobs");
    done(&["send", &url, "job"], b"");
    for how in ["release", "none", "accept"] {
        let arguments = ["receive", &url, "--count", "1", "--timeout", "20s", "--settle", how];
        assert_eq!(done(&arguments, b""), "job\n", "before {how}");
    }
    let again = finish(roadbed().args(["receive", &url, "--count", "1", "--timeout", "1s"]));
    assert_eq!(again.status.code(), Some(1), "it was accepted: {again:?}");
}

fn a_thousand_in_order(server: &RabbitMq) {
    let url = server.url("", "/queue/numbers");
    let lines: String = (0..1000).map(|n| format!("{n}\n")).collect();
    let said = done(&["send", "--lines", &url], lines.as_bytes());
    assert!(said.starts_with("1000 of 1000 accepted"), "{said}");
    assert_eq!(done(&["receive", &url, "--count", "1000", "--timeout", "20s"], b""), lines);
    // One message in many frames.
    let (url, large) = (server.url("", "/queue/large"), "0123456789abcdef".repeat(1 << 16));
    done(&["send", &url, "-"], large.as_bytes());
    assert_eq!(done(&["receive", &url, "--count", "1", "--timeout", "20s"], b"").trim_end(), large);
}

fn refusals(server: &RabbitMq) {
    let wrong = finish(roadbed().args(["send", &server.url("guest:guess@", "/queue/one"), "x"]));
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let nowhere = finish(roadbed().args(["send", &server.url("", "/nothing/like/it"), "x"]));
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("amqp:"), "the server's own words: {nowhere:?}");
    let second = finish(roadbed().args(["send", &server.url("", "/queue/one"), "x", "--qos", "2"]));
    assert_eq!(second.status.code(), Some(2), "it has no exactly once: {second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("rcv-settle-mode second"), "{second:?}");
}
