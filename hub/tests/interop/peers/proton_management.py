"""Proton asks $management and $cbs, by its own request and response. The port is the argument; ends with 0 if all is so."""

import sys

from proton import Message, int32, ulong
from proton.utils import BlockingConnection, SyncRequestResponse

connection = BlockingConnection("127.0.0.1:" + sys.argv[1], timeout=20)
management = SyncRequestResponse(connection, "$management")


def ask(operation, name, body=None, status=200):
    answer = management.call(Message(properties={"operation": operation, "name": name}, body=body))
    told = answer.properties
    assert told["statusCode"] == told["status-code"] == status, (operation, name, told)
    assert isinstance(told["statusCode"], int32), told
    return answer.body


# What a page of the documentation says.
made = ask("CREATE", "queues/orders", {"messages_max": 1000, "overflow": "drop-oldest"}, 201)
assert made["messages_max"] == 1000 and made["overflow"] == "drop-oldest", made
ask("CREATE", "queues/orders")
ask("UPDATE", "queues/orders", {"deliveries_max": 3, "history": ulong(7)})
ask("BIND", "queues/orders", {"filter": "shop/+/order", "qos": 2})

sender = connection.create_sender("shop/1/order")
for number in range(5):
    sender.send(Message(id=number, body="an order"))
sender.close()

described = ask("READ", "queues/orders")
assert described["available"] == 5 and described["deliveries_max"] == 3 and described["history"] == 7, described
assert [found["filter"] for found in described["filters"]] == ["shop/+/order"], described
assert ask("UNBIND", "queues/orders", {"filter": "shop/+/order"})["found"] is True
assert ask("PURGE", "queues/orders")["count"] == 5
ask("DELETE", "queues/orders", status=204)
ask("READ", "queues/orders", status=404)
ask("CREATE", "queues/orders", {"mesages_max": 1}, 400)
ask("CREATE", "shop/1/order", status=400)
ask("EXPLODE", "queues/orders", status=501)

# As other brokers' libraries do it: the receiver comes from the node, and its target is a name of its own.
receiver = connection.create_receiver("$cbs", name="cbs-replies")
receiver.close()
tokens = SyncRequestResponse(connection, "$cbs")
answer = tokens.call(Message(properties={"operation": "put-token", "type": "amqp:jwt", "name": "amqp://here/queues/q"}, body="a token"))
assert answer.properties["status-code"] == 202, answer.properties
answer = tokens.call(Message(properties={"operation": "put-token", "type": "amqp:jwt"}, body={"no": "token"}))
assert answer.properties["status-code"] == 400, answer.properties

connection.close()
print("all checks passed")
