//! `$cbs`: tokens that renew the right to be here.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{Credential, Error, ErrorKind, Result, Time};
use serde_amqp::Value;

use super::read::Request;
use super::{Answer, Asker, Next, Work, invalid, then};

/// The token is checked, and must be one of who is here already; then the endpoint behind gets to see it, too. What ends first counts.
pub(super) fn put_token(request: Request, asker: &Asker<'_>) -> Result<Work> {
    if request.operation != "put-token" {
        let words = alloc::format!("there is no operation {}: put-token", request.operation);
        return Err(Error::new(ErrorKind::NotSupported, "put-token").detail(words));
    }
    let token = match request.body {
        Value::String(token) => Bytes::from(token.into_bytes()),
        Value::Binary(token) => Bytes::from(token.into_vec()),
        _ => return Err(invalid("the token is a string or a binary")),
    };
    let credential = Credential::Token { kind: kind(request.kind), token };
    let (authenticator, peer) = (Arc::clone(asker.authenticator), Arc::clone(asker.peer));
    let principal = String::from(asker.principal);
    Ok(Box::pin(async move {
        let identity = match authenticator.authenticate(&peer, &principal, &credential).await {
            Ok(identity) if *identity.principal == *principal => identity,
            Ok(_) => {
                return refused(&Error::new(ErrorKind::Unauthenticated, "put-token").detail("it is somebody else's"));
            }
            Err(error) => return refused(&error),
        };
        Next::Then(Box::new(move |session| {
            then(session.credential(credential), move |until| {
                let until = soonest(identity.valid_until, until);
                Next::Done(Answer::ok(202, "Accepted").valid_until(until))
            })
        }))
    }))
}

/// The kinds of tokens by the names that other brokers gave them.
fn kind(name: String) -> ByteString {
    match &*name {
        "amqp:jwt" => "jwt".into(),
        "servicebus.windows.net:sastoken" => "sas".into(),
        _ => name.into(),
    }
}

fn soonest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    [one, other].into_iter().flatten().min()
}

fn refused(error: &Error) -> Next {
    Next::Done(Answer::refused(error))
}
