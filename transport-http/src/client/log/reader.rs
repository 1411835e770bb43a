//! The task behind a reader: it reads pages, and tells checkpoints.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use roadbed_core::cloudevents::rfc3339;
use roadbed_core::{Address, Checkpoint, Delivery, Error, ErrorKind, LogStart, LogTerms, PartitionDescription, Result};
use tokio::time::sleep;

use super::window::Windows;
use super::{Failed, Shared};
use crate::client::http::{Answered, Lost};
use crate::client::manage::checkpoint_path;
use crate::client::poller::Outage;
use crate::client::producer::PAUSE;
use crate::client::session::Link;
use crate::codec::logs::{CheckpointDoc, LogPage};
use crate::codec::names;
use crate::dialect::number;

/// What is read.
pub(super) struct Plan {
    group: Option<ByteString>,
    cursors: Vec<Cursor>,
}

impl Plan {
    /// Tells the windows what is read, before anything can be granted.
    pub(super) fn begin(&self, windows: &mut Windows) {
        self.cursors.iter().for_each(|cursor| windows.read(cursor.partition, cursor.told));
    }
}

/// Where one partition is read on.
struct Cursor {
    partition: u32,
    address: Address,
    from: From,
    /// Where the checkpoint of the group is.
    told: u64,
    /// How long to rest before the next read.
    rest: Duration,
}

#[derive(Clone, Copy)]
enum From {
    Position(u64),
    /// In milliseconds since the epoch, until a message of that time has come.
    Time(u64),
}

/// What a read brought.
enum Read {
    Page(Vec<Delivery>, u64),
    Nothing { held: bool },
    Later(Duration),
    Lost(Lost),
    Failed(Error),
}

impl Plan {
    /// Positions are told where they are known, so that nothing is missed that comes meanwhile.
    pub(super) fn new(log: &LogTerms, name: &str, one: Option<u32>, partitions: &[PartitionDescription]) -> Self {
        let cursor = |(partition, found): (u32, &PartitionDescription)| {
            let group = log.group.as_ref();
            let checkpoint = found.groups.iter().find(|(known, _)| Some(known) == group).map(|(_, position)| *position);
            let from = match log.from {
                LogStart::Latest => From::Position(found.next),
                LogStart::Position(position) => From::Position(position.min(found.next)),
                LogStart::Time(time) => From::Time(time.as_millis()),
                LogStart::Checkpoint => From::Position(checkpoint.unwrap_or(found.first)),
                _ => From::Position(found.first),
            };
            let address = Address::from_checked(format!("logs/{name}/{partition}").into());
            Cursor { partition, address, from, told: checkpoint.unwrap_or_default(), rest: Duration::ZERO }
        };
        let all = (0..).zip(partitions).filter(|(partition, _)| one.is_none_or(|one| one == *partition));
        Self { group: log.group.clone(), cursors: all.map(cursor).collect() }
    }
}

impl Cursor {
    /// What is asked for: what comes from here on, and to wait for it or not.
    fn path(&self, wanted: u32, wait: Duration) -> String {
        let from = match self.from {
            From::Position(position) => position.to_string(),
            From::Time(millis) => rfc3339(i64::try_from(millis).unwrap_or(i64::MAX)),
        };
        let wait = if wait.is_zero() { String::new() } else { format!("&wait={}", wait.as_secs()) };
        format!("/v1/{}?from={from}&max={wanted}{wait}", self.address.to_path())
    }
}

