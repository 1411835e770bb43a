//! A disk that fails: nothing is acknowledged any more, and the hub says why and ends. What was acknowledged before is there when it is started again.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::serving::serve;
use crate::support::{Hub, PATIENCE};

/// Writes beyond this fail, once the disk is to fail.
const LIMIT: usize = 16 << 10;

#[test]
fn a_hub_whose_disk_fails_says_so_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (said, config) = (folder.path().join("said"), folder.path().join("roadbed.toml"));
    std::fs::write(&config, "").expect("a file");
    // The limit on the length of files makes writes fail, with an error in place of a signal.
    let script = "trap '' XFSZ; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_roadbed"), "serve", "--data"]);
    let log = File::create(&said).expect("a file");
    let (mut hub, [_, http, _]) = serve(command.arg(folder.path().join("data")), &config, Stdio::from(log));

    let bodies: Vec<String> = (0..24).map(|n| format!("{n:01000}")).collect();
    for body in &bodies {
        assert!(post(&http, body).starts_with("HTTP/1.1 202 "));
    }
    let limit = ["--pid", &hub.id().to_string(), &format!("--fsize={LIMIT}")];
    assert!(Command::new("prlimit").args(limit).status().expect("prlimit runs").success());
    let answer = post(&http, "too late");
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");

    assert_eq!(ended(&mut hub), Some(3));
    let said = std::fs::read_to_string(&said).expect("it has said something");
    for part in ["the journal cannot be written", "what was acknowledged is kept"] {
        assert!(said.contains(part), "{said}");
    }
    let hub = Hub::on(folder, "");
    let kept = hub.take_all("queues/q");
    assert_eq!(kept[..bodies.len()], bodies);
    assert!(kept.len() <= bodies.len() + 1, "what was refused may be there, and nothing else");
}

/// Posts; what is answered, if anything is.
fn post(http: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(http).expect("the hub listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let length = body.len();
    let head = "POST /v1/messages/queues/q HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length:";
    stream.write_all(format!("{head} {length}\r\n\r\n{body}").as_bytes()).expect("the hub reads");
    let mut answer = Vec::new();
    // A hub that ends may end the connection in any way.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ended(hub: &mut Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = hub.try_wait().expect("it is ours") {
            return status.code();
        }
        if Instant::now() > until {
            hub.kill().expect("it is ours");
            panic!("the hub goes on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
