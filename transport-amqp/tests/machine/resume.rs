//! What outlives an attachment: unsettled maps, and deliveries that go on (Part 2, section 2.6.13).

use super::*;

fn tag(name: &str) -> Tag {
    Tag::new(name.as_bytes()).expect("short")
}

fn map<const N: usize>(entries: [(&str, Option<State>); N]) -> UnsettledMap {
    entries.into_iter().map(|(name, state)| (tag(name), state)).collect()
}

impl Pair {
    /// A link with maps of both ends, as they come at the other.
    fn resumed(
        &mut self,
        session: SessionId,
        attach: Attach,
        ours: &UnsettledMap,
        theirs: UnsettledMap,
    ) -> (LinkId, LinkId, UnsettledMap, UnsettledMap) {
        let source = attach.source.clone().map(|source| *source);
        let link = self.client.attach(session, attach, ours, &mut self.to_server).expect("room");
        let Event::Attach(id, asked) = one(self.at_server()) else { panic!("an attach") };
        let accept = Accept { source, unsettled: theirs, ..Accept::default() };
        self.server.accept(id, accept, &mut self.to_client).expect("asked");
        let Event::Attach(_, answer) = one(self.at_client()) else { panic!("an answer") };
        (link, id, unsettled_map(&asked), unsettled_map(&answer))
    }

    fn send_tagged(&mut self, link: LinkId, sending: Sending) -> Result<u64, SendError> {
        let delivery = delivery("x", None);
        self.client.deliver(link, &delivery, sending, self.now, &mut Losses::default(), &mut self.to_server)
    }
}

#[test]
fn maps_go_both_ways_with_every_state() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let (session, _) = pair.session();
        let rejected = State::Rejected(Some(Fault::new("amqp:not-found", "nowhere")));
        let modified = State::Modified { delivery_failed: true, undeliverable_here: false };
        let enlisted =
            State::Transactional { txn: Bytes::from_static(b"txn"), outcome: Some(Box::new(State::Accepted)) };
        let ours = map([("a", None), ("b", Some(State::Accepted)), ("c", Some(rejected)), ("", Some(State::Released))]);
        let theirs = map([("d", Some(State::Received)), ("e", Some(modified)), ("f", Some(enlisted)), ("g", None)]);
        let (.., at_server, at_client) = pair.resumed(session, sender("s", "q"), &ours, theirs.clone());
        assert_eq!((at_server, at_client), (ours, theirs));
    });
}

#[test]
fn an_empty_map_says_that_a_link_goes_on() {
    let mut pair = Pair::open(64);
    let (session, _) = pair.session();
    for resumed in [false, true] {
        pair.client.attach(session, sender("s", "q"), &map([]), &mut pair.to_server).expect("room");
        let Event::Attach(id, asked) = one(pair.at_server()) else { panic!("an attach") };
        assert_eq!(asked.unsettled, None);
        let accept = Accept { source: asked.source.map(|source| *source), resumed, ..Accept::default() };
        pair.server.accept(id, accept, &mut pair.to_client).expect("asked");
        let Event::Attach(link, answer) = one(pair.at_client()) else { panic!("an answer") };
        assert_eq!(answer.unsettled.is_some(), resumed);
        pair.client.detach(link, false, None, &mut pair.to_server).expect("attached");
        pair.at_server();
        pair.at_client();
    }
}

