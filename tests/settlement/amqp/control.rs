//! A control link and its transaction.

use super::peer::{Attach, Link, Peer};
use super::wire::Value::{self, Binary, Bool, Described, Null};
use super::wire::described;
use crate::Result;
use crate::tell::same;

/// A transaction that nobody has declared.
pub(crate) const UNKNOWN: [u8; 8] = [0xff; 8];

pub(crate) struct Control {
    pub(crate) link: Link,
    pub(crate) txn: Vec<u8>,
}

impl Control {
    /// Attaches to the coordinator.
    pub(crate) async fn attach(peer: &mut Peer, name: &str) -> Result<Link> {
        let link = peer.link(&Attach { coordinator: true, ..Attach::sender(name, "") }).await?;
        peer.credit(link, 1).await?;
        Ok(link)
    }

    pub(crate) async fn declare(peer: &mut Peer) -> Result<Self> {
        let link = Self::attach(peer, "control").await?;
        Self::declare_on(peer, link).await
    }

    pub(crate) async fn declare_on(peer: &mut Peer, link: Link) -> Result<Self> {
        let number = peer.send(link, false, &declare()).await?;
        let declared = peer.state_of(number).await?;
        same("the answer to declare", declared.said().as_str(), "declared")?;
        match declared.field(0) {
            Binary(txn) => Ok(Self { link, txn: txn.clone() }),
            other => Err(format!("{other:?} is no transaction")),
        }
    }

    /// Commits, or gives up; the answer in words.
    pub(crate) async fn discharge(&self, peer: &mut Peer, fail: bool) -> Result<String> {
        let number = peer.send(self.link, false, &discharge(&self.txn, fail)).await?;
        let (told, settled) = peer.told_of(number).await?;
        same("settled by the coordinator", settled, true)?;
        Ok(told)
    }
}

pub(crate) fn declare() -> Vec<u8> {
    value(described(0x31, vec![Null]))
}

pub(crate) fn discharge(txn: &[u8], fail: bool) -> Vec<u8> {
    value(described(0x32, vec![Binary(txn.to_vec()), Bool(fail)]))
}

/// A message that is one value.
fn value(value: Value) -> Vec<u8> {
    Described(0x77, Box::new(value)).to_bytes()
}
