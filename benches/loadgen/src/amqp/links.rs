//! Many idle links on one connection: memory per link.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::wire::{self, ATTACH, Link, Target, read_frame, refused};
use crate::probe::{Probe, round};

#[derive(Args, Clone, Debug)]
pub struct Opts {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub probe: Probe,
    /// Links of each connection
    #[arg(long, default_value_t = 2000)]
    pub links: u32,
    /// Connections: with several, what memory is taken in larger blocks shows less
    #[arg(long, default_value_t = 1)]
    pub conns: u32,
    /// Address that they attach to
    #[arg(long, default_value = "queues/idle")]
    pub address: String,
    /// Each has an address of its own: the number is put behind it
    #[arg(long)]
    pub own: bool,
    /// Every second link receives, with credit; otherwise all send
    #[arg(long)]
    pub both: bool,
    /// All links receive, with credit
    #[arg(long, conflicts_with = "both")]
    pub receive: bool,
    /// Seconds to hold them before memory is looked at
    #[arg(long, default_value_t = 1)]
    pub hold: u64,
}

pub fn run(o: &Opts) -> Result<Value, Box<dyn Error>> {
    let run = std::process::id();
    let mut sockets = Vec::new();
    for n in 0..o.conns {
        sockets.push(o.target.connect(&format!("loadgen-{run}-{n}"))?);
    }
    // The connections themselves, and what the first links need, is not the links'.
    let warm = 10;
    for socket in &mut sockets {
        (0..warm).try_for_each(|link| socket.write_all(&attach(o, run, link)))?;
        answered(socket, warm as usize)?;
    }
    std::thread::sleep(Duration::from_millis(300));
    let (before, t0) = (o.probe.sample(), Instant::now());
    for socket in &mut sockets {
        // As many at once as both ends' socket buffers surely hold.
        for chunk in (warm..o.links + warm).collect::<Vec<_>>().chunks(100) {
            let frames: Vec<u8> = chunk.iter().flat_map(|&link| attach(o, run, link)).collect();
            socket.write_all(&frames)?;
            answered(socket, chunk.len())?;
        }
    }
    let took = t0.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(o.hold));
    let after = o.probe.sample();
    let links = f64::from(o.links) * f64::from(o.conns);
    let per_link = |kib: u64| round(kib as f64 * 1024.0 / links, 0);
    Ok(json!({
        "mode": "amqp-links", "links": o.links, "conns": o.conns, "own": o.own, "both": o.both, "receive": o.receive,
        "attach_s": round(took, 3),
        "rss_kib_before": before.rss_kib, "rss_kib": after.rss_kib,
        "rss_bytes_per_link": per_link(after.rss_kib.saturating_sub(before.rss_kib)),
        "cpu_us_per_attach": round((after.cpu_s() - before.cpu_s()) * 1e6 / links, 1),
    }))
}

fn attach(o: &Opts, run: u32, handle: u32) -> Vec<u8> {
    let name = format!("loadgen-{run}-{handle:05}");
    let address = if o.own { format!("{}{handle:05}", o.address) } else { o.address.clone() };
    let receiver = o.receive || (o.both && handle % 2 == 1);
    let mut frames = Link { name: &name, handle, address: &address, receiver, settled: false }.attach();
    if receiver {
        wire::credit(&mut frames, handle, 0, 100);
    }
    frames
}

fn answered(socket: &mut std::net::TcpStream, links: usize) -> Result<(), Box<dyn Error>> {
    let mut attached = 0;
    while attached < links {
        let frame = read_frame(socket)?;
        if let Some(why) = refused(&frame) {
            return Err(why.into());
        }
        attached += usize::from(wire::performative(&frame) == ATTACH);
    }
    Ok(())
}
