"""Proton at the hub: logs, read from an offset, a sequence number and a time, by two groups, with epochs."""

import time

from proton import Message, symbol
from proton.reactor import LinkOption, Selector
from proton_peer import ACCEPTED, Peer, detached, run

LOG = "logs/events"


class Epoch(LinkOption):
    def __init__(self, epoch):
        self.epoch = epoch

    def apply(self, link):
        link.properties = {symbol("epoch"): self.epoch}


def since(name, value):
    return Selector(f"amqp.annotation.{name} > '{value}'")


def annotations(message):
    return {str(key): value for key, value in message.annotations.items()}


def bodies(receiver, count, state=ACCEPTED):
    return [receiver.take(state).body for _ in range(count)]


def manage(operation, body=None):
    with Peer() as peer:
        answers = peer.receiver(None, dynamic=True, credit=1)
        request = Message(properties={"operation": operation, "name": LOG, "type": "log"}, body=body)
        request.reply_to = answers.link.remote_source.address
        peer.sender("$management").put(request)
        answer = answers.take()
        assert answer.properties["status-code"] in (200, 201), answer
        return answer.body


def declared():
    made = manage("CREATE", {"partitions": 2, "bytes_max": 1 << 20})
    assert made["partition_count"] == 2 and len(made["partitions"]) == 2, made


def appended_and_read_from_everywhere():
    with Peer() as peer:
        sender = peer.sender(f"{LOG}/0")
        sender.put("zero", "one")
        time.sleep(0.05)
        middle = int(time.time() * 1000)
        time.sleep(0.05)
        sender.put("two", "three")
        reader = peer.receiver(f"{LOG}/0")
        told = [annotations(reader.take()) for _ in range(4)]
        assert [found["x-opt-sequence-number"] for found in told] == [0, 1, 2, 3], told
        assert [found["x-opt-offset"] for found in told] == ["0", "1", "2", "3"], told
        assert told[1]["x-opt-enqueued-time"] < middle < told[2]["x-opt-enqueued-time"], (told, middle)
        assert reader.empty()
        for option, wanted in (
            (since("x-opt-offset", "1"), ["two", "three"]),
            (since("x-opt-sequence-number", 2), ["three"]),
            (since("x-opt-enqueued-time", middle), ["two", "three"]),
            (since("x-opt-offset", "-1"), ["zero", "one", "two", "three"]),
        ):
            assert bodies(peer.receiver(f"{LOG}/0", options=option), len(wanted)) == wanted
        live = peer.receiver(f"{LOG}/0", credit=1, options=since("x-opt-offset", "@latest"))
        sender.put("four")
        assert live.take().body == "four"


def other_selectors_are_refused():
    with Peer() as peer:
        wrong = Selector("amqp.annotation.x-opt-offset < '3'")
        detached(lambda: peer.receiver(f"{LOG}/0", options=wrong), "amqp:not-implemented")


def two_groups_go_on_where_they_were():
    one, two = (f"{LOG}/ConsumerGroups/{group}/Partitions/0" for group in ("one", "two"))
    with Peer() as peer:
        assert bodies(peer.receiver(one), 3) == ["zero", "one", "two"]
        assert bodies(peer.receiver(two), 1) == ["zero"]
    with Peer() as peer:
        assert bodies(peer.receiver(one), 2) == ["three", "four"]
        assert bodies(peer.receiver(two), 4) == ["one", "two", "three", "four"]
    groups = manage("READ")["partitions"][0]["groups"]
    assert groups == {"one": 5, "two": 5}, groups


def a_higher_epoch_takes_over():
    address = f"{LOG}/ConsumerGroups/epochs/Partitions/1"
    with Peer() as low, Peer() as high:
        first = low.receiver(address, credit=1, options=Epoch(1))
        second = high.receiver(address, credit=1, options=Epoch(2))
        detached(first.take, "amqp:link:stolen")
        detached(lambda: low.receiver(address, options=Epoch(1)), "amqp:link:stolen")
        high.sender(f"{LOG}/1").put("x")
        assert second.take().body == "x"


def messages_of_a_group_stay_in_order():
    with Peer() as peer:
        sender = peer.sender(LOG)
        for number in range(12):
            message = Message(str(number))
            message.group_id = f"key {number % 3}"
            sender.put(message)
        seen = {}
        reader = peer.receiver(LOG)
        for _ in range(5 + 1 + 12):
            message = reader.take()
            told = annotations(message)
            if "x-opt-partition-key" in told:
                found = seen.setdefault(told["x-opt-partition-key"], (told["x-opt-roadbed-partition"], []))
                assert found[0] == told["x-opt-roadbed-partition"], (found, told)
                found[1].append(int(message.body))
        assert sorted(seen) == ["key 0", "key 1", "key 2"], seen
        assert all(numbers == sorted(numbers) and len(numbers) == 4 for _, numbers in seen.values()), seen


run(
    declared,
    appended_and_read_from_everywhere,
    other_selectors_are_refused,
    two_groups_go_on_where_they_were,
    a_higher_epoch_takes_over,
    messages_of_a_group_stay_in_order,
)
