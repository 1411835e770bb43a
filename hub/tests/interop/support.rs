//! Processes: the hub, and programs that are not ours.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A peer: a program that `cargo xtask install` has put, or linked, into the prefix.
pub(crate) fn peer(name: &str) -> Command {
    let prefix = prefix();
    let program = prefix.join("bin").join(name);
    assert!(program.exists(), "the peer {} is missing; install it by\n  $ cargo xtask install", program.display());
    // Into a pipe, C programs write when four kilobytes are together: too late for us.
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(program).env("ROADBED_PEERS", prefix);
    command
}

/// Where the peers are.
fn prefix() -> PathBuf {
    std::env::var_os("ROADBED_PEERS").map_or_else(default_prefix, PathBuf::from)
}

fn default_prefix() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("peers")
}

/// The program `roadbed`.
pub(crate) fn roadbed() -> Command {
    Command::new(env!("CARGO_BIN_EXE_roadbed"))
}

/// A process that ends with the test, and its lines of output.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (sender, lines) = channel();
        let pipes: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Self { name, child, lines, seen: Vec::new() }
    }

    /// Waits for a line that contains `text`, and answers it. Lines that come before it are kept for later.
    pub(crate) fn line(&mut self, text: &str) -> String {
        if let Some(at) = self.seen.iter().position(|line| line.contains(text)) {
            return self.seen.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("{}: no line with `{text}` in {:#?}", self.name, self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} has ended without a line with `{text}`: {:#?}", self.name, self.seen)
                }
            }
        }
    }

    /// All lines from now on that contain `text`, until there are `count`.
    pub(crate) fn lines(&mut self, text: &str, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line(text)).collect()
    }

    /// Lines that contain `text` and come within a short time.
    pub(crate) fn stray(&mut self, text: &str) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(200));
        self.seen.extend(self.lines.try_iter());
        self.seen.extract_if(.., |line| line.contains(text)).collect()
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    }

    /// Kills it: it has no time to say anything.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Waits for its end, and answers its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("the child is ours") {
                Some(status) => return status.code(),
                None if Instant::now() > deadline => panic!("{} does not end", self.name),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A hub on free ports.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) process: Process,
    pub(crate) mqtt: u16,
    pub(crate) http: u16,
    pub(crate) amqp: u16,
}

impl Hub {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A hub that is told more.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let listening = ["serve", "--memory", "--mqtt", any, "--http", any, "--amqp", any];
        let mut process = Process::start(roadbed().args(listening).args(arguments));
        let mut port = |mark| {
            let line = process.line(mark);
            let port = line.split_whitespace().find_map(|word| word.strip_prefix(mark)?.parse().ok());
            port.unwrap_or_else(|| panic!("no port in `{line}`"))
        };
        let (mqtt, http) = (port("mqtt://127.0.0.1:"), port("http://127.0.0.1:"));
        let amqp = port("amqp://127.0.0.1:");
        Self { process, mqtt, http, amqp }
    }

    /// A URL under `/v1`.
    pub(crate) fn v1(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/v1/{path}", self.http)
    }

    /// `mosquitto_pub` to this hub.
    pub(crate) fn mosquitto_pub(&self, arguments: &[&str]) {
        mosquitto_pub(self.mqtt, arguments);
    }

    /// `mosquitto_sub` on this hub, once it has subscribed.
    pub(crate) fn mosquitto_sub(&self, arguments: &[&str]) -> Process {
        mosquitto_sub(self.mqtt, arguments)
    }
}

/// Runs a script of `peers/` at a hub; it ends with 0 only if all that it checks is so.
pub(crate) fn script(name: &str, port: impl FnOnce(&Hub) -> u16) {
    script_at(&Hub::start(), name, port);
}

/// As [`script`], over WebSocket.
pub(crate) fn script_over_websocket(name: &str) {
    let hub = Hub::start();
    run(name, &[&hub.http.to_string(), "websockets"]);
}