#[test]
fn a_delivery_goes_on_under_its_tag_and_ends_in_the_outcome_that_was_known() {
    everywhere(|piece| {
        let mut pair = Pair::open(piece);
        let (session, _) = pair.session();
        let known = map([("sent", None), ("decided", None)]);
        let theirs = map([("decided", Some(State::Accepted)), ("sent", None)]);
        let (ours, link, ..) = pair.resumed(session, second(sender("s", "q")), &known, theirs);
        pair.grant(link, 3);
        let sending = Sending { cookie: Some(7), tag: Some(tag("sent")), resume: true, ..Sending::default() };
        pair.send_tagged(ours, sending).expect("credit");
        pair.client.settle_resumed(ours, tag("decided"), Some(State::Accepted), &mut pair.to_server).expect("credit");
        let events = pair.at_server();
        let [Event::Transfer(again), Event::Transfer(settled)] = &events[..] else { panic!("{events:?}") };
        assert!(again.resume && !again.settled && again.second && again.tag == tag("sent"));
        assert!(settled.resume && settled.settled && settled.tag == tag("decided") && settled.pieces.is_empty());
        assert_eq!(settled.state, Some(State::Accepted));
        pair.server.answer(link.session, again.delivery, State::Accepted, &mut pair.to_client);
        pair.server.flush(&mut pair.to_client);
        assert!(matches!(one(pair.at_client()), Event::Disposed(told) if told.deliveries[0].cookie == 7));
        assert_eq!(pair.client.credit(ours).credit, 1, "what goes on takes credit, too");
    });
}

#[test]
fn what_came_in_part_is_given_up_and_sent_anew() {
    let mut pair = Pair::open(64);
    let (session, _) = pair.session();
    let (ours, link, _, theirs) =
        pair.resumed(session, sender("s", "q"), &map([("t", None)]), map([("t", Some(State::Received))]));
    assert_eq!(theirs[&tag("t")], Some(State::Received));
    pair.grant(link, 2);
    pair.client.abort_resumed(ours, tag("t"), &mut pair.to_server).expect("credit");
    let sending = Sending { cookie: Some(1), tag: Some(tag("t")), ..Sending::default() };
    pair.send_tagged(ours, sending).expect("credit");
    let came = transfer(pair.at_server());
    assert!(!came.resume && came.tag == tag("t"));
    assert_eq!(pair.server.unanswered(link), 1, "of the one that was given up nothing is left");
}

#[test]
fn a_map_that_does_not_fit_is_cut_and_nothing_new_is_sent() {
    let small = MachineConfig::default().frame_bytes_max(512);
    let many: UnsettledMap = (0..200u32).map(|n| (tag(&format!("delivery {n:>10}")), None)).collect();
    let mut pair = Pair::open_with(small, MachineConfig::default(), 1 << 20);
    let (session, _) = pair.session();
    let (ours, link, at_server, _) = pair.resumed(session, sender("s", "q"), &many, UnsettledMap::new());
    assert!((15..=22).contains(&at_server.len()), "{} of 200 fit into 512 bytes", at_server.len());
    assert!(pair.client.only_resumes(ours) && pair.server.only_resumes(link));
    pair.grant(link, 5);
    assert_eq!(pair.client.room(ours), 0, "for what is new");
    let (first, _) = at_server.first_key_value().expect("some");
    let sending = Sending { cookie: Some(1), tag: Some(*first), resume: true, ..Sending::default() };
    pair.send_tagged(ours, sending.clone()).expect("what goes on is sent");
    assert!(transfer(pair.at_server()).resume);
    pair.send_tagged(ours, Sending { resume: false, ..sending }).expect("a sender that does not keep the rule");
    let Event::Detach(gone, detached) = one(pair.at_server()) else { panic!("detached") };
    assert_eq!((gone, detached.fault.expect("why").condition.as_str()), (link, "amqp:not-allowed"));
}

#[test]
fn a_suspended_link_says_what_its_sender_has_not_forgotten() {
    let mut pair = Pair::open(64);
    let (session, _) = pair.session();
    let (ours, link) = pair.link(session, second(sender("s", "q")));
    pair.grant(link, 2);
    for name in ["a", "b"] {
        pair.send_tagged(ours, Sending { cookie: Some(1), tag: Some(tag(name)), ..Sending::default() })
            .expect("credit");
    }
    let [Event::Transfer(a), Event::Transfer(_)] = &pair.at_server()[..] else { panic!("two") };
    pair.server.answer(link.session, a.delivery, State::Accepted, &mut pair.to_client);
    pair.client.detach(ours, false, None, &mut pair.to_server).expect("attached");
    let Event::Detach(_, detached) = one(pair.at_server()) else { panic!("detached") };
    assert_eq!((detached.closed, detached.unsettled), (false, vec![tag("a"), tag("b")]));
}

