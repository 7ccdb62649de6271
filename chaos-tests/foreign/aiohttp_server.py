"""An origin on aiohttp: /echo, /bytes/N, /chunked/N, /abort, /head, /ws. Says its port."""

import asyncio
import json

from aiohttp import WSMsgType, web


def pattern(length):
    return bytes((i * 7 + i // 251) % 256 for i in range(min(length, 251 * 256))) * (length // (251 * 256) + 1)


async def echo(request):
    if "Expect" in request.headers:
        # Whoever waits for a 100 must not see the answer begin before it.
        return web.Response(body=await request.read())
    response = web.StreamResponse()
    if request.content_length is not None:
        response.content_length = request.content_length
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def some_bytes(request):
    length = int(request.match_info["length"])
    return web.Response(body=pattern(length)[:length])


async def chunked(request):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for n in range(int(request.match_info["chunks"])):
        await response.write(f"chunk {n}\n".encode())
    await response.write_eof()
    return response


async def abort(request):
    response = web.StreamResponse()
    response.content_length = 100_000
    await response.prepare(request)
    await response.write(b"x" * 1000)
    await asyncio.sleep(0.05)
    request.transport.abort()
    return response


async def head(request):
    return web.Response(text=json.dumps({"method": request.method, "headers": list(request.headers.items())}))


async def websocket(request):
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def main():
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/bytes/{length}", some_bytes)
    app.router.add_get("/chunked/{chunks}", chunked)
    app.router.add_get("/abort", abort)
    app.router.add_get("/head", head)
    app.router.add_get("/ws", websocket)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("PORT", site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
