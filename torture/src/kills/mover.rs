//! Moves messages between queues within AMQP transactions.

use std::collections::VecDeque;
use std::time::Duration;

use roadbed_conformance::simulation::Random;

use super::Mutation;
use super::amqp::whole;
use super::check::{Known, Txn};
use super::stream::{Name, Stream, payload};
use super::tally::{Kind, Tally};
use crate::wire::{Amqp, Attach, Result, Settled, Trouble, Value, accepted, declare, discharge, encoded, within};

/// Posts into two queues, and retires out of a third.
#[derive(Debug)]
pub(crate) struct Mover {
    name: String,
    posts: [String; 2],
    from: String,
    pub(crate) streams: [Stream; 2],
    pub(crate) txns: Vec<Txn>,
    mutation: Option<Mutation>,
}

/// Its connection.
#[derive(Debug)]
pub(crate) struct Moving {
    conn: Amqp,
    links: [u32; 2],
    receiver: u32,
    control: u32,
    got: u32,
    /// Received, and in no transaction.
    stock: VecDeque<(Name, u32)>,
}

/// A transaction with all that it does, before its end.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    at: usize,
    id: Vec<u8>,
}

impl Mover {
    pub(crate) fn new(id: u32, posts: [&str; 2], from: &str, mutation: Option<Mutation>) -> Self {
        let (posts, streams) = (posts.map(str::to_owned), [Stream::new(id), Stream::new(id + 1)]);
        Self { name: format!("mover{id}"), posts, from: from.into(), streams, txns: Vec::new(), mutation }
    }

    pub(crate) fn connect(&self, port: u16) -> Result<Moving> {
        let mut conn = Amqp::open(port, &self.name)?;
        let mut attach = |name: &str, address, receives| {
            let name = format!("{}-{name}", self.name);
            conn.attach(&Attach { name: &name, address, receives, second: false })
        };
        let links = [attach("one", Some(&self.posts[0]), false)?, attach("other", Some(&self.posts[1]), false)?];
        let receiver = attach("from", Some(&self.from), true)?;
        let control = attach("control", None, false)?;
        conn.grant(receiver, 8, false)?;
        Ok(Moving { conn, links, receiver, control, got: 0, stock: VecDeque::new() })
    }

    /// Moves until the hub is gone.
    pub(crate) fn run(&mut self, port: u16, tally: &Tally, mut random: Random) -> Result {
        let mut moving = self.connect(port)?;
        loop {
            let ready = self.prepare(&mut moving, &mut random)?;
            let fail = random.chance(15);
            let number = self.discharge(&mut moving, &ready, fail)?;
            if self.outcome(&mut moving, &ready, number, fail)? {
                tally.add(Kind::Transaction, 1);
            }
        }
    }

    /// Declares a transaction, and does all that it is to do.
    pub(crate) fn prepare(&mut self, moving: &mut Moving, random: &mut Random) -> Result<Ready> {
        let number = moving.control(&declare())?;
        let declared = moving.outcome_of(number)?;
        if declared.state != "declared" {
            return Trouble::wrong(format!("the answer to a declare is {}", declared.state));
        }
        let ready = Ready { at: self.txns.len(), id: declared.txn };
        self.txns.push(Txn::default());
        let mut last = 0;
        for to in 0..2 {
            for _ in 0..=random.below(2) {
                let seq = self.streams[to].next();
                let name = (self.streams[to].id, seq);
                self.txns[ready.at].posts.push(name);
                moving.conn.wait_credit(moving.links[to])?;
                // A post that is not in its transaction: for those who would see whether that is noticed.
                let alone = self.mutation == Some(Mutation::Alone) && to == 1;
                let state = if alone { Value::Null } else { within(&ready.id, Value::Null) };
                last = moving.conn.send(moving.links[to], state, &encoded(&payload(name), None));
            }
        }
        moving.conn.flush()?;
        let wanted = random.below(3);
        moving.restock(&self.from, wanted as usize)?;
        for (name, number) in moving.stock.drain(..moving.stock.len().min(wanted as usize)) {
            moving.conn.dispose(number, number, true, within(&ready.id, accepted()));
            self.txns[ready.at].retires.push(name);
        }
        moving.conn.flush()?;
        moving.outcome_of(last)?;
        Ok(ready)
    }

    /// Asks for its end.
    pub(crate) fn discharge(&mut self, moving: &mut Moving, ready: &Ready, fail: bool) -> Result<u32> {
        if !fail {
            self.txns[ready.at].known = Known::Asked;
        }
        moving.control(&discharge(&ready.id, fail))
    }

    /// Waits for its end; true if it was committed.
    pub(crate) fn outcome(&mut self, moving: &mut Moving, ready: &Ready, number: u32, fail: bool) -> Result<bool> {
        let outcome = moving.outcome_of(number)?;
        let txn = &mut self.txns[ready.at];
        match (outcome.state.as_str(), fail) {
            ("accepted", false) => txn.known = Known::Committed,
            // What it would have retired may be in another one later.
            ("accepted", true) => txn.retires.clear(),
            (other, _) => return Trouble::wrong(format!("the answer to a discharge is {other}")),
        }
        Ok(!fail)
    }
}

impl Moving {
    fn control(&mut self, message: &[u8]) -> Result<u32> {
        self.conn.wait_credit(self.control)?;
        let number = self.conn.send(self.control, Value::Null, message);
        self.conn.flush()?;
        Ok(number)
    }

    fn outcome_of(&mut self, number: u32) -> Result<Settled> {
        loop {
            while let Some(settled) = self.conn.outcomes.pop_front() {
                if (settled.first..=settled.last).contains(&number) {
                    return Ok(settled);
                }
            }
            self.conn.must("outcome")?;
        }
    }

    /// Receives so many, if they come at once.
    fn restock(&mut self, from: &str, wanted: usize) -> Result {
        if self.stock.len() < wanted {
            self.conn.wait(Duration::from_millis(2))?;
        }
        while let Some(transfer) = self.conn.transfers.pop_front() {
            self.stock.push_back((whole(from, &transfer)?, transfer.number));
            self.got += 1;
        }
        if self.got >= 4 {
            self.got = 0;
            self.conn.grant(self.receiver, 8, false)?;
        }
        Ok(())
    }
}
