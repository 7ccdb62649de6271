"""gRPC at both ends, without generated code: grpc_peer.py server | client ADDRESS | code ADDRESS | broken ADDRESS.

The bytes of a message are the message. The methods are named after what they do.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
cancelled = threading.Event()
# What the server says of its health: 1 is SERVING, 2 NOT_SERVING.
health = {"status": 1}


def unary(request, context):
    context.send_initial_metadata((("x-initial", "early"),))
    context.set_trailing_metadata((("x-trailing", "late"), ("x-binary-bin", b"\x00\x01\xff")))
    for key, value in context.invocation_metadata():
        if key == "x-mine":
            return value.encode()
    return request


def fail(request, context):
    context.abort(grpc.StatusCode(tuple(c.value for c in grpc.StatusCode)[int(request)]), "wei\u00df nicht\n")


def collect(requests, context):
    return b",".join(requests)


def count(request, context):
    for n in range(int(request)):
        yield str(n).encode()


def echo(requests, context):
    for request in requests:
        yield request


def break_off(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


def sleep(request, context):
    context.add_callback(cancelled.set)
    time.sleep(float(request))
    return b"awake"


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(20) else b"no"


def health_check(request, context):
    # HealthCheckRequest { service = "test.Peer" }, or an empty one.
    if request not in (b"", b"\x0a\x09test.Peer"):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return bytes([0x08, health["status"]])


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(32), options=OPTIONS)
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "BreakOff": grpc.unary_stream_rpc_method_handler(break_off),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", methods),))
    checks = {"Check": grpc.unary_unary_rpc_method_handler(health_check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", checks),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("PORT", port, flush=True)
    for line in sys.stdin:
        health["status"] = int(line)
    server.wait_for_termination()


def check(what, got, wanted):
    if got != wanted:
        sys.exit(f"failed: {what}: got {got!r}, wanted {wanted!r}")


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None, None


def ask(address):
    channel = grpc.insecure_channel(address, options=OPTIONS)
    bound = {"timeout": 30}
    unary = channel.unary_unary("/test.Peer/Unary")

    answer, call = unary.with_call(b"hello", **bound)
    check("unary", answer, b"hello")
    check("initial metadata", dict(call.initial_metadata()).get("x-initial"), "early")
    trailing = dict(call.trailing_metadata())
    check("trailing metadata", trailing.get("x-trailing"), "late")
    check("binary metadata", trailing.get("x-binary-bin"), b"\x00\x01\xff")
    check("status", call.code(), grpc.StatusCode.OK)
    check("metadata", unary(b"", metadata=(("x-mine", "v"),), **bound), b"v")
    check("an empty message", unary(b"", **bound), b"")
    large = bytes(range(256)) * 16_384
    check("4 MiB", unary(large, **bound), large)
    answers = [unary.future(str(n).encode(), **bound) for n in range(100)]
    check("100 at once", [a.result() for a in answers], [str(n).encode() for n in range(100)])

    fail = channel.unary_unary("/test.Peer/Fail")
    for n, code in enumerate(grpc.StatusCode):
        if code is not grpc.StatusCode.OK:
            got = code_of(lambda: fail(str(n).encode(), **bound))
            check(f"status {code}", got, (code, "wei\u00df nicht\n"))
    got, _ = code_of(lambda: channel.unary_unary("/test.Peer/Nothing")(b"", **bound))
    check("an unknown method: trailers only", got, grpc.StatusCode.UNIMPLEMENTED)

    collect = channel.stream_unary("/test.Peer/Collect")
    check("client stream", collect((str(n).encode() for n in range(5)), **bound), b"0,1,2,3,4")
    check("an empty client stream", collect(iter(()), **bound), b"")
    count = channel.unary_stream("/test.Peer/Count")
    check("server stream", list(count(b"1000", **bound)), [str(n).encode() for n in range(1000)])
    check("an empty server stream", list(count(b"0", **bound)), [])

    # Each message is sent when the one before has come back: nothing may be held back on the way.
    came = threading.Semaphore(1)

    def one_by_one():
        for n in range(20):
            if not came.acquire(timeout=20):
                return
            yield str(n).encode()

    got = []
    for message in channel.stream_stream("/test.Peer/Echo")(one_by_one(), **bound):
        got.append(message)
        came.release()
    check("bidirectional", got, [str(n).encode() for n in range(20)])

    stream = channel.unary_stream("/test.Peer/BreakOff")(b"", **bound)
    got = []

    def drain():
        for message in stream:
            got.append(message)

    check("a stream that fails", code_of(drain), (grpc.StatusCode.DATA_LOSS, "in the middle"))
    check("what came before", got, [b"one", b"two"])

    call = channel.unary_unary("/test.Peer/Sleep").future(b"10", **bound)
    time.sleep(0.5)
    call.cancel()
    check("cancellation at the server", channel.unary_unary("/test.Peer/WasCancelled")(b"", **bound), b"yes")
    got, _ = code_of(lambda: channel.unary_unary("/test.Peer/Sleep")(b"5", timeout=0.5))
    check("a deadline", got, grpc.StatusCode.DEADLINE_EXCEEDED)
    print("fine")


def code(address):
    """The status of one call, for what the proxy answers by itself."""
    channel = grpc.insecure_channel(address)
    got, details = code_of(lambda: channel.unary_unary("/test.Peer/Unary")(b"", timeout=30))
    print(got.name if got else "OK", details)


def broken(address):
    """The status of one stream that the server ends after two messages."""
    channel = grpc.insecure_channel(address)
    got, _ = code_of(lambda: list(channel.unary_stream("/test.Peer/BreakOff")(b"", timeout=30)))
    print(got.name if got else "OK")


if sys.argv[1] == "server":
    serve()
elif sys.argv[1] == "client":
    ask(sys.argv[2])
elif sys.argv[1] == "broken":
    broken(sys.argv[2])
else:
    code(sys.argv[2])
