//! Nodes that are made for a link, and go with it (Part 3, sections 3.5.3, 3.5.4 and 3.5.10).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{DeleteOnClose, LifetimePolicy, NodeProperties, Target, TargetArchetype};
use fe2o3_amqp_types::performatives::Attach;
use roadbed_core::{Address, ConsumerTerms, Error, ErrorKind, Fut, Node, ProducerTerms, Qos, Session};
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;

use super::attach::{Client, Granted};
use super::links::{Kind, Rare};
use crate::Accept;

const LIFETIME: &str = "lifetime-policy";

/// A queue for a link that sends to it. As long as the link is there the queue is, since a consumer without credit is attached to it.
pub(super) fn target(client: &Client, session: &dyn Session, asked: Attach, mut target: Target) -> Fut<Granted> {
    let name = Some(asked.name.clone().into());
    let origin = Arc::clone(&client.origin);
    let keeper = session.consumer(ConsumerTerms { node: Node::Dynamic, ..ConsumerTerms::default() });
    // The address is known when the queue is there, and the session is not ours to hold until then: messages find the queue by it.
    let producer = session.producer(ProducerTerms { to: None, name, qos_max: Qos::ExactlyOnce });
    Box::pin(async move {
        let (keeper, attached) = keeper.await?;
        let address = attached.address.ok_or_else(|| Error::new(ErrorKind::NotSupported, "attach"))?;
        let (producer, _) = producer.await?;
        target.address = Some(address.as_str().into());
        let rare = node(&mut target.dynamic_node_properties, &address);
        let rare = Some(Box::new(Rare { keeper: Some(keeper), ..rare.map_or_else(Rare::default, |rare| *rare) }));
        let (source, target) = (asked.source.map(|source| *source), Some(TargetArchetype::Target(target)));
        let accept = Accept { source, target, ..Accept::default() };
        Ok(Granted { kind: Kind::Producer { producer, to: Some(address), prefix: Bytes::new(), origin }, accept, rare })
    })
}

/// Says how long the node lives, as asked or else as long as its link; whoever asks for less than that leaves it to the queue's own expiry.
pub(super) fn node(properties: &mut Option<NodeProperties>, address: &Address) -> Option<Box<Rare>> {
    let properties = properties.get_or_insert_default();
    let (key, on_close) = (Symbol::from(LIFETIME), Value::from(LifetimePolicy::DeleteOnClose(DeleteOnClose {})));
    if properties.get(&key).is_none() {
        properties.insert(key.clone(), on_close.clone());
    }
    let deletes = properties.get(&key) == Some(&on_close);
    deletes.then(|| Box::new(Rare { delete_on_close: Some(address.clone()), ..Rare::default() }))
}

/// The address of a node that outlives its link: always the same for it.
pub(super) fn durable_address(principal: &str, container: &str, link: &str) -> Address {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in principal.bytes().chain([0]).chain(container.bytes()).chain([0]).chain(link.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Address::from_checked(String::into(format!("dynamic/{hash:016x}")))
}
