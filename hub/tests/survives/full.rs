//! A disk with no room: what is new is refused in each protocol's own words, what is kept comes to its end, and nothing is lost.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::device::{Device, PUBACK, PUBREC};
use crate::support::{Hub, PATIENCE};
use crate::wire::{DISPOSITION, Peer, message, transfer};

/// A file system in memory that is the test's own as far as room goes: the hub wants nearly all that is free now, and a file takes some of it.
struct Disk {
    filler: PathBuf,
    free_min: u64,
}

const FILLER: u64 = 256 << 20;

impl Disk {
    fn new() -> (TempDir, Self) {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
        let df =
            std::process::Command::new("df").args(["-B1", "--output=avail", "/dev/shm"]).output().expect("df runs");
        let free = String::from_utf8_lossy(&df.stdout).lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok());
        let disk = Self { filler: folder.path().join("filler"), free_min: free.expect("a number") - FILLER / 2 };
        (folder, disk)
    }

    fn config(&self) -> String {
        let free_min = self.free_min;
        format!("[store]\nsegment_bytes = 1048576\nfree_bytes_min = {free_min}\nfree_percent_min = 100\n")
    }

    fn fill(&self) {
        let file = File::create(&self.filler).expect("a file");
        let block = vec![1; 1 << 20];
        (0..FILLER >> 20).for_each(|_| std::io::Write::write_all(&mut &file, &block).expect("room"));
    }

    fn empty(&self) {
        std::fs::remove_file(&self.filler).expect("it is there");
    }
}

/// Posts until the answer is this.
fn until(hub: &Hub, status: u16) -> u32 {
    let (deadline, mut accepted) = (Instant::now() + PATIENCE, 0);
    loop {
        let answer = hub.ask("POST", "/v1/messages/queues/q", &[], "probe");
        accepted += u32::from(answer.status == 202);
        if answer.status == status {
            return accepted;
        }
        assert!(Instant::now() < deadline, "no {status}, but {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_full_disk_refuses_the_new_in_every_protocol_and_lets_the_old_end() {
    let (folder, disk) = Disk::new();
    let hub = Hub::on(folder, &disk.config());
    for n in 0..3 {
        hub.post("queues/q", &[], &n.to_string());
    }
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    let mut sender = Peer::connect(&hub.amqp);
    sender.sender(0, "queues/q");

    disk.fill();
    let probes = until(&hub, 507);
    let refused = hub.ask("POST", "/v1/messages/queues/q", &[], "new");
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (507, true), "{refused:?}");
    assert!(refused.body.contains("store-full"), "{refused:?}");
    device.publish("queues/q", "new", 0b010, 1, &[]);
    assert_eq!(device.acked(PUBACK), (1, 0x97));
    device.publish("queues/q", "new", 0b100, 2, &[]);
    assert_eq!(device.acked(PUBREC), (2, 0x97));
    sender.send(0, &transfer(0, 0, false, &message(b"new")));
    let answer = sender.until(DISPOSITION);
    assert!(answer.says("amqp:resource-limit-exceeded"), "{answer:?}");
    assert_eq!(
        hub.ask("POST", "/v1/messages/queues/q", &[("roadbed-qos", "0")], "x").status,
        202,
        "it is for nobody's store"
    );

    let (zero, one) = (hub.poll("queues/q"), hub.poll("queues/q"));
    assert_eq!((zero.body.as_str(), one.body.as_str()), ("0", "1"));
    assert_eq!(hub.settle(&zero, "").status, 204);
    assert_eq!(hub.settle(&one, "reject").status, 204, "a dead letter takes no more room than what it was");
    drop(Device::kept(&hub.mqtt, "another", 600));

    let hub = hub.killed();
    let left = hub.poll("queues/q");
    assert_eq!(left.body, "2", "nothing that was accepted is lost, and nothing that was settled is back");
    assert_eq!(hub.settle(&left, "release").status, 204);
    assert_eq!(hub.backlog("$dead/q"), 1);
    assert!(Device::kept(&hub.mqtt, "another", 600).present);

    disk.empty();
    until(&hub, 202);
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    device.published("queues/q", "new", 0b010, 1);
    assert!(hub.backlog("queues/q") >= u64::from(probes) + 3);
}
