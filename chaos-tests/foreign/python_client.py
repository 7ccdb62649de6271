"""http.client or aiohttp against the proxy: python_client.py (http.client|aiohttp) (get|full) PROXY ORIGIN.

What comes through the proxy is compared with what comes straight from the origin. `get` leaves out what a server
of files cannot do.
"""

import asyncio
import http.client
import sys

import aiohttp

client, extent, proxy, origin = sys.argv[1:]
LARGE = bytes(range(256)) * 8192


def check(what, condition):
    if not condition:
        sys.exit(f"failed: {what}")


def plain():
    direct = http.client.HTTPConnection(origin)
    direct.request("GET", "/bytes/1000000")
    wanted = direct.getresponse().read()
    check("the origin itself", len(wanted) == 1_000_000)

    connection = http.client.HTTPConnection(proxy)
    connection.request("GET", "/bytes/1000")
    connection.getresponse().read()
    socket = connection.sock
    for n in range(50):
        connection.request("GET", "/bytes/1000")
        response = connection.getresponse()
        check(f"answer {n}", response.status == 200 and response.read() == wanted_start(wanted))
    check("one connection for all", connection.sock is socket)
    connection.request("GET", "/bytes/1000000")
    check("a large body", connection.getresponse().read() == wanted)
    connection.request("HEAD", "/bytes/1000")
    response = connection.getresponse()
    check("HEAD", response.read() == b"" and response.headers["content-length"] == "1000")
    connection.request("GET", "/bytes/1000")
    check("after HEAD", len(connection.getresponse().read()) == 1000)
    if extent == "get":
        return
    connection.request("POST", "/echo", LARGE)
    check("an echo with a length", connection.getresponse().read() == LARGE)
    pieces = (LARGE[at : at + 30_011] for at in range(0, len(LARGE), 30_011))
    connection.request("POST", "/echo", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    check("an echo in chunks", connection.getresponse().read() == LARGE)
    connection.request("PUT", "/echo", b"")
    check("an empty echo", connection.getresponse().read() == b"")


def wanted_start(_wanted, cache={}):
    if "bytes" not in cache:
        direct = http.client.HTTPConnection(origin)
        direct.request("GET", "/bytes/1000")
        cache["bytes"] = direct.getresponse().read()
    return cache["bytes"]


def broken():
    connection = http.client.HTTPConnection(proxy)
    connection.request("GET", "/abort")
    try:
        response = connection.getresponse()
        read = response.read()
    except (http.client.HTTPException, ConnectionError):
        return
    sys.exit(f"failed: a body that broke off ended cleanly: {response.status}, {len(read)} bytes")


async def asynchronous():
    async with aiohttp.ClientSession(f"http://{proxy}") as session, aiohttp.ClientSession(f"http://{origin}") as direct:

        async def get(path, session=session):
            async with session.get(path) as response:
                check(path, response.status == 200)
                return await response.read()

        wanted = await get("/bytes/100000", direct)
        answers = await asyncio.gather(*(get("/bytes/100000") for _ in range(60)))
        check("sixty at once", all(answer == wanted for answer in answers))
        for _ in range(10):
            async with session.get("/bytes/9000000") as response:
                await response.content.readexactly(1000)
                response.close()
        check("after ten that went away", await get("/bytes/100000") == wanted)
        if extent == "get":
            return

        async def pieces():
            for at in range(0, len(LARGE), 50_021):
                yield LARGE[at : at + 50_021]

        async with session.post("/echo", data=pieces()) as response:
            check("an echo in chunks", await response.read() == LARGE)
        async with session.post("/echo", data=LARGE, expect100=True) as response:
            check("an echo after 100-continue", await response.read() == LARGE)
        try:
            async with session.get("/abort") as response:
                read = await response.read()
        except aiohttp.ClientError:
            return
        sys.exit(f"failed: a body that broke off ended cleanly: {len(read)} bytes")


if client == "http.client":
    plain()
    if extent == "full":
        broken()
else:
    asyncio.run(asynchronous())
print("fine")
