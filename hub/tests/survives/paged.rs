//! A backlog is longer than memory: it lies on the disk alone, is there after `kill -9`, and comes in order.

use std::fs::read_to_string;

use crate::device::{Device, PUBACK};
use crate::support::Hub;

/// A hub that has little memory for what waits.
const SMALL: &str = "[broker]\nmemory_bytes_max = 2097152\nread_ahead_bytes = 65536\nsession_bytes_max = 536870912\n";
const MESSAGES: usize = 20_000;
const PAYLOAD: usize = 8192;
/// What the process may take of a backlog of more than 140 MiB: itself, and what is delivered and not settled.
const CEILING_KIB: u64 = 110 << 10;

/// The most memory that a process has had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn payload(n: usize) -> String {
    format!("{n:0>PAYLOAD$}")
}

/// Sends as fast as the hub takes it, a window at a time.
fn fill(device: &mut Device, topic: &str, from: usize, to: usize) {
    let mut next = from;
    while next < to {
        let window = (to - next).min(64);
        for n in 0..window {
            device.publish(topic, &payload(next + n), 2, n as u16 + 1, &[]);
        }
        for n in 0..window {
            assert_eq!(device.acked(PUBACK), (n as u16 + 1, 0));
        }
        next += window;
    }
}

#[test]
fn a_spike_of_ten_times_what_is_read_lies_on_the_disk_and_is_drained_in_order() {
    let hub = Hub::with(SMALL);
    let mut reader = Device::kept(&hub.mqtt, "reader", 3600);
    let mut device = Device::kept(&hub.mqtt, "sender", 0);
    reader.subscribe("spike", 1, 1);
    let mut read = 0;
    let mut take = |reader: &mut Device, count: usize| {
        for _ in 0..count {
            let publish = reader.publish_in();
            assert_eq!(publish.payload, payload(read), "in order");
            reader.ack(PUBACK, publish.id);
            read += 1;
        }
    };
    // Ten come while one is read.
    let spike = 18_000;
    for n in (0..spike).step_by(200) {
        fill(&mut device, "spike", n, n + 200);
        take(&mut reader, 20);
    }
    take(&mut reader, spike - spike / 10);
    let peak = peak_kib(hub.pid());
    assert!(peak < CEILING_KIB, "{peak} KiB");
}

#[test]
fn a_backlog_needs_no_memory_not_even_after_a_kill() {
    let hub = Hub::with(SMALL);
    let mut device = Device::kept(&hub.mqtt, "sender", 0);
    fill(&mut device, "queues/q", 0, MESSAGES);
    let filled = peak_kib(hub.pid());
    assert!(filled < CEILING_KIB, "{filled} KiB while it was filled");
    let hub = hub.killed();
    assert_eq!(hub.backlog("queues/q"), MESSAGES as u64);
    let opened = peak_kib(hub.pid());
    assert!(opened < CEILING_KIB, "{opened} KiB after reopening");

    let mut reader = Device::kept(&hub.mqtt, "reader", 0);
    reader.subscribe("queues/q", 1, 1);
    for n in 0..MESSAGES {
        let publish = reader.publish_in();
        assert_eq!(publish.payload, payload(n), "in order");
        reader.ack(PUBACK, publish.id);
    }
    let drained = peak_kib(hub.pid());
    assert!(drained < CEILING_KIB, "{drained} KiB while it was drained");
}

#[test]
fn a_queue_that_is_full_says_so() {
    let hub = Hub::with(&format!("{SMALL}queue_messages_max = 100\n"));
    let mut device = Device::kept(&hub.mqtt, "sender", 0);
    fill(&mut device, "queues/q", 0, 100);
    device.publish("queues/q", &payload(100), 2, 7, &[]);
    assert_eq!(device.acked(PUBACK), (7, 0x97), "MQTT 5, section 3.4.2.1: quota exceeded");
    assert_eq!(hub.ask("POST", "/v1/messages/queues/q", &[], "x").status, 429);
    assert_eq!(hub.take_all("queues/q").len(), 100);
}
