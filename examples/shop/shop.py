#!/usr/bin/env python3
"""A small shop to break: three apps over four services and a cache, in one process, with nothing but Python's library.

    storefront ──> catalogue, recommendations, cache (session)
    checkout ────> cache (session), inventory, payments
    admin ───────> payments, inventory

Every arrow goes through Outrigger: HTTP by the name of the service, the cache by a TCP proxy. Each app does what applications
do: it waits for so long and no longer, and where a dependency is not essential, it says what is missing. With one exception,
which is left in on purpose; the drill finds it (look for `patience=None`).

Addresses can be set by the environment: SHOP_PROXY, SHOP_CACHE_PROXY, SHOP_CHECKOUT, SHOP_PAYMENTS_1, and so on.
"""

import http.client
import json
import os
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESSES = {
    "PROXY": "127.0.0.1:8080",
    "CACHE_PROXY": "127.0.0.1:6380",
    "CACHE": "127.0.0.1:6379",
    "CHECKOUT": "127.0.0.1:7001",
    "STOREFRONT": "127.0.0.1:7002",
    "ADMIN": "127.0.0.1:7003",
    "PAYMENTS_1": "127.0.0.1:7011",
    "PAYMENTS_2": "127.0.0.1:7012",
    "INVENTORY_1": "127.0.0.1:7021",
    "INVENTORY_2": "127.0.0.1:7022",
    "CATALOGUE_1": "127.0.0.1:7031",
    "CATALOGUE_2": "127.0.0.1:7032",
    "RECOMMENDATIONS_1": "127.0.0.1:7041",
    "RECOMMENDATIONS_2": "127.0.0.1:7042",
}
# How long an app waits for a dependency, in seconds.
PATIENCE = 0.4


def address(name):
    host, port = os.environ.get("SHOP_" + name, ADDRESSES[name]).rsplit(":", 1)
    return host, int(port)


class Missing(Exception):
    """A dependency did not answer, or not well."""


def call(service, method="GET", path="/", body=None, patience=PATIENCE):
    """Asks a service by way of Outrigger. Its answer, and whether it is a fallback's."""
    host, port = address("PROXY")
    connection = http.client.HTTPConnection(host, port, timeout=patience)
    try:
        connection.request(method, path, body=body, headers={"Host": service})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Missing(f"{service}: status {answer.status}")
        return json.loads(text), answer.getheader("Outrigger-Degraded")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Missing(f"{service}: {error}") from error
    finally:
        connection.close()


def session():
    """Who is here, from the cache."""
    try:
        with socket.create_connection(address("CACHE_PROXY"), timeout=PATIENCE) as connection:
            connection.sendall(b"get session\n")
            line = connection.makefile("rb").readline()
    except OSError as error:
        raise Missing(f"cache: {error}") from error
    if not line:
        raise Missing("cache: it closed the connection")
    return line.decode().strip()


# The services. Each answers the same to everyone.


def payments(method, path):
    return {"charged": "12.00"} if method == "POST" else {"payments": ["12.00", "7.50"]}


def inventory(method, path):
    return {"reserved": 1} if method == "POST" else {"stock": {"lamp": 3, "chair": 8}}


def catalogue(method, path):
    return {"products": ["lamp", "chair"]}


def recommendations(method, path):
    return {"recommendations": ["desk"]}


# The apps: a status, a body, and what a fallback's mark was.


def storefront(method, path):
    missing = []
    products, stale = call("catalogue")
    try:
        also, fallback = call("recommendations")
    except Missing:
        also, fallback = {"recommendations": []}, None
        missing.append("recommendations")
    try:
        hello = session()
    except Missing:
        hello = "guest"
        missing.append("session")
    return 200, {"hello": hello, **products, **also, "missing": missing}, stale or fallback


def checkout(method, path):
    customer = session()
    call("inventory", "POST", "/reserve", body="{}")
    try:
        call("payments", "POST", "/charge", body="{}")
    except Missing:
        # The order is taken, and charged when payments are back.
        return 202, {"customer": customer, "payment": "pending"}, None
    return 200, {"customer": customer, "payment": "charged"}, None


def admin(method, path):
    orders, _ = call("payments")
    try:
        stock, _ = call("inventory", patience=None)
    except Missing:
        stock = {"stock": "unknown"}
    return 200, {**orders, **stock}, None


def serve(name, answer, headers=()):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, mark = 200, None
            try:
                body = answer(self.command, self.path)
                if isinstance(body, tuple):
                    status, body, mark = body
            except Missing as error:
                status, body = 503, {"error": str(error)}
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            for field, value in headers:
                self.send_header(field, value)
            if mark:
                self.send_header("Outrigger-Degraded", mark)
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_):
            pass  # whoever hung up has hung up

    server = Server(address(name), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Cache(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline():
            self.wfile.write(b"ada\n")


class CacheServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_):
        pass


def main():
    for number in ("1", "2"):
        serve("PAYMENTS_" + number, payments)
        serve("INVENTORY_" + number, inventory)
        # Fresh for a second; for ten minutes more it will do where there is nothing better.
        serve("CATALOGUE_" + number, catalogue, [("Cache-Control", "max-age=1")])
        serve("RECOMMENDATIONS_" + number, recommendations)
    threading.Thread(target=CacheServer(address("CACHE"), Cache).serve_forever, daemon=True).start()
    for name, app in (("CHECKOUT", checkout), ("STOREFRONT", storefront), ("ADMIN", admin)):
        serve(name, app)
    print("the shop is open: http://%s:%d/" % address("STOREFRONT"), flush=True)
    if "--end-with-stdin" in sys.argv:
        # For whoever starts this as a child and may be killed.
        sys.stdin.buffer.read()
    else:
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
