"""paho-mqtt at the hub: every QoS over 3.1.1 and 5.0, properties, kept sessions, takeover, wills, shared subscriptions."""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
# `tcp` or `websockets`
ROAD = sys.argv[2] if len(sys.argv) > 2 else "tcp"
# The authority that has signed the hub's certificate, if it speaks TLS.
CA = sys.argv[3] if len(sys.argv) > 3 else None
PATIENCE = 10


class Peer:
    """A client whose events wait in queues."""

    def __init__(self, name, version=mqtt.MQTTv5, clean=True, will=None, expiry=0):
        keep = {"clean_session": clean} if version != mqtt.MQTTv5 else {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=version, transport=ROAD, **keep)
        self.connected, self.messages, self.subscribed, self.closed = (queue.Queue() for _ in range(4))
        self.client.on_connect = lambda c, u, flags, reason, p: self.connected.put((flags, reason, p))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.subscribed.put(reasons)
        self.client.on_disconnect = lambda c, u, flags, reason, p: self.closed.put(reason)
        if will:
            self.client.will_set(will, b"gone", qos=1)
        if CA:
            self.client.tls_set(ca_certs=CA)
        arguments = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            arguments = {"clean_start": clean, "properties": properties}
        self.client.connect("127.0.0.1", PORT, **arguments)
        self.client.loop_start()
        self.flags, reason, self.properties = self.connected.get(timeout=PATIENCE)
        assert not reason.is_failure, reason

    def subscribe(self, topic, qos=2, **options):
        if options:
            self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
        else:
            self.client.subscribe(topic, qos)
        return self.subscribed.get(timeout=PATIENCE)

    def publish(self, topic, payload, qos, **more):
        self.client.publish(topic, payload, qos, **more).wait_for_publish(PATIENCE)

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def silent(self):
        try:
            return self.messages.get(timeout=0.2) is None
        except queue.Empty:
            return True

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def cut(self):
        """As a lost connection: no DISCONNECT."""
        self.client.loop_stop()
        self.client._sock_close()


def every_qos():
    for version in (mqtt.MQTTv311, mqtt.MQTTv5):
        peer = Peer(f"qos-{version}", version)
        for qos in (0, 1, 2):
            peer.subscribe(f"paho/{version}/{qos}", qos)
            for payload in (b"", b"x", bytes(range(256)) * 256, b"\xff\xfe"):
                peer.publish(f"paho/{version}/{qos}", payload, qos)
                message = peer.next()
                assert (message.payload, message.qos, message.retain) == (payload, qos, False), message
        assert peer.silent()
        peer.close()


def many_in_flight():
    sender, receiver = Peer("many-sender"), Peer("many-receiver")
    for qos in (1, 2):
        receiver.subscribe(f"many/{qos}", qos)
        infos = [sender.client.publish(f"many/{qos}", str(n), qos) for n in range(500)]
        for info in infos:
            info.wait_for_publish(PATIENCE)
        assert [int(receiver.next().payload) for _ in range(500)] == list(range(500))
        assert receiver.silent()
    sender.close()
    receiver.close()


def properties_cross():
    peer = Peer("properties")
    peer.subscribe("properties", 1)
    sent = Properties(PacketTypes.PUBLISH)
    sent.ContentType, sent.ResponseTopic, sent.CorrelationData = "text/plain", "answers/1", b"\x00\x01"
    sent.MessageExpiryInterval, sent.PayloadFormatIndicator = 60, 1
    sent.UserProperty = [("unit", "°C"), ("unit", "K"), ("a", "b")]
    peer.publish("properties", b"21", 1, properties=sent)
    got = peer.next().properties
    assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "answers/1", b"\x00\x01")
    assert 0 < got.MessageExpiryInterval <= 60 and got.PayloadFormatIndicator == 1
    assert got.UserProperty == [("unit", "°C"), ("unit", "K"), ("a", "b")], got.UserProperty
    peer.close()


def subscription_identifiers():
    peer = Peer("identifiers")
    for topic, number in (("ids/#", 7), ("ids/+", 300)):
        properties = Properties(PacketTypes.SUBSCRIBE)
        properties.SubscriptionIdentifier = number
        peer.client.subscribe(topic, options=SubscribeOptions(qos=1), properties=properties)
        peer.subscribed.get(timeout=PATIENCE)
    peer.publish("ids/1", b"x", 1)
    assert sorted(peer.next().properties.SubscriptionIdentifier) == [7, 300]
    assert peer.silent(), "overlapping subscriptions deliver once"
    peer.close()


def retained_and_options():
    peer = Peer("retained")
    peer.publish("retained/1", b"kept", 1, retain=True)
    peer.subscribe("retained/1", 1)
    assert peer.next().retain
    peer.subscribe("retained/1", 1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    assert peer.silent()
    peer.subscribe("own/1", 1, noLocal=True)
    peer.publish("own/1", b"mine", 1)
    assert peer.silent(), "no local"
    peer.publish("retained/1", b"", 1, retain=True)
    peer.close()


def kept_sessions():
    for version in (mqtt.MQTTv311, mqtt.MQTTv5):
        name = f"kept-{version}"
        peer = Peer(name, version, clean=False, expiry=60)
        assert not peer.flags.session_present
        peer.subscribe("kept/#", 2)
        peer.close()
        other = Peer(f"other-{version}")
        for qos in (1, 2):
            other.publish(f"kept/{qos}", b"kept", qos)
        other.close()
        peer = Peer(name, version, clean=False, expiry=60)
        assert peer.flags.session_present
        got = [(message.topic, message.qos) for message in (peer.next(), peer.next())]
        assert got == [("kept/1", 1), ("kept/2", 2)], got
        assert peer.silent()
        peer.close()
        Peer(name, version, clean=True).close()


def takeover():
    first = Peer("same", will="will/same")
    witness = Peer("witness")
    witness.subscribe("will/same", 1)
    first.client.reconnect_delay_set(60, 60)
    second = Peer("same")
    reason = first.closed.get(timeout=PATIENCE)
    assert reason.value == 0x8E, reason
    assert witness.next().payload == b"gone", "the first one's will"
    for peer in (first, second, witness):
        peer.close()


def wills():
    witness = Peer("will-witness")
    witness.subscribe("wills/#", 1)
    for version in (mqtt.MQTTv311, mqtt.MQTTv5):
        Peer(f"dying-{version}", version, will=f"wills/{version}").cut()
        assert witness.next().topic == f"wills/{version}"
        Peer(f"leaving-{version}", version, will=f"wills/{version}").close()
        assert witness.silent()
    witness.close()


def shared():
    members = [Peer(f"member-{n}") for n in range(3)]
    for member in members:
        member.subscribe("$share/group/shared", 1)
    sender = Peer("sharer")
    for n in range(90):
        sender.publish("shared", str(n), 1)
    sender.close()
    counts = []
    for member in members:
        count = 0
        while not member.silent():
            count += 1
        counts.append(count)
        member.close()
    assert sum(counts) == 90 and all(counts), counts


def assigned_names():
    peer = Peer("")
    assert peer.properties.AssignedClientIdentifier
    peer.close()


for check in (
    every_qos,
    many_in_flight,
    properties_cross,
    subscription_identifiers,
    retained_and_options,
    kept_sessions,
    takeover,
    wills,
    shared,
    assigned_names,
):
    check()
    print("ok", check.__name__, flush=True)
print("all checks passed")
