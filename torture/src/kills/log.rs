//! A log that follows what is sent to topics: after any kill it has all that was acknowledged, in order, and every message where it was before.

use serde_json::{Value, json};

use super::check::{self, Findings};
use super::http::refused;
use super::stream::{Name, Stream, name_of};
use crate::wire::{Http, Request, Result, Trouble};

/// How many messages are read again each time, and how often all of them are.
const AGAIN: usize = 200;
const ALL_EVERY: u64 = 10;

/// The log's only partition, as its reader knows it.
#[derive(Debug)]
pub(crate) struct Log {
    name: &'static str,
    /// Which message is at each position.
    known: Vec<Name>,
    /// Where a group has come to, as was confirmed.
    checkpoint: Option<usize>,
    reads: u64,
}

impl Log {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, known: Vec::new(), checkpoint: None, reads: 0 }
    }

    /// Makes it, and lets it follow `filter`.
    pub(crate) fn declare(&self, conn: &mut Http, filter: &str) -> Result {
        let body = json!({ "log": { "partitions": 1 }, "filters": [filter] }).to_string();
        let path = format!("/v1/logs/{}", self.name);
        let answer = conn.ask(&Request { method: "PUT", path: &path, body: body.as_bytes(), ..Request::default() })?;
        if answer.status < 300 { Ok(()) } else { refused(&path, &answer) }
    }

    /// Reads it, and compares: what was there is where it was, and behind it is what was sent since.
    pub(crate) fn check(&mut self, conn: &mut Http, streams: &[&Stream]) -> Result<Findings> {
        let mut findings = Findings::default();
        self.reads += 1;
        let before = self.known.len();
        let from = if self.reads.is_multiple_of(ALL_EVERY) { 0 } else { before.saturating_sub(AGAIN) };
        self.read(conn, from, &mut findings)?;
        findings.add(check::session(&self.place(), streams, &self.known[before..], true));
        self.checkpointed(conn, &mut findings)?;
        Ok(findings)
    }

    fn read(&mut self, conn: &mut Http, from: usize, findings: &mut Findings) -> Result {
        let mut at = from;
        loop {
            let path = format!("/v1/logs/{}/0?from={at}&max=100", self.name);
            let answer = conn.ask(&Request { method: "GET", path: &path, ..Request::default() })?;
            match answer.status {
                200 => {}
                204 => break,
                _ => return refused(&path, &answer),
            }
            let broken = || Trouble::Wrong(format!("{path}: a page that cannot be read"));
            let page: Value = serde_json::from_slice(&answer.body).map_err(|_| broken())?;
            for one in page["messages"].as_array().ok_or_else(broken)? {
                let (position, name) = placed(one).ok_or_else(broken)?;
                if position != at {
                    findings.strange.push(format!("{}: position {position} after {at}", self.place()));
                }
                self.found(at, name, findings);
                at += 1;
            }
        }
        if at < self.known.len() {
            findings.lost.push(format!("{}: it had {} messages, and has {at}", self.place(), self.known.len()));
        }
        Ok(())
    }

    fn found(&mut self, at: usize, name: Name, findings: &mut Findings) {
        findings.checked += 1;
        match self.known.get(at) {
            None => self.known.push(name),
            Some(known) if *known == name => {}
            Some(known) => findings.strange.push(format!("{}: at {at} was {known:?}, and is {name:?}", self.place())),
        }
    }

    /// A group is where it was, and comes to the end.
    fn checkpointed(&mut self, conn: &mut Http, findings: &mut Findings) -> Result {
        let path = format!("/v1/logs/{}/groups/readers/0", self.name);
        if let Some(wanted) = self.checkpoint {
            let answer = conn.ask(&Request { method: "GET", path: &path, ..Request::default() })?;
            let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
            let next = told.and_then(|told| told["next"].as_u64());
            if next != Some(wanted as u64) {
                findings.lost.push(format!("{}: the checkpoint at {wanted} was confirmed: {next:?}", self.place()));
            }
        }
        let body = json!({ "next": self.known.len() }).to_string();
        let answer = conn.ask(&Request { method: "PUT", path: &path, body: body.as_bytes(), ..Request::default() })?;
        if answer.status >= 300 {
            return refused(&path, &answer);
        }
        self.checkpoint = Some(self.known.len());
        Ok(())
    }

    fn place(&self) -> String {
        format!("logs/{}", self.name)
    }
}

/// Where a message is, and which.
fn placed(one: &Value) -> Option<(usize, Name)> {
    let name = name_of(one["data"].as_str()?.as_bytes())?;
    let headers = one["headers"].as_array()?;
    let position = headers.iter().find(|header| header[0] == "roadbed-position")?[1].as_str()?.parse().ok()?;
    Some((position, name))
}