/// Runs until the consumer is dropped or detached, and its checkpoints are told.
pub(super) async fn run(link: Link, shared: Arc<Shared>, plan: Plan) {
    let Plan { group, cursors } = plan;
    let at_once = link.http.config.requests_max.max(1);
    // More partitions than requests take turns, and none may be held.
    let holds = cursors.len() <= at_once;
    let (mut cursors, mut draining) = (cursors, false);
    let (mut idle, mut reads) = ((0..cursors.len()).collect::<VecDeque<_>>(), FuturesUnordered::new());
    let (mut telling, mut outage) = (FuturesUnordered::new(), Outage::new(&link));
    loop {
        if let Some(group) = &group {
            while let Some((partition, next, cookies)) = shared.lock().windows.next() {
                let Some(cursor) = cursors.iter().find(|cursor| cursor.partition == partition) else { continue };
                let asked = Checkpoint {
                    partition: cursor.address.clone(),
                    group: group.clone(),
                    set: Some(next),
                    force: false,
                };
                telling.push(tell(&link, asked, next, cookies));
            }
        }
        let (wanted, drains, closed) = {
            let state = shared.lock();
            (state.wanted(link.http.config.page_max), state.draining.clone(), state.closed)
        };
        if closed && telling.is_empty() {
            return shared.lock().finish();
        }
        if drains.is_some() && !draining {
            // A held read says nothing about what there is now.
            reads.clear();
            idle = (0..cursors.len()).collect();
        }
        draining = drains.is_some();
        while wanted > 0 && reads.len() < at_once {
            let may = |&at: &usize| drains.as_ref().is_none_or(|left| left.contains(&cursors[at].partition));
            let Some(at) = idle.iter().position(may).and_then(|found| idle.remove(found)) else { break };
            let cursor = &mut cursors[at];
            let wait = if holds && !draining { link.wait() } else { Duration::ZERO };
            reads.push(read_page(&link, at, cursor.path(wanted, wait), wait, std::mem::take(&mut cursor.rest)));
        }
        tokio::select! {
            biased;
            Some((partition, cookies, result)) = telling.next() => {
                let mut state = shared.lock();
                state.windows.told(partition);
                state.answer(cookies, &result);
                if let Err(Failed { kind, words }) = result {
                    state.fail(&Error::new(kind, "checkpoint").detail(words));
                }
            }
            Some((at, read)) = reads.next() => {
                let cursor = &mut cursors[at];
                match read {
                    Read::Lost(lost) => match outage.wait() {
                        Some(wait) => cursor.rest = wait,
                        None => shared.lock().fail(&lost.into_error("receive")),
                    },
                    read => {
                        outage = Outage::new(&link);
                        take(&shared, cursor, read, link.http.config.rest_ms);
                    }
                }
                idle.push_back(at);
            }
            () = shared.changed.notified() => {}
            // What waits in the buffer for room in the window.
            () = link.budget.freed.notified() => shared.lock().wake(),
        }
    }
}

/// Takes in what a read brought.
fn take(shared: &Shared, cursor: &mut Cursor, read: Read, rest_ms: u64) {
    let mut state = shared.lock();
    match read {
        Read::Page(messages, next) => {
            cursor.from = From::Position(next);
            state.buffer.extend(messages);
        }
        Read::Nothing { held } => {
            let drained = state.draining.as_mut().is_some_and(|left| {
                left.remove(&cursor.partition);
                true
            });
            if !held && !drained {
                cursor.rest = Duration::from_millis(rest_ms);
            }
        }
        Read::Later(after) => cursor.rest = after,
        Read::Failed(error) => return state.fail(&error),
        Read::Lost(_) => return,
    }
    state.wake();
}

async fn tell(link: &Link, asked: Checkpoint, next: u64, cookies: Vec<u64>) -> (u32, Vec<u64>, Result<(), Failed>) {
    let partition = asked.partition.log_place().and_then(|(_, partition)| partition).unwrap_or_default();
    let call = link.request(Method::PUT, checkpoint_path(&asked)).json(&CheckpointDoc { next, force: false });
    let told = match link.ask(&call, "checkpoint").await {
        Ok(_) => Ok(()),
        // Another reader of the group has come further.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        Err(error) => Err(Failed { kind: error.kind(), words: error.to_string() }),
    };
    (partition, cookies, told)
}

async fn read_page(link: &Link, at: usize, path: String, wait: Duration, rest: Duration) -> (usize, Read) {
    if !rest.is_zero() {
        sleep(rest).await;
    }
    let mut call = link.request(Method::GET, path);
    call.wait = wait;
    let answered = link.http.call(&call).await;
    link.watch(&answered);
    let read = match answered {
        Ok(answered) => read(link, &answered),
        Err(lost) => Read::Lost(lost),
    };
    (at, read)
}

fn read(link: &Link, answered: &Answered) -> Read {
    match answered.status.as_u16() {
        200 => page(link, answered).unwrap_or_else(Read::Failed),
        204 => Read::Nothing { held: answered.headers.contains_key(names::PREFERENCE_APPLIED) },
        429 | 503 => Read::Later(answered.retry_after().unwrap_or(PAUSE)),
        _ => Read::Failed(answered.error("receive")),
    }
}

fn page(link: &Link, answered: &Answered) -> Result<Read> {
    let now = link.http.now();
    let broken = || Error::new(ErrorKind::Protocol, "receive").detail("a message of the server cannot be read");
    let LogPage { messages, next } = answered.json()?;
    let next = number(&answered.headers, names::NEXT).unwrap_or(next);
    let messages = messages.into_iter().map(|item| {
        let delivery = item.message().and_then(|message| message.into_delivery(now));
        delivery.filter(|delivery| delivery.info.as_ref().is_some_and(|info| info.log.is_some())).ok_or_else(broken)
    });
    Ok(Read::Page(messages.collect::<Result<_>>()?, next))
}
