//! The demo passes, and it fails when a transport is broken.

use std::process::{Command, Output, Stdio};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
    command.arg("demo").args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

#[test]
fn every_protocol_reaches_every_other() {
    let output = demo(&["--messages", "60"]);
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.ends_with("  ok")).count(), 48 + 7, "{text}");
    assert!(text.contains("committed            0        20  ok"), "{text}");
    assert!(
        text.contains("after a restart     20         0  ok") && text.contains("after a restart      0        20  ok"),
        "{text}"
    );
    assert!(text.contains("Every message arrived once, intact and settled."), "{text}");
}

#[test]
fn a_broken_transport_is_noticed_and_named() {
    let faults = [
        ("mqtt:drop", "1 lost"),
        ("http:drop", "1 lost"),
        ("mqtt:duplicate", "1 duplicated"),
        ("http:duplicate", "1 duplicated"),
        ("mqtt:corrupt", "1 corrupted"),
        ("http:corrupt", "1 corrupted"),
        ("mqtt:unsettle", "not settled"),
        ("http:unsettle", "not settled"),
        ("amqp:drop", "1 lost"),
        ("amqp:duplicate", "1 duplicated"),
        ("amqp:corrupt", "1 corrupted"),
        ("amqp:unsettle", "not settled"),
        ("amqp:confuse", "should be"),
    ];
    // Most of their time they wait for what does not come.
    for faults in faults.chunks(7) {
        std::thread::scope(|scope| {
            faults.iter().for_each(|(fault, said)| drop(scope.spawn(|| noticed(fault, said))));
        });
    }
}

fn noticed(fault: &str, said: &str) {
    let output = demo(&["--messages", "20", "--break", fault]);
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert_eq!(output.status.code(), Some(1), "{fault}: {text}");
    assert!(text.contains(said), "{fault}: {text}");
    assert!(!text.contains("Every message arrived"), "{fault}: {text}");
}
