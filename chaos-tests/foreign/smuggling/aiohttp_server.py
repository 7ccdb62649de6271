"""Says, and answers with, what aiohttp has read: one line of JSON for each request. Says its port first."""

import asyncio
import json

from aiohttp import web

counts = {}


def latin1(text):
    """Bytes that are no UTF-8 come as halves of a surrogate pair, which no JSON may hold."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


async def answer(request):
    body = await request.read()
    counts[request.transport] = counts.get(request.transport, 0) + 1
    seen = json.dumps({
        "method": request.method,
        "target": latin1(request._message.path),
        "host": latin1(request.headers.get("Host", "")),
        "body": body.hex(),
        "connection": str(request.transport.get_extra_info("peername")[1]),
        "nth": counts[request.transport],
    })
    print(seen, flush=True)
    return web.Response(text=seen)


async def main():
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("PORT", site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