#[test]
fn settle_modes_are_what_both_ends_agree_on() {
    use fe2o3_amqp_types::definitions::SenderSettleMode as Mode;
    for (mode, cookie, settled) in [
        (Mode::Mixed, Some(1), false),
        (Mode::Mixed, None, true),
        (Mode::Settled, Some(1), true),
        (Mode::Unsettled, None, false),
    ] {
        let mut pair = Pair::open(64);
        let (session, _) = pair.session();
        let (ours, link) = pair.link(session, Attach { snd_settle_mode: mode, ..sender("s", "q") });
        pair.grant(link, 1);
        pair.send_tagged(ours, Sending { cookie, ..Sending::default() }).expect("credit");
        let came = transfer(pair.at_server());
        assert_eq!(came.settled, settled);
        if settled {
            continue;
        }
        pair.server.dispose(link.session, came.delivery, Some(State::Accepted), false, &mut pair.to_client);
        pair.server.flush(&mut pair.to_client);
        assert_eq!(pair.at_client().len(), usize::from(cookie.is_some()), "only who asked is told");
        pair.client.flush(&mut pair.to_server);
        let forgotten = Forgotten { link, delivery: came.delivery, tag: None };
        let told = cookie.is_none().then(|| Event::Forgotten(vec![forgotten]));
        assert_eq!(pair.at_server(), Vec::from_iter(told));
        assert_eq!(pair.server.unanswered(link), u32::from(cookie.is_some()), "settled if nobody asked");
    }
}

#[test]
fn a_receiver_that_cannot_settle_second_says_so() {
    let mut pair = Pair::open(64);
    let (session, _) = pair.session();
    let ours =
        pair.client.attach(session, second(sender("s", "q")), &UnsettledMap::new(), &mut pair.to_server).expect("room");
    let Event::Attach(link, asked) = one(pair.at_server()) else { panic!("an attach") };
    let target = asked.target.map(|target| *target);
    let accept = Accept { target, first_only: true, ..Accept::default() };
    pair.server.accept(link, accept, &mut pair.to_client).expect("asked");
    let Event::Attach(_, answer) = one(pair.at_client()) else { panic!("an answer") };
    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::First);
    pair.grant(link, 1);
    pair.send_tagged(ours, Sending { cookie: Some(1), ..Sending::default() }).expect("credit");
    assert!(!transfer(pair.at_server()).second);
}

#[test]
fn every_frame_of_a_post_names_its_transaction() {
    let small = MachineConfig::default().frame_bytes_max(512);
    let mut pair = Pair::open_with(small, MachineConfig::default(), 1 << 20);
    let (session, _) = pair.session();
    let (ours, link) = pair.link(session, sender("s", "q"));
    pair.grant(link, 1);
    let state = Some(State::Transactional { txn: vec![7; 100].into(), outcome: None });
    let sending = Sending { cookie: Some(1), state: state.clone(), ..Sending::default() };
    let large = delivery(vec![1; 2000], None);
    pair.client.deliver(ours, &large, sending, pair.now, &mut Losses::default(), &mut pair.to_server).expect("credit");
    let mut said = Bytes::copy_from_slice(bytes::Buf::chunk(&pair.to_server));
    let (mut at, mut frames) = (0, 0);
    while let Some(found) = frame(&said, &mut at, 512).expect("within the peer's limit") {
        let (Performative::Transfer(transfer), _) =
            Performative::decode(&found.body, &GuardLimits::default()).expect("legal")
        else {
            continue;
        };
        assert_eq!(transfer.state, state);
        frames += 1;
    }
    said.clear();
    assert!(frames >= 5, "{frames}");
    assert_eq!(transfer(pair.at_server()).state, state);
}

#[test]
fn a_link_tells_its_backlog_when_it_is_asked() {
    let mut pair = Pair::open(16);
    let (session, _) = pair.session();
    let (ours, theirs) = pair.link(session, receiver("r", "q"));
    pair.server.available(theirs, 42);
    pair.client.ask(ours, &mut pair.to_server).expect("attached");
    pair.at_server();
    pair.at_client();
    assert_eq!(pair.client.backlog(ours), 42);
}
