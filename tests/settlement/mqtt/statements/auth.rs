//! Enhanced authentication (section 4.12).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use libtest_mimic::Trial;
use roadbed::{AuthExchange, AuthStep, Authenticator, Credential, Error, ErrorKind, Identity, Permissive};
use roadbed_mqtt::ServerConfig;

use super::{World, nothing_comes, statements, text};
use crate::Result;
use crate::mqtt::peer::Peer;
use crate::mqtt::wire::{self, Connect, Packet};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        goes_on: "4.12.0-2" "4.12.0-5";
        refused: "4.12.0-4";
        without_a_method: "4.12.0-6";
        another_method: "4.12.1-1";
        again_refused: "4.12.1-2";
    }
}

/// Lets everybody in who says nothing, or answers a question.
struct Asking;

#[async_trait]
impl Authenticator for Asking {
    async fn authenticate(
        &self,
        peer: &roadbed::Peer,
        name: &str,
        credential: &Credential,
    ) -> roadbed::Result<Identity> {
        Permissive.authenticate(peer, name, credential).await
    }

    fn exchange(&self, _: &roadbed::Peer, _: &str, method: &str) -> Option<Box<dyn AuthExchange>> {
        (method == "QUESTION").then(|| Box::new(Question::default()) as Box<dyn AuthExchange>)
    }
}

/// Asks once, and wants to hear `yes`.
#[derive(Default)]
struct Question {
    asked: bool,
}

#[async_trait]
impl AuthExchange for Question {
    async fn step(&mut self, data: Option<Bytes>) -> roadbed::Result<AuthStep> {
        match (std::mem::replace(&mut self.asked, true), data.as_deref()) {
            (false, _) => Ok(AuthStep::Continue(Bytes::from_static(b"well?"))),
            (true, Some(b"yes")) => {
                Ok(AuthStep::Success(Identity::new("somebody"), Some(Bytes::from_static(b"hello"))))
            }
            _ => Err(Error::new(ErrorKind::Unauthenticated, "authenticate")),
        }
    }
}

async fn asked() -> Result<(World, Peer)> {
    let world = World::with(ServerConfig::new(Arc::new(Asking))).await?;
    let mut peer = Peer::open(&world.served).await?;
    let connect = Connect { properties: text(0x15, "QUESTION"), ..Connect::new(true, "a") };
    peer.write(&connect.to_bytes()).await?;
    challenge(&mut peer).await?;
    Ok((world, peer))
}

async fn challenge(peer: &mut Peer) -> Result {
    let expected = [vec![0x18, 19], text(0x15, "QUESTION"), text(0x16, "well?")].concat();
    same("AUTH", peer.packet(15).await?.body, expected)
}

fn auth(reason: u8, method: &str, data: &str) -> Vec<u8> {
    let properties = [text(0x15, method), text(0x16, data)].concat();
    wire::packet(0xF0, &[vec![reason, properties.len() as u8], properties].concat())
}

async fn admitted() -> Result<(World, Peer)> {
    let (world, mut peer) = asked().await?;
    peer.write(&auth(0x18, "QUESTION", "yes")).await?;
    let Packet { body, .. } = peer.packet(2).await?;
    same("CONNACK", body[1], 0)?;
    let ends = |property: &[u8]| body.windows(property.len()).any(|window| window == property);
    same("the method", ends(&text(0x15, "QUESTION")), true)?;
    same("the data", ends(&text(0x16, "hello")), true)?;
    peer.ping().await?;
    Ok((world, peer))
}

async fn ends_with(peer: &mut Peer, expected: &str) -> Result {
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}

async fn goes_on() -> Result {
    admitted().await.map(drop)
}

async fn refused() -> Result {
    let (_world, mut peer) = asked().await?;
    peer.write(&auth(0x18, "QUESTION", "no")).await?;
    ends_with(&mut peer, "CONNACK 0x87, then close").await
}

async fn without_a_method() -> Result {
    let world = World::with(ServerConfig::new(Arc::new(Asking))).await?;
    let mut peer = world.client("a").await?;
    same("a method", peer.connack.body.contains(&0x15), false)?;
    nothing_comes(&mut peer).await
}

async fn another_method() -> Result {
    let (_world, mut peer) = admitted().await?;
    peer.write(&auth(0x19, "ANSWER", "yes")).await?;
    ends_with(&mut peer, "DISCONNECT 0x82, then close").await
}

async fn again_refused() -> Result {
    let (_world, mut peer) = admitted().await?;
    peer.write(&auth(0x19, "QUESTION", "")).await?;
    challenge(&mut peer).await?;
    peer.write(&auth(0x18, "QUESTION", "no")).await?;
    ends_with(&mut peer, "DISCONNECT 0x87, then close").await
}
