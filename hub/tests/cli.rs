//! The program as people meet it: what it says, and how it ends.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

fn roadbed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roadbed")).args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

fn refused(arguments: &[&str], code: i32) -> String {
    let output = roadbed(arguments);
    let error = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    error
}

fn said(arguments: &[&str]) -> String {
    let output = roadbed(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("a temporary file");
    file
}

/// A hub that ends with the test, and the first lines that it says.
struct Hub(Child, Vec<String>);

impl Hub {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
        let store: &[_] = if arguments.contains(&"--data") { &[] } else { &["--memory"] };
        let command = command.arg("serve").args(arguments).args(store).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let mut said: Vec<String> = Vec::new();
        for line in lines {
            said.push(line);
            if said.iter().any(|line| line.starts_with("Try it")) {
                break;
            }
        }
        Self(child, said)
    }

    fn url(&self, scheme: &str) -> String {
        let word = self.1.iter().flat_map(|line| line.split_whitespace()).find(|word| word.starts_with(scheme));
        word.unwrap_or_else(|| panic!("no {scheme} in {:?}", self.1)).to_owned()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_printed_configuration_is_in_order() {
    let config = file(&said(&["config"]));
    assert!(said(&["config", "--check", config.path().to_str().unwrap()]).contains("is in order"));
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest() {
    let config = file("[listen]\nmqt = []\n");
    let path = config.path().to_str().unwrap();
    let error = refused(&["serve", "--config", path], 2);
    let expected = format!("error: unknown key \"mqt\" in {path} line 2; did you mean \"mqtt\"?\n");
    assert_eq!(error, expected);
}

#[test]
fn a_password_is_hashed_into_a_line_of_the_configuration() {
    let hashed = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let scram = hashed(&["hash", "--scram", "--iterations", "4096", "bob"]);
    assert!(
        scram.contains("$argon2") && scram.contains("SCRAM-SHA-256$4096:") && scram.contains("SCRAM-SHA-512$4096:")
    );
    let line = [hashed(&["hash", "alice"]), scram].concat();
    let config = file(&format!("[users]\n{line}"));
    assert!(said(&["config", "--check", config.path().to_str().unwrap()]).contains("is in order"));

    let hub = Hub::start(&["--mqtt", "127.0.0.1:0", "--config", config.path().to_str().unwrap()]);
    let server = hub.url("mqtt://").replace("mqtt://", "");
    assert!(said(&["send", &format!("mqtt://alice:secret@{server}/t"), "x"]).starts_with("accepted"));
    assert!(said(&["send", &format!("mqtt://bob:secret@{server}/t"), "x"]).starts_with("accepted"));
    let error = refused(&["send", &format!("mqtt://alice:guess@{server}/t"), "x"], 1);
    assert!(error.starts_with("error: "), "{error}");
}

#[test]
fn a_taken_port_says_who_to_ask_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = refused(&["serve", "--mqtt", &address], 3);
    assert!(error.starts_with(&format!("error: cannot listen for MQTT on {address}: another process")), "{error}");
    assert!(error.contains("ss -ltnp") && error.contains("--mqtt 127.0.0.1:0"), "{error}");
}

#[test]
fn beyond_this_machine_it_wants_users_or_an_explicit_word() {
    let error = refused(&["serve", "--http", "0.0.0.0:0"], 2);
    assert!(error.contains("without authentication") && error.contains("--insecure"), "{error}");
    let hub = Hub::start(&["--http", "0.0.0.0:0", "--insecure"]);
    assert!(hub.1[0].contains("INSECURE"), "{:?}", hub.1);
}

#[test]
fn it_says_where_it_listens_and_only_where_it_was_told_to() {
    let hub = Hub::start(&["--http", "127.0.0.1:0"]);
    assert!(hub.1[0].contains("development mode"), "{:?}", hub.1);
    assert!(!hub.url("http://127.0.0.1:").ends_with(":0"));
    assert!(!hub.1.iter().any(|line| line.contains("mqtt://")), "{:?}", hub.1);
}

#[test]
fn what_is_sent_by_one_protocol_is_received_by_another() {
    let hub = Hub::start(&["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0"]);
    let urls = ["mqtt://", "http://", "amqp://"].map(|scheme| hub.url(scheme));
    let http = &urls[1];
    for (from, to) in urls.iter().flat_map(|from| urls.iter().map(move |to| (from, to))) {
        let arguments = ["--property", "unit=°C", "--content-type", "text/plain", "--json"];
        let sent = said(&[&["send", &format!("{from}/queues/q"), "hot"][..], &arguments].concat());
        assert!(sent.contains(r#""outcome":"accepted""#), "{sent}");
        let got = said(&["receive", &format!("{to}/queues/q"), "--count", "1", "--timeout", "10s", "--json"]);
        let got: serde_json::Value = serde_json::from_str(&got).unwrap();
        assert_eq!((&got["payload"], &got["content_type"]), (&"hot".into(), &"text/plain".into()), "{got}");
        assert_eq!(got["properties"], serde_json::json!([["unit", "°C"]]), "{got}");
    }
    let error = refused(&["receive", &format!("{http}/queues/q"), "--count", "1", "--timeout", "300ms"], 1);
    assert!(error.contains("0 of 1"), "all was settled: {error}");
}

#[test]
fn a_log_is_read_by_both_clients_from_anywhere_and_for_a_group() {
    let config = file("[[log]]\nname = \"events\"\npartitions = 1\nfilters = [\"plant/#\"]\n");
    let config = config.path().to_str().expect("a path");
    let any = "127.0.0.1:0";
    let hub = Hub::start(&["--config", config, "--mqtt", any, "--http", any, "--amqp", any]);
    for payload in ["one", "two", "three"] {
        said(&["send", &format!("{}/plant/7", hub.url("mqtt://")), payload]);
    }
    let read = |scheme: &str, count: &str, options: &[&str]| {
        let log = format!("{}/logs/events", hub.url(scheme));
        said(&[&["receive", "--count", count, "--timeout", "20s", &log][..], options].concat())
    };
    for scheme in ["amqp://", "http://"] {
        assert_eq!(read(scheme, "3", &[]), "one\ntwo\nthree\n", "{scheme}");
        assert_eq!(read(scheme, "2", &["--from", "1"]), "two\nthree\n", "{scheme}");
        assert_eq!(
            read(scheme, "3", &["--from", "2020-01-01T00:00:00Z", "--qos", "0"]),
            "one\ntwo\nthree\n",
            "{scheme}"
        );
        let known = read(scheme, "1", &["--from", "2", "--json"]);
        assert!(known.contains("\"position\":2") && known.contains("\"partition\":0"), "{scheme}: {known}");
    }
    assert_eq!(read("amqp://", "1", &["--group", "billing", "--epoch", "1"]), "one\n");
    assert_eq!(read("http://", "1", &["--group", "billing"]), "two\n", "it goes on over another protocol");
    assert_eq!(read("amqp://", "1", &["--group", "billing"]), "three\n");
    let error = refused(&["receive", "--from", "0", &format!("{}/queues/q", hub.url("http://"))], 2);
    assert!(error.contains("--from, --group and --epoch are for logs"), "{error}");
    let error = refused(&["receive", "--epoch", "1", &format!("{}/logs/events", hub.url("http://"))], 2);
    assert!(error.contains("nobody is attached"), "{error}");
    let error = refused(&["receive", "--from", "0", &format!("{}/logs/none", hub.url("amqp://"))], 1);
    assert!(error.contains("no log"), "{error}");
}

#[test]
fn what_is_rejected_becomes_a_dead_letter_and_what_is_released_comes_again() {
    let hub = Hub::start(&["--http", "127.0.0.1:0"]);
    let http = hub.url("http://");
    said(&["send", &format!("{http}/queues/q"), "job"]);
    let receive = |from: &str, how: &str| {
        said(&["receive", &format!("{http}/{from}"), "--count", "1", "--timeout", "10s", "--settle", how])
    };
    for how in ["release", "abandon", "reject"] {
        assert_eq!(receive("queues/q", how), "job\n", "before {how}");
    }
    assert_eq!(receive("$dead/q", "accept"), "job\n");
}

#[test]
fn a_refused_message_is_told_and_ends_with_one() {
    let config = file("[broker]\nqueue_messages_max = 1\n");
    let hub = Hub::start(&["--http", "127.0.0.1:0", "--config", config.path().to_str().unwrap()]);
    let url = format!("{}/queues/small", hub.url("http://"));
    said(&["send", &url, "1"]);
    let error = refused(&["send", &url, "2"], 1);
    assert!(error.contains("1 of 1 refused"), "{error}");
}

#[test]
fn a_url_that_is_none_is_explained() {
    for (url, why) in [("localhost/x", "://"), ("gopher://h/x", "no protocol"), ("mqtt://h/a%2Bb", "no address")] {
        let error = refused(&["send", url, "x"], 2);
        assert!(error.contains(why), "{url}: {error}");
    }
}

#[test]
fn what_is_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a name");
    let serve = ["--data", data, "--http", "127.0.0.1:0"];
    let hub = Hub::start(&serve);
    said(&["send", "--count", "50", &format!("{}/queues/orders", hub.url("http://")), "one pallet"]);
    drop(hub);
    let hub = Hub::start(&serve);
    let queue = format!("{}/queues/orders", hub.url("http://"));
    let received = said(&["receive", "--count", "50", "--timeout", "20s", &queue]);
    assert_eq!(received.lines().filter(|line| *line == "one pallet").count(), 50);
    drop(hub);
    assert!(said(&["store", "check", data]).contains(" 0 messages and "));
}

#[test]
fn two_hubs_do_not_share_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a name");
    let _first = Hub::start(&["--data", data, "--http", "127.0.0.1:0"]);
    let error = refused(&["serve", "--data", data, "--http", "127.0.0.1:0"], 3);
    assert!(error.contains("another process") && error.contains("--data DIR"), "{error}");
}
