"""Proton comes in as alice, whose password is secret, by every mechanism that a hub with users has; and nobody else does."""

import sys

from proton import ConnectionException, Message, SASL
from proton.utils import BlockingConnection

assert SASL.extended(), "this Proton has no SCRAM"


def opened(mechanism, user="alice", password="secret"):
    by = {"allowed_mechs": mechanism, "allow_insecure_mechs": True, "user": user, "password": password}
    return BlockingConnection("127.0.0.1:" + sys.argv[1], timeout=20, **by)


# Without a mechanism named, Proton takes the strongest that it finds.
for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", None]:
    connection = opened(mechanism)
    sender = connection.create_sender("queues/q")
    sender.send(Message(body="an order"))
    connection.close()

for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "ANONYMOUS"]:
    for user, password in [("alice", "guess"), ("bob", "secret")]:
        try:
            opened(mechanism, user, password)
        except ConnectionException as error:
            assert "unauthorized-access" in str(error), error
        else:
            raise AssertionError(f"{user} with {password} by {mechanism}")

print("all checks passed")
