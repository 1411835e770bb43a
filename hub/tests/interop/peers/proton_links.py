"""Proton at the hub: links, what settles a delivery, and who gets it next."""

import time

from proton import Condition, Endpoint, Link, Message, symbol
from proton.reactor import Copy, ReceiverOption, SenderOption
from proton_peer import (
    ACCEPTED, MODIFIED, REJECTED, RELEASED, Peer, Settling, detached, run, settle,
)

SETTLED, UNSETTLED, MIXED = Link.SND_SETTLED, Link.SND_UNSETTLED, Link.SND_MIXED
FIRST, SECOND = Link.RCV_FIRST, Link.RCV_SECOND


class OnTarget(SenderOption):
    def __init__(self, change):
        self.change = change

    def apply(self, sender):
        self.change(sender.target)


class OnSource(ReceiverOption):
    def __init__(self, change):
        self.change = change

    def apply(self, receiver):
        self.change(receiver.source)


def every_outcome():
    """What a receiver says decides who sees the message again, and how often it has failed."""
    with Peer() as peer:
        receiver = peer.receiver("queues/outcomes")
        peer.sender("queues/outcomes").put(Message("x", id="1"))
        counts = []
        for state in (RELEASED, MODIFIED, None, ACCEPTED):
            message, delivery = receiver.next()
            counts.append(message.delivery_count)
            if state == MODIFIED:
                delivery.local.failed = True
            if state is None:  # settled without an outcome: the source's default one
                delivery.settle()
            else:
                settle(delivery, state)
        # Released is as if nothing had been; modified counts; the default outcome counts, too.
        assert counts == [0, 0, 1, 2], counts
        assert receiver.empty()


def rejected_becomes_a_dead_letter():
    with Peer() as peer:
        peer.sender("queues/jobs").put(Message(b"\x00job", inferred=True, id="7", properties={"a": 1}))
        receiver = peer.receiver("queues/jobs")
        _, delivery = receiver.next()
        delivery.local.condition = Condition("app:too-hard", "no way")
        settle(delivery, REJECTED)
        assert receiver.empty()
        dead, _ = peer.receiver("$dead/jobs").next(ACCEPTED)
        assert (dead.body, dead.id, dead.properties, dead.inferred) == (b"\x00job", "7", {"a": 1}, True), dead
        told = {str(key): value for key, value in dead.annotations.items()}
        assert any("app:too-hard" in str(value) or "no way" in str(value) for value in told.values()), told


def undeliverable_here():
    """Who cannot deliver a message does not get it again; somebody else does."""
    with Peer() as peer, Peer() as other:
        here = peer.receiver("queues/elsewhere")
        peer.sender("queues/elsewhere").put(Message("x"))
        _, delivery = here.next()
        there = other.receiver("queues/elsewhere")
        delivery.local.undeliverable = True
        delivery.local.annotations = {symbol("x-opt-seen-by"): "here"}
        settle(delivery, MODIFIED)
        assert here.empty()
        assert there.take().body == "x"


def settled_transfers():
    """Sent settled, nothing is answered; received settled, nothing is left to say."""
    with Peer() as peer:
        sender = peer.sender("queues/settled", options=Settling(snd=SETTLED))
        assert sender.link.remote_snd_settle_mode == SETTLED
        for n in range(10):
            delivery = sender.start(Message(n))
            delivery.settle()
        receiver = peer.receiver("queues/settled", options=Settling(snd=SETTLED))
        assert receiver.link.remote_snd_settle_mode == SETTLED
        for n in range(10):
            message, delivery = receiver.next()
            assert message.body == n and delivery.settled
        assert receiver.empty()


def mixed_transfers():
    with Peer() as peer:
        sender = peer.sender("queues/mixed", options=Settling(snd=MIXED))
        for n in range(10):
            delivery = sender.start(Message(n))
            if n % 2:
                delivery.settle()
            else:
                peer.wait(lambda delivery=delivery: delivery.settled, "an outcome")
                assert delivery.remote_state == ACCEPTED
                delivery.settle()
        receiver = peer.receiver("queues/mixed")
        assert [receiver.take().body for _ in range(10)] == list(range(10))


def settled_by_the_sender_last():
    """Receiver settle mode second: the outcome is said first, and settled once the other end has settled."""
    with Peer() as peer:
        sender = peer.sender("queues/second", options=Settling(rcv=SECOND))
        assert sender.link.remote_rcv_settle_mode == SECOND
        for n in range(5):
            delivery = sender.start(Message(n))
            peer.wait(lambda delivery=delivery: delivery.remote_state, "an outcome")
            assert (delivery.remote_state, delivery.settled) == (ACCEPTED, False)
            delivery.settle()
        receiver = peer.receiver("queues/second", options=Settling(rcv=SECOND))
        assert receiver.link.remote_rcv_settle_mode == SECOND
        for n in range(5):
            message, delivery = receiver.next()
            assert message.body == n and not delivery.settled
            delivery.update(ACCEPTED)
            peer.wait(lambda delivery=delivery: delivery.settled, "settling")
            delivery.settle()
        assert receiver.empty()


