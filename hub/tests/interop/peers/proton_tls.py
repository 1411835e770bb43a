"""Proton over TLS: `PORT CA [CERT KEY]`; with a certificate, EXTERNAL."""

import sys

from proton import Message, SSLDomain
from proton.utils import BlockingConnection

PORT, CA, *OWN = sys.argv[1:]

domain = SSLDomain(SSLDomain.MODE_CLIENT)
domain.set_trusted_ca_db(CA)
domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
if OWN:
    domain.set_credentials(*OWN, None)
mechanism = "EXTERNAL" if OWN else "ANONYMOUS"
connection = BlockingConnection(f"amqps://localhost:{PORT}", timeout=20, ssl_domain=domain, allowed_mechs=mechanism)
sender, receiver = connection.create_sender("queues/tls"), connection.create_receiver("queues/tls", credit=10)
for body in ("x", "y" * 100_000):
    sender.send(Message(body))
    assert receiver.receive(timeout=20).body == body
    receiver.accept()
connection.close()
print("ok", mechanism)
print("all checks passed")