/// As [`script`], at this hub.
pub(crate) fn script_at(hub: &Hub, name: &str, port: impl FnOnce(&Hub) -> u16) {
    run(name, &[&port(hub).to_string()]);
}

/// Runs a script of `peers/` with these arguments.
pub(crate) fn run(name: &str, arguments: &[&str]) {
    let path = format!("{}/tests/interop/peers/{name}", env!("CARGO_MANIFEST_DIR"));
    let program = if name.ends_with(".py") { "python3" } else { "node" };
    let output = finish(peer(program).arg(path).args(arguments));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {out}\n{err}");
    assert!(out.contains("all checks passed"), "{name}: {out}\n{err}");
}

/// Publishes, and waits for the end.
pub(crate) fn mosquitto_pub(port: u16, arguments: &[&str]) {
    let output = finish(peer("mosquitto_pub").args(["-p", &port.to_string()]).args(arguments));
    assert!(output.status.success(), "mosquitto_pub {arguments:?}: {output:?}");
}

/// Subscribes. Each message is a line `MSG topic qos retain payload`, the payload in hexadecimal digits.
pub(crate) fn mosquitto_sub(port: u16, arguments: &[&str]) -> Process {
    let mut command = peer("mosquitto_sub");
    command.args(["-p", &port.to_string(), "-d", "-F", "MSG %t %q %r %x"]).args(arguments);
    let mut process = Process::start(&mut command);
    process.line("Subscribed (mid");
    process
}

/// What `mosquitto_sub` shows of a message.
pub(crate) fn shown(topic: &str, qos: u8, retained: bool, payload: &[u8]) -> String {
    let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("MSG {topic} {qos} {} {digits}", u8::from(retained))
}

/// A port that nobody listens on yet.
pub(crate) fn free_port() -> u16 {
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    address.expect("there is a free port").port()
}

/// A Mosquitto of Debian on a free port.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    pub(crate) process: Process,
    pub(crate) port: u16,
    _config: tempfile::NamedTempFile,
}

impl Mosquitto {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let config = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type all\n");
        std::fs::write(config.path(), text).expect("a temporary file");
        let mut process = Process::start(peer("mosquitto").arg("-v").arg("-c").arg(config.path()));
        process.line("running");
        Self { process, port, _config: config }
    }
}

/// Runs a program to its end.
pub(crate) fn finish(command: &mut Command) -> Output {
    finish_with(command, b"")
}

/// Runs a program to its end, with standard input.
pub(crate) fn finish_with(command: &mut Command, input: &[u8]) -> Output {
    use std::io::Write;
    let name = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    // A program that does not read its input has closed it: that is its own affair.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let pid = child.id();
    let (done, waiting) = channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
        if late {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        late
    });
    let output = child.wait_with_output().expect("the child is ours");
    drop(done);
    assert!(!watch.join().expect("the watch does not panic"), "{name} has not ended in time: {output:?}");
    output
}

/// An answer that curl got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The token of the lock: the entity tag without its quotes.
    pub(crate) fn token(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no token in {self:?}")).trim_matches('"')
    }
}

/// Asks with curl.
pub(crate) fn curl(arguments: &[&str]) -> Answer {
    curl_with(arguments, b"")
}

/// Asks with curl, which may read standard input.
pub(crate) fn curl_with(arguments: &[&str], input: &[u8]) -> Answer {
    let output = finish_with(peer("curl").args(["-sS", "-i"]).args(arguments), input);
    assert!(output.status.success(), "curl {arguments:?}: {output:?}");
    let text = output.stdout;
    let mut rest = &text[..];
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("headers end");
        let headers = String::from_utf8_lossy(&rest[..end]).into_owned();
        let body = rest[end + 4..].to_vec();
        let status = headers.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status");
        if status != 100 {
            return Answer { status, headers, body };
        }
        rest = &rest[end + 4..];
    }
}
