//! AMQP: links that outlive the hub, and transactions.

use crate::support::Hub;
use crate::wire::{
    ATTACH, DISPOSITION, FLOW, Peer, TRANSFER, accepted, attach_controller, boolean, composite, described, disposition,
    flow, map, message, null, symbol, text, transfer, transfer_as, uint,
};

/// How an outcome begins that is Accepted.
const ACCEPTED: &[u8] = &[0x00, 0x53, 0x24];

fn peer(hub: &Hub) -> Peer {
    Peer::connect(&hub.amqp)
}

/// A terminus that is kept: durable unsettled state (2), expiry policy "never".
fn kept(descriptor: u8, address: &str) -> Vec<u8> {
    composite(descriptor, &[text(address), uint(2), symbol("never")])
}

/// Attaches a kept link that settles second, with this unsettled map; what the hub answers.
fn attach_kept(peer: &mut Peer, receives: bool, unsettled: Vec<u8>) -> Vec<u8> {
    let near = composite(if receives { 0x29 } else { 0x28 }, &[text("here"), uint(2), symbol("never")]);
    let far = kept(if receives { 0x28 } else { 0x29 }, "queues/q");
    let ends = if receives { [far, near] } else { [near, far] };
    let (sender_settles, receiver_settles) = (vec![0x50, 0], vec![0x50, 1]);
    let first = [text("link"), uint(0), boolean(receives), sender_settles, receiver_settles];
    let more = if receives { vec![unsettled] } else { vec![unsettled, boolean(false), uint(0)] };
    peer.send(0, &composite(ATTACH, &[&first[..], &ends, &more].concat()));
    peer.until(ATTACH).body
}

/// The tag in a transfer, or in an attach with one delivery unsettled: a binary of up to 255 bytes.
fn tag(transfer: &[u8]) -> Vec<u8> {
    let at = transfer.windows(1).position(|byte| byte[0] == 0xa0).expect("a binary");
    transfer[at..at + 2 + usize::from(transfer[at + 1])].to_vec()
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_receiver_that_settles_second_finds_its_delivery_again() {
    let hub = Hub::start();
    hub.post("queues/q", &[], "pallet");
    let mut receiver = peer(&hub);
    attach_kept(&mut receiver, true, null());
    receiver.send(0, &flow(0, 0, 5, false));
    let transferred = receiver.until(TRANSFER);
    assert!(transferred.says("pallet"));
    let tag = tag(&transferred.body);

    let hub = hub.killed();
    assert_eq!(hub.poll("queues/q").status, 204, "it is the link's");
    let mut receiver = peer(&hub);
    let attached = attach_kept(&mut receiver, true, map(&[tag.clone(), accepted()]));
    assert!(contains(&attached, &tag), "the hub has it unsettled, too");
    receiver.send(0, &flow(0, 0, 5, false));
    let settled = receiver.until(TRANSFER);
    assert!(contains(&settled.body, &tag) && contains(&settled.body, ACCEPTED), "{settled:?}");
    assert!(!settled.says("pallet"), "the message itself is not sent again");
    let hub = hub.killed();
    assert_eq!(hub.backlog("queues/q"), 0);
    let attached = attach_kept(&mut peer(&hub), true, null());
    assert!(!contains(&attached, &tag), "it was settled");
}

#[test]
fn what_a_sender_does_not_know_the_end_of_is_taken_once() {
    let hub = Hub::start();
    let mut sender = peer(&hub);
    attach_kept(&mut sender, false, null());
    sender.until(FLOW);
    sender.send(0, &transfer(0, 7, false, &message(b"pallet")));
    let tag = [0xa0, 4, 0, 0, 0, 7];
    assert!(contains(&sender.until(DISPOSITION).body, ACCEPTED));

    let hub = hub.killed();
    let mut sender = peer(&hub);
    let attached = attach_kept(&mut sender, false, map(&[tag.to_vec(), null()]));
    assert!(contains(&attached, &tag) && contains(&attached, ACCEPTED), "the hub says what became of it");
    sender.until(FLOW);
    sender.send(0, &disposition(false, 0, 0, accepted()));
    let hub = hub.killed();
    assert_eq!(hub.take_all("queues/q"), ["pallet"]);
}

/// Declares a transaction; its name, as it is on the wire.
fn declare(peer: &mut Peer) -> Vec<u8> {
    peer.send(0, &transfer(1, 0, false, &described(0x77, &composite(0x31, &[]))));
    let declared = peer.until(DISPOSITION).body;
    assert!(contains(&declared, &[0x00, 0x53, 0x33]), "declared: {declared:?}");
    tag(&declared)
}

#[test]
fn a_transaction_is_there_whole_or_not_at_all() {
    for discharged in [true, false] {
        let hub = Hub::start();
        let mut peer = peer(&hub);
        peer.sender(0, "queues/q");
        peer.send(0, &attach_controller("controller", 1));
        peer.until(FLOW);
        let txn = declare(&mut peer);
        let within = composite(0x34, std::slice::from_ref(&txn));
        for number in 1..=3 {
            peer.send(0, &transfer_as(0, number, false, within.clone(), &message(b"part")));
            assert!(contains(&peer.until(DISPOSITION).body, &[0x00, 0x53, 0x34]), "provisional");
        }
        if discharged {
            let commit = composite(0x32, &[txn.clone(), boolean(false)]);
            peer.send(0, &transfer(1, 4, false, &described(0x77, &commit)));
            assert!(contains(&peer.until(DISPOSITION).body, ACCEPTED));
        }
        let hub = hub.killed();
        assert_eq!(hub.take_all("queues/q").len(), if discharged { 3 } else { 0 });
    }
}
