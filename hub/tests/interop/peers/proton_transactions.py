"""Proton at the hub: what is posted and retired in a transaction happens at its commit, all of it or nothing."""

from proton import Described, Message, symbol, ulong
from proton.handlers import TransactionHandler
from proton_peer import ACCEPTED, MODIFIED, REJECTED, RELEASED, Peer, detached, run, settle

TRANSACTIONAL = 0x34


class Transaction(TransactionHandler):
    """A transaction of Proton's own controller, and what becomes of it."""

    def __init__(self, peer, settle_before_discharge=False):
        super().__init__()
        self.peer, self.end, self.error, self.it = peer, None, None, None
        connection = peer.connection
        connection.container.declare_transaction(connection.conn, self, settle_before_discharge)
        peer.wait(lambda: self.it or self.error, "a transaction")
        assert self.it, self.error

    def on_transaction_declared(self, event):
        self.it = event.transaction

    def on_transaction_declare_failed(self, event):
        self.error = event.delivery.remote.condition or "declare failed"

    def on_transaction_committed(self, event):
        self.end = "committed"

    def on_transaction_aborted(self, event):
        self.end = "aborted"

    def on_transaction_commit_failed(self, event):
        self.end = "failed"

    def post(self, sender, *messages):
        """Sends in the transaction; what becomes of it is said only for the case that it is committed."""
        for message in messages:
            sender.wait(lambda: sender.link.credit > 0, "credit")
            delivery = self.it.send(sender.link, message if isinstance(message, Message) else Message(message))
            sender.wait(lambda: delivery.remote_state, "a provisional outcome")
            assert delivery.remote_state == TRANSACTIONAL, delivery.remote_state
            txn, outcome = delivery.remote.data
            assert bytes(txn) == bytes(self.it.id) and outcome.descriptor in (ulong(0x24), symbol("amqp:accepted:list"))
            delivery.settle()

    def retire(self, delivery, outcome=ACCEPTED, *fields):
        delivery.local.data = [self.it.id, Described(ulong(outcome), list(fields))]
        delivery.update(TRANSACTIONAL)

    def finish(self, how):
        getattr(self.it, how)()
        self.peer.wait(lambda: self.end, f"an answer to {how}")
        return self.end

    def commit(self):
        return self.finish("commit")

    def abort(self):
        return self.finish("abort")


def posted_and_committed():
    with Peer() as peer:
        sender, receiver = peer.sender("queues/posted"), peer.receiver("queues/posted", credit=10)
        transaction = Transaction(peer)
        transaction.post(sender, 1, 2, 3)
        sender.put("beside it")
        assert receiver.take().body == "beside it", "nothing is seen before the commit"
        assert receiver.empty()
        assert transaction.commit() == "committed"
        receiver.link.flow(10)
        assert [receiver.take().body for _ in range(3)] == [1, 2, 3]


def posted_and_aborted():
    with Peer() as peer:
        sender, receiver = peer.sender("queues/aborted"), peer.receiver("queues/aborted")
        transaction = Transaction(peer)
        transaction.post(sender, 1, 2, 3)
        assert transaction.abort() == "aborted"
        assert receiver.empty()


def retired_and_committed():
    """All four outcomes."""
    with Peer() as peer:
        peer.sender("queues/retired").put("accept", "reject", "release", "modify")
        receiver = peer.receiver("queues/retired", credit=4)
        held = dict((message.body, delivery) for message, delivery in (receiver.next() for _ in range(4)))
        transaction = Transaction(peer)
        transaction.retire(held["accept"], ACCEPTED)
        transaction.retire(held["reject"], REJECTED)
        transaction.retire(held["release"], RELEASED)
        transaction.retire(held["modify"], MODIFIED, True)
        assert receiver.empty(), "nothing is given back before the commit"
        assert transaction.commit() == "committed"
        again = {}
        for _ in range(2):
            message, _ = receiver.next(ACCEPTED)
            again[message.body] = message.delivery_count
        assert again == {"release": 0, "modify": 1}, again
        assert receiver.empty()
        assert peer.receiver("$dead/retired").take().body == "reject"


