"""WebSocket echo with the websockets library: websocket_peer.py server | client URL."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedOK


async def echo(socket):
    async for message in socket:
        if message == "close please":
            await socket.close(4321, "as asked")
            return
        await socket.send(message)


async def server():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as running:
        print("PORT", running.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


def check(what, condition):
    if not condition:
        sys.exit(f"failed: {what}")


async def client(url):
    async with connect(url, max_size=None, proxy=None) as socket:
        for n in range(100):
            await socket.send(f"hello {n}")
            check(f"message {n}", await socket.recv() == f"hello {n}")
        large = bytes(range(256)) * 4096
        await socket.send(large)
        check("1 MiB", await socket.recv() == large)
        await socket.send([b"in ", b"three ", b"fragments"])
        check("fragments", await socket.recv() == b"in three fragments")
        await asyncio.wait_for(await socket.ping(), 20)
        for n in range(50):
            await socket.send(f"ahead {n}")
        check("fifty ahead", [await socket.recv() for _ in range(50)] == [f"ahead {n}" for n in range(50)])
    check("a close from here", socket.close_code == 1000)
    async with connect(url, proxy=None) as socket:
        await socket.send("close please")
        try:
            await socket.recv()
        except Exception:
            pass
        check("a close from there", socket.close_code == 4321 and socket.close_reason == "as asked")
    print("fine")


if sys.argv[1] == "server":
    asyncio.run(server())
else:
    asyncio.run(client(sys.argv[2]))
