//! Our client against Debian's Mosquitto: `roadbed send` and `roadbed receive`.

use std::process::Command;

use crate::support::{Mosquitto, Process, finish, finish_with, mosquitto_pub, mosquitto_sub, roadbed, shown};

fn url(server: &Mosquitto, topic: &str, version: &str) -> String {
    format!("mqtt://127.0.0.1:{}/{topic}?version={version}", server.port)
}

fn send(url: &str, arguments: &[&str]) -> String {
    let output = finish(roadbed().arg("send").arg(url).args(arguments));
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn receive(server: &mut Mosquitto, url: &str, arguments: &[&str]) -> Process {
    let process = Process::start(Command::new(env!("CARGO_BIN_EXE_roadbed")).arg("receive").arg(url).args(arguments));
    server.process.line("Sending SUBACK");
    process
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn sends_at_every_qos_over_both_versions() {
    let server = Mosquitto::start();
    for version in ["3.1.1", "5"] {
        for qos in 0..=2 {
            let topic = format!("to/{version}/{qos}");
            let mut subscriber = mosquitto_sub(server.port, &["-q", "2", "-t", &topic]);
            let said = send(&url(&server, &topic, version), &["hello", "--qos", &qos.to_string()]);
            assert_eq!(subscriber.line("MSG "), shown(&topic, qos, false, b"hello"));
            assert!(said.starts_with(if qos == 0 { "1 sent" } else { "accepted" }), "{said}");
        }
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn sends_retained_values_and_properties() {
    let server = Mosquitto::start();
    send(
        &url(&server, "last", "5"),
        &["kept", "--retain", "--property", "unit=°C", "--content-type", "text/plain", "--ttl", "1h"],
    );
    let mut subscriber = Process::start(
        crate::support::peer("mosquitto_sub")
            .args(["-p", &server.port.to_string(), "-V", "mqttv5", "-t", "last", "-C", "1"])
            .args(["-F", "MSG %r %P %C %E %p"]),
    );
    let line = subscriber.line("MSG ");
    assert!(line.starts_with("MSG 1 unit:°C text/plain 3") && line.ends_with(" kept"), "{line}");
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn receives_at_every_qos_over_both_versions() {
    let mut server = Mosquitto::start();
    for version in ["3.1.1", "5"] {
        for qos in 0..=2 {
            let (topic, level) = (format!("from/{version}/{qos}"), qos.to_string());
            let arguments = ["--qos", "2", "--json", "--count", "2"];
            let url = url(&server, "from/#", version);
            let mut receiver = receive(&mut server, &url, &arguments);
            mosquitto_pub(server.port, &["-q", &level, "-t", &topic, "-m", "one"]);
            mosquitto_pub(server.port, &["-q", &level, "-t", &topic, "-n"]);
            for payload in ["one", ""] {
                let message: serde_json::Value = serde_json::from_str(&receiver.line("{")).unwrap();
                assert_eq!(message["address"], topic);
                assert_eq!(message["payload"], payload);
                assert_eq!(message["qos"], qos);
            }
            assert_eq!(receiver.exit_code(), Some(0));
        }
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn sends_a_thousand_lines_once_and_in_order() {
    let server = Mosquitto::start();
    let lines: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    for (version, qos) in [("3.1.1", "1"), ("5", "2")] {
        let mut subscriber = mosquitto_sub(server.port, &["-q", "2", "-t", "numbers"]);
        let input = lines.join("\n");
        let output = finish_with(
            roadbed().args(["send", "--lines", "--qos", qos]).arg(url(&server, "numbers", version)),
            input.as_bytes(),
        );
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with("1000 of 1000 accepted"), "{said} {}", String::from_utf8_lossy(&output.stderr));
        let got = subscriber.lines("MSG ", 1000);
        let qos = qos.parse().unwrap();
        assert!(lines.iter().zip(&got).all(|(line, got)| *got == shown("numbers", qos, false, line.as_bytes())));
        assert!(subscriber.stray("MSG ").is_empty());
    }
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn a_server_that_is_not_there_is_an_error_and_no_panic() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["mqtt", "http"] {
        let address = format!("{scheme}://127.0.0.1:{port}/queues/x");
        let output = finish(roadbed().args(["send", &address, "x", "--timeout", "5s"]));
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("error: "), "{output:?}");
    }
}