def retired_and_aborted():
    """What was retired is as if nothing had been said about it: the receiver still holds it."""
    with Peer() as peer:
        peer.sender("queues/kept").put("x")
        receiver = peer.receiver("queues/kept", credit=1)
        _, delivery = receiver.next()
        transaction = Transaction(peer)
        transaction.retire(delivery)
        assert transaction.abort() == "aborted"
        assert not delivery.settled, "it is still the receiver's"
        settle(delivery, RELEASED)
        message, _ = receiver.next(ACCEPTED)
        assert (message.body, message.delivery_count) == ("x", 0)


def settled_before_discharge():
    """A receiver that has settled already has nothing left to hold: an abort gives the message back."""
    with Peer() as peer:
        peer.sender("queues/early").put("x", "y")
        receiver = peer.receiver("queues/early", credit=1)
        for end in ("abort", "commit"):
            transaction = Transaction(peer, settle_before_discharge=True)
            message, delivery = receiver.next()
            assert message.body == "x"
            transaction.it.accept(delivery)
            assert transaction.finish(end).startswith(end)
        assert receiver.take().body == "y", "the commit took the first one away"


def moved():
    """Retired here and posted there, in one: each message is in one of the two queues, whatever happens."""
    with Peer() as peer:
        peer.sender("queues/from").put(*range(10))
        source, sink = peer.receiver("queues/from", credit=10), peer.sender("queues/to")
        for end, message, delivery in ((("abort", "commit")[n % 2], *source.next()) for n in range(10)):
            transaction = Transaction(peer)
            transaction.retire(delivery)
            transaction.post(sink, message)
            transaction.finish(end)
            if end == "abort":
                settle(delivery, RELEASED)
            else:
                delivery.settle()
        left = peer.receiver("queues/from")
        source.close()
        assert sorted(left.take().body for _ in range(5)) == [0, 2, 4, 6, 8] and left.empty()
        there = peer.receiver("queues/to")
        assert [there.take().body for _ in range(5)] == [1, 3, 5, 7, 9] and there.empty()


def several_at_once():
    with Peer() as peer:
        sender, receiver = peer.sender("queues/several"), peer.receiver("queues/several")
        transactions = [Transaction(peer) for _ in range(10)]
        assert len({bytes(transaction.it.id) for transaction in transactions}) == 10
        for n, transaction in enumerate(transactions):
            transaction.post(sender, n)
        for n in (9, 0, 5):
            assert transactions[n].commit() == "committed"
        for n in (1, 2):
            assert transactions[n].abort() == "aborted"
        assert [receiver.take().body for _ in range(3)] == [9, 0, 5], "in the order of their commits"
        assert receiver.empty()


def a_lost_controller_rolls_back():
    with Peer() as other:
        receiver = other.receiver("queues/orphaned")
        peer = Peer()
        other.sender("queues/held").put("x")
        _, delivery = peer.receiver("queues/held", credit=1).next()
        transaction = Transaction(peer)
        transaction.post(peer.sender("queues/orphaned"), 1, 2)
        transaction.retire(delivery)
        peer.close()
        assert other.receiver("queues/held").take().body == "x"
        assert receiver.empty()


def an_unknown_transaction():
    """Posting under a transaction that has ended is refused, and changes nothing."""
    with Peer() as peer:
        sender = peer.sender("queues/unknown")
        transaction = Transaction(peer)
        assert transaction.commit() == "committed"
        delivery = transaction.it.send(sender.link, Message("x"))
        detached(lambda: sender.wait(lambda: delivery.remote_state, "an outcome"), "amqp:transaction:unknown-id")
        assert peer.receiver("queues/unknown").empty(), "the connection goes on"


def large_messages():
    """Every frame of a message belongs to the transaction of its first."""
    with Peer(max_frame_size=4096) as peer:
        sender, receiver = peer.sender("queues/large-posts"), peer.receiver("queues/large-posts")
        for end in ("abort", "commit"):
            transaction = Transaction(peer)
            transaction.post(sender, *(Message(bytes([n]) * 100_000, inferred=True) for n in range(5)))
            assert receiver.empty()
            transaction.finish(end)
        got = [receiver.take() for _ in range(5)]
        assert [message.body for message in got] == [bytes([n]) * 100_000 for n in range(5)]
        assert receiver.empty()


run(
    posted_and_committed,
    posted_and_aborted,
    retired_and_committed,
    retired_and_aborted,
    settled_before_discharge,
    moved,
    several_at_once,
    a_lost_controller_rolls_back,
    an_unknown_transaction,
    large_messages,
)
