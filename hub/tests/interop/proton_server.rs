//! Our client against a server of Proton's engine, `peers/proton_server.py`: `roadbed send` and `roadbed receive`.

use crate::support::{Process, finish, finish_with, free_port, peer, roadbed};

struct Server {
    process: Process,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/peers/proton_server.py");
        let mut process = Process::start(peer("python3").arg(script).arg(port.to_string()));
        process.line("LISTENING");
        Self { process, port }
    }

    /// Ends with 0, and says this.
    fn done(&self, what: &str, address: &str, arguments: &[&str], input: &[u8]) -> String {
        let url = format!("amqp://127.0.0.1:{}/{address}", self.port);
        let output = finish_with(roadbed().arg(what).arg(url).args(arguments), input);
        assert!(output.status.success(), "{what} {address} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// Does not end with 0; the reason.
    fn refused(&self, address: &str, arguments: &[&str]) -> String {
        let url = format!("amqp://127.0.0.1:{}/{address}", self.port);
        let output = finish(roadbed().arg("send").arg(url).args(arguments));
        assert!(!output.status.success(), "send {address} {arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("it is text")
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn every_outcome_arrives() {
    let mut server = Server::start();
    let arguments = ["hello", "--property", "unit=°C", "--content-type", "text/plain"];
    assert_eq!(server.done("send", "jobs", &arguments, b"").trim(), "accepted");
    for (how, outcome, failed) in [("release", 38, 0), ("abandon", 39, 0), ("reject", 37, 1)] {
        let arguments = ["--count", "1", "--timeout", "20s", "--json", "--settle", how];
        let got = server.done("receive", "jobs", &arguments, b"");
        let got: serde_json::Value = serde_json::from_str(&got).expect("it is JSON");
        assert_eq!((&got["payload"], &got["failed"]), (&"hello".into(), &failed.into()), "before {how}: {got}");
        assert_eq!(got["properties"], serde_json::json!([["unit", "°C"]]), "{got}");
        server.process.line(&format!("OUTCOME {outcome}"));
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_thousand_come_in_order_and_large_ones_whole() {
    let server = Server::start();
    let lines: String = (0..1000).map(|n| format!("{n}\n")).collect();
    let said = server.done("send", "numbers", &["--lines"], lines.as_bytes());
    assert!(said.starts_with("1000 of 1000 accepted"), "{said}");
    assert_eq!(server.done("receive", "numbers", &["--count", "1000", "--timeout", "20s"], b""), lines);
    let large = "0123456789abcdef".repeat(1 << 16);
    server.done("send", "large", &["-"], large.as_bytes());
    assert_eq!(server.done("receive", "large", &["--count", "1", "--timeout", "20s"], b"").trim_end(), large);
    server.done("send", "settled", &["x"], b"");
    assert_eq!(server.done("receive", "settled", &["--count", "1", "--timeout", "20s", "--qos", "0"], b""), "x\n");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn refusals_are_told() {
    let server = Server::start();
    assert!(server.refused("jobs", &["x", "--property", "bad=yes"]).contains("rejected"));
    assert!(server.refused("jobs", &["x", "--qos", "2"]).contains("second"), "it has no exactly once");
}
