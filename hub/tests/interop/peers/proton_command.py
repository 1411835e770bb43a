"""Proton as a command: `send ADDRESS BODY-IN-HEX [NAME=VALUE…]`, or `receive ADDRESS COUNT OUTCOME`, a JSON object for each message."""

import json
import sys

from proton import Delivery, Message, symbol
from proton_peer import Peer, settle

what, address, *rest = sys.argv[2:]

with Peer() as peer:
    if what == "send":
        body, *properties = rest
        message = Message(bytes.fromhex(body), inferred=True, id="the-id", correlation_id="the-correlation", subject="about")
        message.content_type, message.reply_to = symbol("text/plain"), "answers/1"
        message.properties = dict(pair.split("=", 1) for pair in properties)
        outcome = peer.sender(address).send(message)
        print("OUTCOME", outcome.remote_state, outcome.remote.condition, flush=True)
    else:
        count, outcome = rest
        receiver = peer.receiver(address, credit=int(count))
        print("READY", flush=True)
        for _ in range(int(count)):
            message, delivery = receiver.next()
            plain = bytes(message.body) if isinstance(message.body, (bytes, memoryview)) else message.body
            told = {
                "body": plain.hex() if isinstance(plain, bytes) else plain,
                "to": message.address,
                "subject": message.subject,
                "content_type": str(message.content_type or ""),
                "reply_to": message.reply_to,
                "correlation": str(message.correlation_id),
                "count": message.delivery_count,
                "properties": {name: str(value) for name, value in (message.properties or {}).items()},
                "annotations": {str(name): str(value) for name, value in (message.annotations or {}).items()},
            }
            print("MSG", json.dumps(told), flush=True)
            settle(delivery, getattr(Delivery, outcome))
        receiver.close()
