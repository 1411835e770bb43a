//! Settling over the wire.

use http::Method;
use roadbed_core::{Error, ErrorKind, Result, Settled, Step, Time};
use serde_json::json;

use super::http::Call;
use super::session::Link;
use super::transaction::id_value;
use crate::codec::fields::TRUE;
use crate::codec::names;
use crate::dialect::{LockVerb, number};

impl Link {
    /// Does a step on a lock. Every step may be repeated: doing it twice changes nothing.
    pub(super) async fn settle(&self, token: &str, step: Step) -> Result<Settled> {
        let mut enlisted = None;
        let verb = match step {
            Step::Outcome { outcome, .. } => LockVerb::of_outcome(&outcome),
            Step::Enlist { txn, outcome, settled } => {
                enlisted = Some((txn, settled));
                LockVerb::of_outcome(&outcome)
            }
            Step::Renew => LockVerb::Renew,
            // The outcome has settled it already: HTTP has no second half.
            Step::Settle => return Ok(Settled::Applied),
            _ => return Err(Error::new(ErrorKind::NotSupported, "settle")),
        };
        let mut call = self.lock_call(token, &verb);
        if let Some((txn, settled)) = enlisted {
            call.headers.insert(names::TRANSACTION, id_value(txn));
            if settled {
                call.headers.insert(names::SETTLED, TRUE);
            }
        }
        let answered = self.http.insist(&call).await;
        self.watch(&answered);
        let answered = answered.map_err(|lost| lost.into_error("settle"))?;
        if answered.status.as_u16() == 412 {
            return Ok(Settled::Late);
        }
        let answered = answered.check("settle")?;
        if verb == LockVerb::Renew {
            let until = number(&answered.headers, names::LOCK_UNTIL_MS).map(Time::from_millis);
            return until.map(Settled::Renewed).ok_or_else(|| Error::new(ErrorKind::Protocol, "renew"));
        }
        Ok(if answered.headers.contains_key(names::REPEATED) { Settled::Repeated } else { Settled::Applied })
    }

    fn lock_call(&self, token: &str, verb: &LockVerb) -> Call {
        let authorization = self.authorization();
        let call = |method, name: &str| Call::new(method, format!("/v1/locks/{token}{name}"), authorization.as_ref());
        match verb {
            LockVerb::Complete => call(Method::DELETE, ""),
            LockVerb::Release => call(Method::POST, "/release"),
            LockVerb::Renew => call(Method::POST, "/renew"),
            LockVerb::Abandon { failed, undeliverable_here } => {
                let document = json!({ "failed": failed, "undeliverable_here": undeliverable_here });
                call(Method::POST, "/abandon").json(&document)
            }
            LockVerb::Reject(reason) => {
                let text = reason.text.as_ref().map(|text| text.as_str());
                let document = json!({ "reason": text, "condition": reason.condition.as_str() });
                call(Method::POST, "/reject").json(&document)
            }
        }
    }
}
