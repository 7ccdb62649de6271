"""A server whose answer ends with its connection: behind close_notify (`clean`), or just so (`cut`)."""

import socket
import ssl
import sys
import threading

cert, key, ends = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
listener = socket.create_server(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)


def serve(tcp):
    try:
        tls = context.wrap_socket(tcp, server_side=True)
        data = b""
        while b"\r\n\r\n" not in data:
            part = tls.recv(65536)
            if not part:
                return
            data += part
        tls.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 200_000)
        if ends == "clean":
            tls.unwrap()
        tls.shutdown(socket.SHUT_RDWR)
        tls.close()
    except OSError:
        pass


while True:
    tcp, _ = listener.accept()
    threading.Thread(target=serve, args=(tcp,), daemon=True).start()
