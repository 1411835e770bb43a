"""A small broker of Proton's own engine: queues in memory by address, first come first served. The port is the argument."""

import collections
import sys

from proton import Delivery, Endpoint
from proton.handlers import MessagingHandler
from proton.reactor import Container


class Broker(MessagingHandler):
    def __init__(self):
        super().__init__(prefetch=100, auto_accept=False, auto_settle=False)
        self.queues = collections.defaultdict(collections.deque)
        self.readers = collections.defaultdict(list)
        self.under_way = {}

    def on_start(self, event):
        self.listener = event.container.listen("127.0.0.1:" + sys.argv[1])
        print("LISTENING", flush=True)

    def on_link_opening(self, event):
        link = event.link
        if link.is_sender:
            link.source.address, link.snd_settle_mode = link.remote_source.address, link.remote_snd_settle_mode
            self.readers[link.source.address].append(link)
        else:
            link.target.address = link.remote_target.address

    def on_sendable(self, event):
        self.pump(event.link.source.address)

    def on_message(self, event):
        address = event.link.target.address or event.message.address
        if event.message.properties and event.message.properties.get("bad"):
            event.delivery.update(Delivery.REJECTED)
        else:
            self.queues[address].append(event.message)
            event.delivery.update(Delivery.ACCEPTED)
        event.delivery.settle()
        self.pump(address)

    def pump(self, address):
        for link in self.readers[address]:
            while link.credit > 0 and self.queues[address] and link.state & Endpoint.LOCAL_ACTIVE:
                message = self.queues[address].popleft()
                delivery = link.send(message)
                if link.snd_settle_mode == 1:
                    delivery.settle()
                else:
                    self.under_way[delivery.tag, link.name] = (message, address)

    def on_delivery(self, event):
        delivery = event.delivery
        if delivery.link.is_sender and delivery.updated and delivery.remote_state:
            message, address = self.under_way.pop((delivery.tag, delivery.link.name), (None, None))
            if message and delivery.remote_state in (Delivery.RELEASED, Delivery.MODIFIED):
                message.delivery_count += int(delivery.remote_state == Delivery.MODIFIED and delivery.remote.failed)
                self.queues[address].appendleft(message)
            print("OUTCOME", delivery.remote_state, flush=True)
            delivery.settle()

    def on_link_closing(self, event):
        self.drop(event.link)

    def on_disconnected(self, event):
        for links in list(self.readers.values()):
            for link in [link for link in links if link.connection == event.connection]:
                self.drop(link)

    def drop(self, link):
        for links in self.readers.values():
            if link in links:
                links.remove(link)


Container(Broker()).run()