def a_range_of_outcomes():
    """A thousand deliveries answered in any order, and at once."""
    with Peer() as peer:
        sender, receiver = peer.sender("queues/range"), peer.receiver("queues/range", credit=1000)
        under_way = [sender.start(Message(n)) for n in range(1000)]
        peer.wait(lambda: all(delivery.settled for delivery in under_way), "all outcomes")
        assert all(delivery.remote_state == ACCEPTED for delivery in under_way)
        got = [receiver.next() for _ in range(1000)]
        assert [message.body for message, _ in got] == list(range(1000))
        for _, delivery in got[::2] + got[999::-2]:
            settle(delivery, ACCEPTED)
        assert receiver.empty()


def credit_is_a_promise():
    with Peer() as peer:
        peer.sender("queues/credit").put(*range(20))
        receiver = peer.receiver("queues/credit")
        for credit in (1, 5, 3):
            receiver.link.flow(credit)
            peer.wait(lambda credit=credit: len(receiver.inbox.deliveries) == credit, f"{credit} messages")
            assert receiver.link.credit == 0
            for _ in range(credit):
                receiver.take()
        assert not receiver.inbox.deliveries


def drained():
    """Drain takes what is there, and answers at once if there is nothing."""
    with Peer() as peer:
        sender, receiver = peer.sender("queues/drain"), peer.receiver("queues/drain")
        assert receiver.empty()
        sender.put(1, 2)
        receiver.link.drain(10)
        peer.wait(lambda: receiver.link.credit == 0, "the end of draining")
        assert [receiver.take().body, receiver.take().body] == [1, 2]
        receiver.link.drain_mode = False
        receiver.link.flow(1)
        sender.put(3)
        assert receiver.take().body == 3, "a drained link goes on"


def anonymous_terminus():
    """A target without an address: each message says where it goes."""
    with Peer() as peer:
        assert "ANONYMOUS-RELAY" in [str(word) for word in peer.connection.conn.remote_offered_capabilities]
        follower = peer.receiver("topics/+/anonymous", credit=10)
        sender = peer.sender(None)
        sender.put(Message("one", address="queues/anon1"), Message("two", address="queues/anon2"))
        sender.put(Message("three", address="topics/x/anonymous"))
        assert peer.receiver("queues/anon1").take().body == "one"
        assert peer.receiver("queues/anon2").take().body == "two"
        assert follower.take().body == "three"
        nowhere = sender.send(Message("four"))
        assert nowhere.remote_state == REJECTED, nowhere.remote_state
        sender.put(Message("the link goes on", address="queues/anon1"))


def request_and_response():
    """A dynamic source is a queue of one's own; its address is where answers go."""
    with Peer() as client, Peer() as service:
        answers = client.receiver(None, dynamic=True, credit=10)
        address = answers.link.remote_source.address
        assert address, "the hub gives the address"
        requests = service.receiver("queues/service", credit=10)
        client.sender("queues/service").put(
            *(Message(n, reply_to=address, correlation_id=str(n)) for n in range(3))
        )
        replies = service.sender(None)
        for n in range(3):
            request = requests.take()
            replies.put(Message(request.body * 2, address=request.reply_to, correlation_id=request.correlation_id))
            answer = answers.take()
            assert (answer.body, answer.correlation_id) == (2 * n, str(n))
        answers.close()
        late = service.sender(None).send(Message("late", address=address))
        assert late.remote_state in (RELEASED, REJECTED), "the queue went with its link"


def topics():
    with Peer() as peer:
        narrow, wide = peer.receiver("plant/+/alarm", credit=10), peer.receiver("plant/#", credit=10)
        sender = peer.sender("plant/7/alarm")
        sender.put("hot")
        peer.sender("plant/7/state").put("fine")
        assert narrow.take().body == "hot"
        assert [wide.take().body, wide.take().body] == ["hot", "fine"]
        assert narrow.empty() and wide.empty()
        nobody = peer.sender("nobody/listens").send(Message("x"))
        assert nobody.remote_state == RELEASED, "valid, and nobody is there"


def dynamic_target():
    """A dynamic target is a queue of one's own, too: what is sent there can be received under its address."""
    with Peer() as peer:
        dynamic = OnTarget(lambda target: setattr(target, "dynamic", True))
        sender = peer.sender(None, options=dynamic)
        address = sender.link.remote_target.address
        sender.put("x")
        assert address and peer.receiver(address).take().body == "x", address


def refused_links():
    """The link is answered without a terminus, then detached with the reason; the connection goes on."""
    with Peer() as peer:
        detached(lambda: peer.sender("$nowhere/x"), "amqp:not-found")
        detached(lambda: peer.receiver("$nowhere/x"), "amqp:not-found")
        detached(lambda: peer.receiver("a/#/b"), "amqp:invalid-field")
        detached(lambda: peer.receiver(""), "amqp:invalid-field")
        peer.sender("queues/fine").put("x")
        assert peer.receiver("queues/fine").take().body == "x"


