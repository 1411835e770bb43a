//! Transactions over the wire.

use http::{HeaderValue, Method};
use roadbed_core::{Error, ErrorKind, Fut, Gid, Result, Time, Transaction, TxnId};
use std::time::Duration;

use super::session::Link;
use crate::codec::transactions::{TransactionDoc, read_id, write_id};

/// A transaction of the server. Dropped, it is rolled back in the background, or by the server when its time is over.
struct HttpTransaction {
    link: Link,
    id: TxnId,
    expires_at: Time,
    ended: bool,
}

/// Declares a transaction. A declaration whose answer is lost is left to its time-out.
pub(super) async fn declare(link: Link) -> Result<Box<dyn Transaction>> {
    let answered = link.ask(&link.request(Method::POST, "/v1/transactions"), "declare").await?;
    let document: TransactionDoc = answered.json()?;
    let broken = || Error::new(ErrorKind::Protocol, "declare").detail("the server's transaction has no legal id");
    let id = read_id(&document.id).ok_or_else(broken)?;
    let expires_at = link.http.now() + Duration::from_millis(document.timeout_ms.unwrap_or_default());
    Ok(Box::new(HttpTransaction { link, id, expires_at, ended: false }))
}

impl Transaction for HttpTransaction {
    fn id(&self) -> TxnId {
        self.id
    }

    fn expires_at(&self) -> Option<Time> {
        Some(self.expires_at)
    }

    fn commit(mut self: Box<Self>) -> Fut<()> {
        self.ended = true;
        Box::pin(end(self.link.clone(), self.id, "commit"))
    }

    fn rollback(mut self: Box<Self>) -> Fut<()> {
        self.ended = true;
        Box::pin(end(self.link.clone(), self.id, "rollback"))
    }

    fn prepare(&mut self, _gid: Gid) -> Fut<()> {
        Box::pin(async {
            Err(Error::new(ErrorKind::NotSupported, "prepare").detail("HTTP has no prepared transactions"))
        })
    }
}

impl Drop for HttpTransaction {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.ended, tokio::runtime::Handle::try_current()) {
            let rolled_back = end(self.link.clone(), self.id, "rollback");
            runtime.spawn(async move {
                if let Err(error) = rolled_back.await {
                    tracing::debug!(%error, "a transaction is left to its time-out");
                }
            });
        }
    }
}

/// A transaction's id, as a header says it.
pub(super) fn id_value(id: TxnId) -> HeaderValue {
    HeaderValue::try_from(write_id(id)).expect("digits are ASCII")
}

/// Ends a transaction. Saying it twice changes nothing, so it is said until there is an answer.
async fn end(link: Link, id: TxnId, verb: &'static str) -> Result<()> {
    let call = link.request(Method::POST, format!("/v1/transactions/{}/{verb}", write_id(id)));
    match link.ask(&call, verb).await {
        // It has ended so long ago that it is forgotten.
        Err(error) if error.kind() == ErrorKind::NotFound && verb == "rollback" => Ok(()),
        ended => ended.map(drop),
    }
}
