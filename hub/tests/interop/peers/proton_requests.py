"""Proton at the hub: queues that are managed by requests, and used meanwhile."""

import uuid

from proton import Message, ulong
from proton.utils import BlockingConnection, SyncRequestResponse
from proton_peer import PATIENCE, PORT, RELEASED, Peer, run


class Management:
    """Proton's own client for requests: its reply address is that of a dynamic source."""

    def __init__(self):
        self.connection = BlockingConnection(f"127.0.0.1:{PORT}", timeout=PATIENCE, allowed_mechs="ANONYMOUS")
        self.client = SyncRequestResponse(self.connection, "$management")

    def call(self, operation, name, body=None, **more):
        answer = self.client.call(Message(body=body or {}, properties={"operation": operation, "name": name}, **more))
        return answer.properties["statusCode"], answer.body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def a_queue_through_its_life():
    with Management() as management, Peer() as peer:
        status, told = management.call("CREATE", "queues/orders", {"messages_max": 2, "overflow": "refuse"})
        assert (status, told["messages_max"]) == (201, 2), (status, told)
        assert management.call("CREATE", "queues/orders", {"messages_max": 2, "overflow": "refuse"})[0] == 200
        sender = peer.sender("queues/orders")
        sender.put(1, 2)
        assert str(sender.send(Message(3)).remote.condition.name) == "amqp:resource-limit-exceeded"
        status, told = management.call("READ", "queues/orders")
        assert (status, told["available"], told["overflow"]) == (200, 2, "refuse"), told
        assert management.call("UPDATE", "queues/orders", {"messages_max": 3})[1]["messages_max"] == 3
        sender.put(3)
        assert management.call("PURGE", "queues/orders") == (200, {"count": 3})
        assert peer.receiver("queues/orders").empty()
        assert management.call("DELETE", "queues/orders")[0] == 204
        assert management.call("READ", "queues/orders")[0] == 404


def a_queue_that_follows_topics():
    with Management() as management, Peer() as peer:
        management.call("CREATE", "queues/alarms")
        assert management.call("BIND", "queues/alarms", {"filter": "plant/+/alarm", "qos": 1})[0] == 200
        peer.sender("plant/7/alarm").put("hot")
        assert peer.receiver("queues/alarms").take().body == "hot"
        assert management.call("UNBIND", "queues/alarms", {"filter": "plant/+/alarm"}) == (200, {"found": True})
        assert peer.sender("plant/7/alarm").send(Message("hot")).remote_state == RELEASED, "nobody follows"


def every_id_comes_back_in_its_type():
    with Peer() as peer:
        answers = peer.receiver(None, dynamic=True, credit=20)
        reply_to = answers.link.remote_source.address
        sender = peer.sender("$management")
        for name in (ulong(7), uuid.uuid4(), b"\x00\xff", "seven"):
            sender.put(
                Message({}, id=name, reply_to=reply_to, properties={"operation": "READ", "name": "queues/nowhere"})
            )
            answer = answers.take()
            found = answer.correlation_id
            found = bytes(found) if isinstance(found, memoryview) else found
            assert found == name and isinstance(name, type(found)), (name, found)
            assert answer.properties["statusCode"] == 404


run(a_queue_through_its_life, a_queue_that_follows_topics, every_id_comes_back_in_its_type)
