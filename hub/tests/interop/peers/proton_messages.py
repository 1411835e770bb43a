"""Proton at the hub: what a message is when it comes out again."""

import uuid

from proton import (
    UNDESCRIBED, Array, Data, Described, Message, byte, char, decimal32, decimal64, decimal128, float32,
    int32, short, symbol, timestamp, ubyte, uint, ulong, ushort,
)
from proton_peer import ACCEPTED, Peer, detached, run

ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
PRIMITIVES = [
    None, True, False, ubyte(255), ushort(65535), uint(2**32 - 1), ulong(2**64 - 1), byte(-128), short(-32768),
    int32(-(2**31)), -(2**63), float32(0.5), -2.5, decimal32(1), decimal64(2), decimal128(b"\x07" * 16), char("€"),
    timestamp(1_700_000_000_000), ID, b"", b"\x00\xff", "", "Straße", "x" * 300, symbol("a-symbol"),
]
COMPOUND = [
    [], [1, "two", [3.0]], {}, {"a": 1, ulong(2): [symbol("b")]},
    Array(UNDESCRIBED, Data.STRING, "a", "b"), Array(UNDESCRIBED, Data.INT), Described(symbol("x:y"), [1, 2]),
    Described(ulong(7), "seven"),
]


def plain(value):
    """Proton gives binaries as views of memory."""
    if isinstance(value, memoryview):
        return bytes(value)
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value


def crossed(peer, queue, message):
    peer.sender(queue).put(message)
    return peer.receiver(queue).take()


def every_value():
    with Peer() as peer:
        sender, receiver = peer.sender("queues/values"), peer.receiver("queues/values", credit=100)
        for body in PRIMITIVES + COMPOUND:
            sender.put(Message(body, inferred=False))
            got = receiver.take()
            found = (plain(got.body), type(plain(got.body)), got.inferred)
            assert found == (body, type(body), False), (body, found)


def every_section():
    with Peer() as peer:
        sender, receiver = peer.sender("queues/sections"), peer.receiver("queues/sections", credit=100)
        for body in (b"", b"\x00bytes\xff", b"x" * 300, [], [1, "two"], [[1], {"k": b"v"}]):
            sender.put(Message(body, inferred=True))
            got = receiver.take()
            assert (plain(got.body), got.inferred) == (body, True), (body, got.body)


def every_property():
    sent = Message("body", subject="about", user_id=b"\x00someone", reply_to="answers/1", reply_to_group_id="back")
    sent.address = "queues/properties"
    sent.content_type, sent.content_encoding = symbol("text/plain"), symbol("identity")
    sent.expiry_time, sent.creation_time = 4_000_000_000.25, 1_700_000_000.5
    sent.group_id, sent.group_sequence = "group", 2**32 - 1
    sent.properties = {f"p{n}": value for n, value in enumerate(PRIMITIVES)}
    sent.annotations = {symbol("x-opt-a"): [1, {"b": 2}], ulong(5): "five"}
    with Peer() as peer:
        got = crossed(peer, "queues/properties", sent)
    for name in (
        "subject", "user_id", "reply_to", "reply_to_group_id", "address", "content_type", "content_encoding",
        "expiry_time", "creation_time", "group_id", "group_sequence", "properties", "body",
    ):
        assert plain(getattr(got, name)) == getattr(sent, name), (name, getattr(sent, name), getattr(got, name))
    assert [type(plain(value)) for value in got.properties.values()] == [type(value) for value in PRIMITIVES]
    for name, value in sent.annotations.items():
        assert got.annotations[name] == value, got.annotations


def every_id():
    with Peer() as peer:
        sender, receiver = peer.sender("queues/ids"), peer.receiver("queues/ids", credit=100)
        for name in (ulong(0), ulong(2**64 - 1), ID, b"", b"\x00\xff", "", "name"):
            sender.put(Message("x", id=name, correlation_id=name))
            got = receiver.take()
            for found in (plain(got.id), plain(got.correlation_id)):
                assert found == name and isinstance(name, type(found)), (name, found)


def header():
    with Peer() as peer:
        plain = crossed(peer, "queues/header", Message("x"))
        assert (plain.priority, plain.ttl, plain.delivery_count, plain.durable) == (4, 0, 0, False), plain
        got = crossed(peer, "queues/header", Message("x", ttl=60, priority=9))
        assert got.priority == 9 and 30 < got.ttl <= 60, (got.priority, got.ttl)


def high_priority_comes_first():
    with Peer() as peer:
        peer.sender("queues/priority").put(*(Message(n, priority=n) for n in (4, 9, 0, 9, 5)))
        receiver = peer.receiver("queues/priority", credit=10)
        assert [receiver.take().body for _ in range(5)] == [9, 9, 5, 4, 0]


def large_messages_in_small_frames():
    for frame in (512, 4096, 1 << 20):
        with Peer(max_frame_size=frame) as peer:
            sender, receiver = peer.sender("queues/large"), peer.receiver("queues/large", credit=4)
            assert peer.connection.conn.transport.remote_max_frame_size >= 512
            for size in (511, 70_000, 1 << 20):
                body = bytes(n * 7 % 251 for n in range(1009)) * (size // 1009 + 1)
                sender.put(Message(body[:size], inferred=True, id=str(size)))
                got = receiver.take()
                assert got.id == str(size) and got.body == body[:size], (frame, size)


def large_messages_side_by_side():
    """Frames of several links, one after the other."""
    with Peer(max_frame_size=1024) as peer:
        links = [(peer.sender(f"queues/side{n}"), peer.receiver(f"queues/side{n}", credit=10)) for n in range(8)]
        bodies = [bytes([n]) * 50_000 for n in range(8)]
        under_way = [
            sender.start(Message(body, inferred=True)) for (sender, _), body in zip(links, bodies) for _ in range(3)
        ]
        peer.wait(lambda: all(delivery.settled for delivery in under_way), "all outcomes")
        assert all(delivery.remote_state == ACCEPTED for delivery in under_way)
        for (_, receiver), body in zip(links, bodies):
            # A binary is a view of its message's memory: the messages have to stay.
            got = [receiver.take() for _ in range(3)]
            assert [message.body for message in got] == [body] * 3


def too_large_a_message():
    with Peer() as peer:
        sender, other = peer.sender("queues/too-large"), peer.sender("queues/fits")
        largest = sender.link.remote_max_message_size
        assert 0 < largest <= 1 << 26, largest
        message = Message(b"x" * (largest + 1), inferred=True)
        detached(lambda: sender.send(message), "amqp:link:message-size-exceeded")
        other.put(Message("the session goes on"))


run(
    every_value,
    every_section,
    every_property,
    every_id,
    header,
    high_priority_comes_first,
    large_messages_in_small_frames,
    large_messages_side_by_side,
    too_large_a_message,
)
