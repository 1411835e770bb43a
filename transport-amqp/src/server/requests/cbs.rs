//! `$cbs`: tokens that renew the right to be here, or bring somebody else in on the same connection.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{Credential, Error, ErrorKind, Identity, Open, Result, Time};
use serde_amqp::Value;

use super::super::identities::Arrival;
use super::read::Request;
use super::{Answer, Asker, Next, Token, Work, invalid, then};

/// The token is checked; if it is of who is here already, the endpoint behind gets to see it, too. What ends first counts.
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
    let (client, guest, audience) = (asker.client.clone(), asker.guest, request.name);
    let full = asker.identities.len() >= asker.client.shared.config.identities_max;
    let here = asker.identities.principals();
    Ok(Box::pin(async move {
        let own = client.origin.principal.clone();
        let identity = match authenticator.authenticate(&peer, &own, &credential).await {
            Ok(identity) => identity,
            Err(error) => return refused(&error),
        };
        if !guest && identity.principal == own {
            return Next::Then(Box::new(move |session| {
                then(session.credential(credential), move |until| {
                    let until = soonest(identity.valid_until, until);
                    Next::Done(Answer::ok(202, "Accepted").token(Token::Own { audience, until }))
                })
            }));
        }
        let client = client.of(identity.principal.clone());
        let Identity { valid_until, .. } = identity;
        let session = match here.contains(&client.origin.principal) {
            true => None,
            false if full => {
                return refused(&Error::new(ErrorKind::Exhausted, "put-token").detail("too many identities"));
            }
            false => {
                let open = Open { origin: Arc::clone(&client.origin), scope: client.scope, ..Open::default() };
                match client.shared.endpoint.open(open).await {
                    Ok(session) => Some(session),
                    Err(error) => return refused(&error),
                }
            }
        };
        let arrival = Arrival { audience, client, valid_until, session };
        Next::Done(Answer::ok(202, "Accepted").token(Token::Other(Box::new(arrival))))
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