def stolen_links():
    """A link is attached again under its name: the older one is detached, and what it holds is the newer one's to get."""
    with Peer() as peer, Peer() as other:
        first = peer.receiver("queues/stolen", name="mine", credit=1)
        other.receiver("queues/stolen", name="mine")  # another container's link of that name is another link
        session = peer.connection.conn.session()
        session.open()
        second = session.receiver("mine")
        second.source.address = "queues/stolen"
        second.open()
        old = first.link
        peer.wait(lambda: second.state & Endpoint.REMOTE_ACTIVE and old.remote_condition, "stealing")
        assert old.remote_condition.name == "amqp:link:stolen", old.remote_condition


def browsing():
    """Distribution mode copy looks, and takes nothing away."""
    with Peer() as peer:
        peer.sender("queues/browsed").put(1, 2, 3)
        browser = peer.receiver("queues/browsed", credit=10, options=Copy())
        assert [browser.take().body for _ in range(3)] == [1, 2, 3]
        reader = peer.receiver("queues/browsed", credit=10)
        assert [reader.take().body for _ in range(3)] == [1, 2, 3]


def competing_receivers():
    """Each message goes to one of them; what one leaves behind goes to the others."""
    with Peer() as peer, Peer() as first:
        ones = [first.receiver("queues/competed", credit=5), peer.receiver("queues/competed", credit=5)]
        peer.sender("queues/competed").put(*range(10))
        seen = [ones[1].take().body for _ in range(5)]
        first.wait(lambda: len(ones[0].inbox.deliveries) == 5, "the other half")
        others = [message.body for message, _ in ones[0].inbox.deliveries]
        assert sorted(seen + others) == list(range(10)) and len(others) == 5
        ones[0].close()
        left = [ones[1].next(ACCEPTED)[0] for _ in range(5)]
        assert sorted(message.body for message in left) == sorted(others)
        assert all(message.delivery_count == 1 for message in left), "their link was lost while they were there"


def several_sessions():
    """Sessions of one connection have windows and links of their own."""
    with Peer() as peer:
        connection = peer.connection.conn
        sessions = [connection.session() for _ in range(5)]
        links = []
        for n, session in enumerate(sessions):
            session.open()
            link = session.sender(f"sender {n}")
            link.target.address = f"queues/session{n}"
            link.open()
            links.append(link)
        peer.wait(lambda: all(link.credit > 0 for link in links), "credit in every session")
        under_way = [link.send(Message(n)) for n, link in enumerate(links)]
        peer.wait(lambda: all(delivery.settled for delivery in under_way), "outcomes in every session")
        assert all(delivery.remote_state == ACCEPTED for delivery in under_way)
        sessions[0].close()
        for n in range(5):
            assert peer.receiver(f"queues/session{n}").take().body == n
        under_way = links[4].send(Message("again"))
        peer.wait(lambda: under_way.settled, "an outcome after another session has ended")


def many_links():
    with Peer() as peer:
        senders = [peer.sender(f"queues/many{n}") for n in range(200)]
        receivers = [peer.receiver(f"queues/many{n}", credit=2) for n in range(200)]
        for n, sender in enumerate(senders):
            sender.put(n)
        assert [receiver.take().body for receiver in receivers] == list(range(200))
        for link in senders + receivers:
            link.close()
        peer.sender("queues/many0").put("the names are free again")


def heartbeats():
    """Both ends keep a silent connection alive, as the other one asks."""
    with Peer(heartbeat=1) as peer:
        transport = peer.connection.conn.transport
        assert transport.remote_idle_timeout > 0, "the hub says how long it waits"
        receiver = peer.receiver("queues/heartbeats", credit=1)
        before, start = transport.frames_input, time.monotonic()
        while time.monotonic() - start < 3:
            peer.connection.container.timeout = 0.2
            peer.connection.container.process()
        assert transport.frames_input - before >= 3, "empty frames come while there is nothing to say"
        peer.sender("queues/heartbeats").put("alive")
        assert receiver.take().body == "alive"


def what_is_left_unsettled_comes_again():
    first = Peer()
    receiver = first.receiver("queues/left", credit=1)
    first.sender("queues/left").put("x")
    message, _ = receiver.next()
    assert message.delivery_count == 0
    first.close()
    with Peer() as second:
        message, _ = second.receiver("queues/left").next(ACCEPTED)
        assert (message.body, message.delivery_count) == ("x", 1)


def time_to_live():
    with Peer() as peer:
        peer.sender("queues/mortal").put(Message("short", ttl=0.2), Message("long", ttl=60))
        time.sleep(0.5)
        receiver = peer.receiver("queues/mortal", credit=10)
        assert receiver.take().body == "long"
        assert receiver.empty()


run(
    every_outcome,
    rejected_becomes_a_dead_letter,
    undeliverable_here,
    settled_transfers,
    mixed_transfers,
    settled_by_the_sender_last,
    a_range_of_outcomes,
    credit_is_a_promise,
    drained,
    anonymous_terminus,
    request_and_response,
    topics,
    dynamic_target,
    refused_links,
    stolen_links,
    browsing,
    competing_receivers,
    several_sessions,
    many_links,
    heartbeats,
    what_is_left_unsettled_comes_again,
    time_to_live,
)
