"""aiomqtt at the hub: every QoS over 3.1.1 and 5.0, many tasks, wills."""

import asyncio
import sys

import aiomqtt

PORT = int(sys.argv[1])
# Over TLS: the authority that has signed the hub's certificate, and our own certificate and key.
FILES = sys.argv[2:]
TLS = {"tls_params": aiomqtt.TLSParameters(*FILES)} if FILES else {}
VERSIONS = (aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5)


def client(name, version, **more):
    return aiomqtt.Client("127.0.0.1", PORT, identifier=name, protocol=version, **TLS, **more)


async def every_qos():
    for version in VERSIONS:
        async with client(f"aio-{version}", version) as peer:
            await peer.subscribe(f"aio/{version}/#", qos=2)
            sent = [(qos, payload) for qos in (0, 1, 2) for payload in (b"", b"x", b"\xff" * 65536)]
            for qos, payload in sent:
                await peer.publish(f"aio/{version}/{qos}", payload, qos=qos)
            for qos, payload in sent:
                message = await anext(peer.messages)
                assert (message.qos, message.payload) == (qos, payload), message


async def many_tasks():
    async with client("aio-many", VERSIONS[1], max_concurrent_outgoing_calls=50) as sender:
        async with client("aio-reader", VERSIONS[1]) as reader:
            await reader.subscribe("aio-many/+", qos=2)
            await asyncio.gather(*(sender.publish(f"aio-many/{n}", b"x", qos=2) for n in range(200)))
            got = sorted([int(str((await anext(reader.messages)).topic).split("/")[1]) for _ in range(200)])
            assert got == list(range(200))


async def wills():
    async with client("aio-witness", VERSIONS[1]) as witness:
        await witness.subscribe("aio-will", qos=1)
        will = aiomqtt.Will("aio-will", b"gone", qos=1)
        dying = client("aio-dying", VERSIONS[1], will=will)
        await dying.__aenter__()
        dying._client._sock_close()
        assert (await anext(witness.messages)).payload == b"gone"


async def main():
    for check in (every_qos, many_tasks, wills):
        await asyncio.wait_for(check(), 15)
        print("ok", check.__name__, flush=True)
    print("all checks passed")


asyncio.run(main())
