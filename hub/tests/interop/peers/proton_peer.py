"""What the scripts with Proton share: a connection on which everything waits for its answer."""

import sys
from collections import deque

from proton import Delivery, Endpoint, Message, Terminus
from proton.handlers import MessagingHandler
from proton.reactor import LinkOption
from proton.utils import BlockingConnection

PORT = int(sys.argv[1])
PATIENCE = 20
ACCEPTED, REJECTED = Delivery.ACCEPTED, Delivery.REJECTED
RELEASED, MODIFIED = Delivery.RELEASED, Delivery.MODIFIED


class Detached(Exception):
    """The other end has detached a link, or has not attached it."""

    def __init__(self, condition):
        super().__init__(condition)
        self.condition = condition and condition.name


class Inbox(MessagingHandler):
    """Deliveries with their messages, as they come. Nothing is granted, accepted, settled or closed but by hand."""

    def __init__(self):
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.deliveries = deque()

    def on_message(self, event):
        self.deliveries.append((event.message, event.delivery))

    def on_link_error(self, event):
        pass


class Attached:
    """A link, and what there is to wait for on it."""

    count = 0

    def __init__(self, peer, address, create, name=None, **more):
        Attached.count += 1
        self.peer, self.inbox = peer, Inbox()
        name = name or f"{address} {Attached.count}"
        self.link = create(peer.connection.conn, address, handler=self.inbox, name=name, **more)
        self.wait(lambda: self.link.state & Endpoint.REMOTE_ACTIVE, "an attach")
        remote = self.link.remote_target if self.link.is_sender else self.link.remote_source
        if remote.type == Terminus.UNSPECIFIED:  # a detach follows
            self.wait(lambda: False, "a detach")

    def wait(self, condition, what):
        link = self.link
        self.peer.wait(lambda: link.state & Endpoint.REMOTE_CLOSED or condition(), f"{what} of {link.name}")
        if link.state & Endpoint.REMOTE_CLOSED and not condition():
            link.close()
            raise Detached(link.remote_condition)

    def close(self):
        self.link.close()
        self.wait(lambda: self.link.state & Endpoint.REMOTE_CLOSED, "a detach")


class Receiver(Attached):
    def __init__(self, peer, address, credit=0, **more):
        super().__init__(peer, address, peer.connection.container.create_receiver, **more)
        self.link.flow(credit)

    def next(self, state=None):
        """The next message and its delivery, settled with `state` if there is one."""
        if not self.inbox.deliveries and self.link.credit == 0:
            self.link.flow(1)
        self.wait(lambda: self.inbox.deliveries, "a message")
        message, delivery = self.inbox.deliveries.popleft()
        if state is not None:
            settle(delivery, state)
        return message, delivery

    def take(self, state=ACCEPTED):
        return self.next(state)[0]

    def empty(self):
        """Whether nothing more comes: the credit is drained, which the other end has to answer."""
        if self.link.credit == 0:
            self.link.flow(1)
        self.link.drain(0)
        self.wait(lambda: self.inbox.deliveries or self.link.credit == 0, "an answer to drain")
        self.link.drain_mode = False
        return not self.inbox.deliveries


class Sender(Attached):
    def __init__(self, peer, address, **more):
        super().__init__(peer, address, peer.connection.container.create_sender, **more)

    def start(self, message):
        """Sends, and does not wait for the outcome."""
        self.wait(lambda: self.link.credit > 0, "credit")
        return self.link.send(message)

    def send(self, message):
        """Sends, and answers what became of it."""
        message = message if isinstance(message, Message) else Message(message)
        delivery = self.start(message)
        self.wait(lambda: delivery.settled, "an outcome")
        delivery.settle()
        return delivery

    def put(self, *messages):
        for message in messages:
            outcome = self.send(message)
            assert outcome.remote_state == ACCEPTED, (message, outcome.remote_state, outcome.remote.condition)


class Peer:
    """A connection."""

    def __init__(self, **more):
        more.setdefault("allowed_mechs", "ANONYMOUS")
        self.connection = BlockingConnection(f"127.0.0.1:{PORT}", timeout=PATIENCE, **more)

    def wait(self, condition, what):
        self.connection.wait(condition, timeout=PATIENCE, msg=f"waiting for {what}")

    def sender(self, address, **more):
        return Sender(self, address, **more)

    def receiver(self, address, credit=0, **more):
        return Receiver(self, address, credit, **more)

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Settling(LinkOption):
    """How a link settles: `snd` and `rcv` settle modes."""

    def __init__(self, snd=None, rcv=None):
        self.snd, self.rcv = snd, rcv

    def apply(self, link):
        if self.snd is not None:
            link.snd_settle_mode = self.snd
        if self.rcv is not None:
            link.rcv_settle_mode = self.rcv


def settle(delivery, state):
    delivery.update(state)
    delivery.settle()


def detached(step, *conditions):
    """The other end detaches the link, or does not attach it, with one of the conditions."""
    try:
        step()
    except Detached as error:
        assert error.condition in conditions, error
    else:
        raise AssertionError(f"not detached, but expected {conditions}")


def run(*checks):
    for check in checks:
        check()
        print("ok", check.__name__, flush=True)
    print("all checks passed")
