//! A hub with users and a policy, and clients who may do this and not that.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use roadbed::auth::sas;

use crate::serving::serve;

pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";
pub(crate) const SAS_KEY: &str = "c2Vjcmv0IGtleSBvZiB0aGUgZmxlZXQu";
pub(crate) const JWT_SECRET: &str = "a secret of more than thirty-two bytes";

const POLICY: &str = r#"
[[allow]]
who = ["*"]
send = ["devices/{id}/#", "queues/{id}"]
receive = ["devices/{id}/#", "queues/{id}"]
[[allow]]
who = ["alice"]
send = ["plant/#"]
receive = ["plant/#"]
"#;

/// A hub that ends with the test.
pub(crate) struct Hub {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) mqtt: String,
    pub(crate) http: String,
    pub(crate) amqp: String,
}

impl Hub {
    /// With alice, who has a password, devices d1, d2..., who have tokens, and [`POLICY`]; it logs everything.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("policy.toml"), POLICY).expect("written");
        std::fs::write(path("jwt.key"), JWT_SECRET).expect("written");
        add_user(&path("users.toml"), "alice", PASSWORD);
        let config = format!(
            "[auth]\nusers_file = {:?}\npolicy = {:?}\n[[sas]]\nresource = \"hub.example/devices/{{id}}\"\nkeys = [{SAS_KEY:?}]\n\
             [[jwt]]\nalgorithm = \"HS256\"\nkey_file = {:?}\n",
            path("users.toml"),
            path("policy.toml"),
            path("jwt.key"),
        );
        std::fs::write(path("hub.toml"), config).expect("written");
        let log = std::fs::File::create(path("log")).expect("created");
        let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
        command.args(["--log", "trace", "serve", "--memory"]);
        let (child, [mqtt, http, amqp]) = serve(&mut command, &path("hub.toml"), Stdio::from(log));
        Self { child, dir, mqtt, http, amqp }
    }

    /// Changes the policy, and tells the hub.
    pub(crate) fn change_policy(&self, text: &str) {
        std::fs::write(self.file("policy.toml"), text).expect("written");
        let before = self.log().matches("have been read again").count();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
        let until = Instant::now() + Duration::from_secs(10);
        while self.log().matches("have been read again").count() == before {
            assert!(Instant::now() < until, "the hub does not hear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.file("log")).expect("there is a log")).into_owned()
    }

    /// An HTTP request; the status and the body.
    pub(crate) fn http(&self, method: &str, path: &str, authorization: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.http).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        let authorization = match authorization {
            "" => String::new(),
            value => format!("Authorization: {value}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: hub\r\n{authorization}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a status");
        (status, answer)
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.http("GET", "/metrics", "", "");
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn add_user(file: &std::path::Path, name: &str, password: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
    let mut child = command
        .args(["user", "add", name, "--file"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("it is piped").write_all(password.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

/// The token of a device, until then.
pub(crate) fn token(device: &str, expires_secs: u64) -> String {
    sas::sign(SAS_KEY.as_bytes(), "", &format!("hub.example/devices/{device}"), expires_secs)
}

/// A client of MQTT, made of bytes.
pub(crate) struct Mqtt(TcpStream);

impl Mqtt {
    /// Connects; with the code of the CONNACK.
    pub(crate) fn connect(hub: &Hub, version: u8, user: &str, password: &str, will: Option<&str>) -> (Self, u8) {
        let stream = TcpStream::connect(&hub.mqtt).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        let empty: &[u8] = if version == 5 { &[0] } else { &[] };
        let flags = 0xC2 | if will.is_some() { 0x04 } else { 0 };
        let mut body = [text("MQTT"), vec![version, flags, 0, 60], empty.to_vec(), text("client")].concat();
        if let Some(topic) = will {
            body.extend([empty.to_vec(), text(topic), text("gone")].concat());
        }
        body.extend([text(user), text(password)].concat());
        let mut client = Self(stream);
        client.send(0x10, &body);
        let (first, body) = client.packet().expect("a CONNACK");
        assert_eq!(first, 0x20);
        (client, body[1])
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let byte = (length % 128) as u8;
            length /= 128;
            packet.push(if length > 0 { byte | 0x80 } else { byte });
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        self.0.write_all(&packet).expect("sent");
    }

    /// The next packet; `None` at the end.
    pub(crate) fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).ok()?;
        let (first, mut length, mut shift) = (byte[0], 0usize, 0);
        loop {
            self.0.read_exact(&mut byte).ok()?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((first, body))
    }

    /// Sends at QoS 1 by MQTT 5; the code of the PUBACK.
    pub(crate) fn publish(&mut self, topic: &str) -> u8 {
        self.send(0x32, &[text(topic), vec![0, 7, 0], b"payload".to_vec()].concat());
        let (first, body) = self.packet().expect("a PUBACK");
        assert_eq!((first, &body[..2]), (0x40, &[0, 7][..]));
        body.get(2).copied().unwrap_or_default()
    }

    /// The same by MQTT 3.1.1, which has no code; whether it was answered at all.
    pub(crate) fn publish_v4(&mut self, topic: &str) -> bool {
        self.send(0x32, &[text(topic), vec![0, 7], b"payload".to_vec()].concat());
        self.packet().is_some_and(|(first, _)| first == 0x40)
    }

    /// The code of the SUBACK.
    pub(crate) fn subscribe(&mut self, version: u8, filter: &str) -> u8 {
        let empty: &[u8] = if version == 5 { &[0] } else { &[] };
        self.send(0x82, &[vec![0, 9], empty.to_vec(), text(filter), vec![1]].concat());
        loop {
            let (first, body) = self.packet().expect("a SUBACK");
            if first == 0x90 {
                return *body.last().expect("a code");
            }
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}
