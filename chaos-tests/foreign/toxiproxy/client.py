"""toxiproxy-python through all that it offers: client.py API UPSTREAM. What it says does not depend on who answers."""

import socket
import sys
import time

from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

api, upstream = sys.argv[1:]
host, port = api.rsplit(":", 1)
server = Toxiproxy()
server.update_api_consumer(host, int(port))


def say(*what):
    print(*what, flush=True)


def fails(what, error, doing):
    try:
        doing()
        say(what, "did not fail")
    except error as why:
        say(what, type(why).__name__, str(why))


def ask(listen, word=b"ping"):
    """Sends a word through a proxy and waits for it to come back: what came, how it ended, how long it took."""
    began = time.monotonic()
    heard = b""
    try:
        with socket.create_connection(tuple(listen.rsplit(":", 1)), timeout=10) as connection:
            connection.sendall(word)
            while len(heard) < len(word):
                data = connection.recv(100)
                if not data:
                    return heard, "closed", time.monotonic() - began
                heard += data
    except OSError as why:
        return heard, type(why).__name__, time.monotonic() - began
    return heard, "answered", time.monotonic() - began


say("running", server.running(), server.version())
say("reset", server.reset(), server.proxies())
one = server.create(upstream=upstream, name="one")
say("created", one.name, one.enabled, one.upstream == upstream, one.listen.startswith("127.0.0.1:"))
fails("created twice", ProxyExists, lambda: server.create(upstream=upstream, name="one"))
say("asked", *ask(one.listen)[:2])

one.add_toxic(type="latency", attributes={"latency": 300})
say("slow", ask(one.listen)[2] >= 0.3)
toxic = one.get_toxic("latency_downstream")
say("toxic", toxic.type, toxic.stream, toxic.name, toxic.toxicity, sorted(toxic.attributes.items()))
say("none", one.get_toxic("nothing"))
say("destroyed", one.destroy_toxic("latency_downstream"), one.toxics())
fails("destroyed again", NotFound, lambda: one.destroy_toxic("latency_downstream"))

for kind, attributes in [
    ("bandwidth", {"rate": 1000}),
    ("slow_close", {"delay": 10}),
    ("timeout", {"timeout": 10}),
    ("slicer", {"average_size": 2, "size_variation": 1, "delay": 10}),
    ("limit_data", {"bytes": 2}),
    ("reset_peer", {"timeout": 0}),
]:
    one.add_toxic(type=kind, name="a " + kind, toxicity=1, attributes=attributes)
    say(kind, *ask(one.listen)[:2], sorted(one.toxics()["a " + kind].attributes.items()))
    one.destroy_toxic("a " + kind)
one.add_toxic(type="latency", stream="upstream", toxicity=0.25, attributes={"latency": 10, "jitter": 5})
say("both", {name: (t.stream, t.toxicity, sorted(t.attributes.items())) for name, t in one.toxics().items()})
fails("taken", ProxyExists, lambda: one.add_toxic(type="latency", stream="upstream"))
fails("no such type", InvalidToxic, lambda: one.add_toxic(type="nonsense"))
fails("no such stream", InvalidToxic, lambda: one.add_toxic(type="latency", stream="sideways"))

with one.down():
    say("down", one.enabled, ask(one.listen)[1])
say("up", one.enabled, ask(one.listen)[1])
one.disable()
say("disabled", server.get_proxy("one").enabled, ask(one.listen)[1])
say("reset", server.reset(), server.get_proxy("one").enabled, one.toxics(), ask(one.listen)[1])

made = server.populate(
    [
        {"name": "one", "upstream": upstream, "listen": one.listen},
        {"name": "two", "upstream": upstream, "listen": "127.0.0.1:0", "enabled": False},
    ]
)
say("populated", [proxy.name for proxy in made], sorted(server.proxies()), server.get_proxy("two").enabled)
say("nobody", server.get_proxy("nobody"))
fails("no name", InvalidToxic, lambda: server.create(upstream=upstream, name=""))
say("destroyed", server.destroy(one), server.destroy("one"))
fails("destroyed again", NotFound, one.destroy)
server.destroy_all()
say("none", server.proxies(), ask(one.listen)[1])
