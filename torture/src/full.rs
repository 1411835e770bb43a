//! The real process on a small disk that is full, and then is not. A tmpfs, which needs root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::hub::Program;
use crate::kills::{check, http, queue};
use crate::run::{Failure, Run};
use crate::wire::{Amqp, Attach, Connect, Http, Mqtt, Packet, Request, Result, Trouble, Value, encoded};

/// What was done, and what was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// `None`: there is no right to make a tmpfs.
    pub(crate) done: Option<Counts>,
    pub(crate) findings: check::Findings,
}

/// Messages on the small disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) after: u64,
}

/// The disk, in MiB; what must stay free, and what a message has, in bytes.
const DISK_MIB: u64 = 24;
const FREE_MIN: u64 = 6 << 20;
const MESSAGE: usize = 8000;
/// How long it may take until there is room again.
const ROOM: Duration = Duration::from_secs(20);

/// Fills a disk over every protocol, sees that what is kept can be had, that there is room again then, and that all of it is there after a
/// kill.
///
/// # Errors
/// What was lost, or not refused.
pub(crate) fn run(run: &Run) -> std::result::Result<Report, Failure> {
    let folder = run.folder("full")?;
    let Some(_mounted) = Mounted::new(&folder) else { return Ok(Report::default()) };
    let store =
        format!("segment_bytes = 1048576\ngarbage_bytes = 1048576\nfree_bytes_min = {FREE_MIN}\nfree_percent_min = 50");
    let program = Program { path: run.program.clone(), store };
    let mut report = Report::default();
    let failed = |what: String| run.failure("full", run.seed, 0, &kept(&folder), what);
    play(&program, &folder, &mut report).map_err(|trouble| failed(trouble.to_string()))?;
    match report.findings.wrongs() {
        wrongs if wrongs.is_empty() => Ok(report),
        wrongs => Err(failed(wrongs.join("\n"))),
    }
}

/// What is on the small disk, where it stays.
fn kept(folder: &Path) -> PathBuf {
    let kept = folder.with_extension("kept");
    let _ = std::fs::remove_dir_all(&kept);
    let _ = Command::new("cp").arg("-a").args([folder, &kept]).status();
    kept
}

/// A tmpfs, as long as it is needed.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path) -> Option<Self> {
        let size = format!("size={DISK_MIB}m");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "torture"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.into()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn play(program: &Program, folder: &Path, report: &mut Report) -> Result {
    let mut hub = program.start(folder)?;
    let settings = json!({ "durable": true, "messages_max": 100_000, "bytes_max": 1 << 30 });
    http::declare(hub.http, "full", &settings)?;
    let mut clients = Clients::open(hub.mqtt, hub.amqp, hub.http)?;
    let mut counts = Counts::default();
    // Everything is sent by turns; once one is refused, all are tried some more.
    let (mut sent, mut taken) = (0_u64, Vec::new());
    while counts.refused < 30 {
        if sent > 20_000 {
            return Trouble::wrong(format!("a disk of {DISK_MIB} MiB takes {sent} messages of {MESSAGE} B"));
        }
        match clients.send(sent)? {
            true => taken.push(sent),
            false => counts.refused += 1,
        }
        sent += 1;
    }
    counts.accepted = taken.len() as u64;
    // Killed while it is full, it starts, and all of it is there.
    hub.kill();
    let mut hub = program.start(folder)?;
    let mut http = Http::open(hub.http)?;
    let found = queue::numbers(&mut http, "queues/full")?;
    report.findings.checked += found.len() as u64;
    compare(&mut report.findings, &taken, &found);
    // There is room again.
    let mut clients = Clients::open(hub.mqtt, hub.amqp, hub.http)?;
    let (until, mut after) = (Instant::now() + ROOM, Vec::new());
    while after.len() < 30 {
        if clients.send(sent)? {
            after.push(sent);
        } else if Instant::now() > until {
            return Trouble::wrong(format!("{} s after all was taken out there is no room", ROOM.as_secs()));
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
        sent += 1;
    }
    counts.after = after.len() as u64;
    hub.kill();
    let hub = program.start(folder)?;
    let found = queue::numbers(&mut Http::open(hub.http)?, "queues/full")?;
    report.findings.checked += found.len() as u64;
    compare(&mut report.findings, &after, &found);
    report.done = Some(counts);
    Ok(())
}

fn compare(findings: &mut check::Findings, taken: &[u64], found: &[u64]) {
    let missing = taken.iter().filter(|seq| !found.contains(seq));
    findings.lost.extend(missing.map(|seq| format!("queues/full: {seq} was acknowledged")));
    let strange = found.iter().filter(|seq| !taken.contains(seq));
    findings.strange.extend(strange.map(|seq| format!("queues/full: {seq} was refused, and is there")));
}

/// One client over each protocol.
struct Clients {
    mqtt: Mqtt,
    amqp: Amqp,
    link: u32,
    http: Http,
}

impl Clients {
    fn open(mqtt: u16, amqp: u16, http: u16) -> Result<Self> {
        let (mqtt, _) = Mqtt::open(mqtt, &Connect { name: "full", v5: true, kept: false })?;
        let mut amqp = Amqp::open(amqp, "full")?;
        let link =
            amqp.attach(&Attach { name: "full", address: Some("queues/full"), receives: false, second: false })?;
        Ok(Self { mqtt, amqp, link, http: Http::open(http)? })
    }

    /// Sends a message; whether it was taken. Anything but a refusal in the protocol's own words is wrong.
    fn send(&mut self, seq: u64) -> Result<bool> {
        let payload = format!("{seq:0>MESSAGE$}").into_bytes();
        match seq % 3 {
            0 => self.over_mqtt(&payload),
            1 => self.over_amqp(&payload),
            _ => self.over_http(&payload),
        }
    }

    fn over_mqtt(&mut self, payload: &[u8]) -> Result<bool> {
        self.mqtt.publish("queues/full", payload, 1, 1, false, false);
        self.mqtt.flush()?;
        loop {
            match self.mqtt.next()? {
                Some(Packet::PubAck { code: 0, .. }) => return Ok(true),
                // Quota exceeded, or unspecified: the store takes nothing.
                Some(Packet::PubAck { code: 0x97 | 0x83, .. }) => return Ok(false),
                Some(other) => return Trouble::wrong(format!("to a publish on a full disk the hub says {other:?}")),
                None => self.mqtt.must("PUBACK")?,
            }
        }
    }

    fn over_amqp(&mut self, payload: &[u8]) -> Result<bool> {
        self.amqp.wait_credit(self.link)?;
        let number = self.amqp.send(self.link, Value::Null, &encoded(payload, None));
        self.amqp.flush()?;
        loop {
            while let Some(settled) = self.amqp.outcomes.pop_front() {
                if (settled.first..=settled.last).contains(&number) {
                    return match settled.state.as_str() {
                        "accepted" => Ok(true),
                        refused if refused.starts_with("rejected") || refused == "released" => Ok(false),
                        other => Trouble::wrong(format!("to a transfer on a full disk the hub says {other}")),
                    };
                }
            }
            self.amqp.must("disposition")?;
        }
    }

    fn over_http(&mut self, payload: &[u8]) -> Result<bool> {
        let headers = vec![("content-type", "text/plain".to_owned())];
        let request = Request { method: "POST", path: "/v1/messages/queues/full", headers, body: payload };
        match self.http.ask(&request)?.status {
            202 => Ok(true),
            429 | 503 | 507 => Ok(false),
            other => Trouble::wrong(format!("to a post on a full disk the hub says {other}")),
        }
    }
}
