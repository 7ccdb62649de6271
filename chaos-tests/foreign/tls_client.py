"""A client of OpenSSL's, as Python has it: does what its argument (JSON) says, and prints JSON of what came of it.

name, port     whom to ask for, and where
ca             a file of authorities; without it nothing is verified
cert, key      what to show
alpn           what to offer
least, most    "1.2" or "1.3"
send           requests, each answered before the next is sent
until_end      read to the end after the last, which has to be a clean one
times          so many connections, one after the other, each with the session of the one before
"""

import json
import socket
import ssl
import sys

asked = json.loads(sys.argv[1])
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

context = ssl.create_default_context(cafile=asked.get("ca"))
if not asked.get("ca"):
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
if asked.get("cert"):
    context.load_cert_chain(asked["cert"], asked["key"])
if asked.get("alpn"):
    context.set_alpn_protocols(asked["alpn"])
if asked.get("least"):
    context.minimum_version = VERSIONS[asked["least"]]
if asked.get("most"):
    context.maximum_version = VERSIONS[asked["most"]]


def answer(tls):
    """One answer with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = tls.recv(65536)
        if not part:
            raise EOFError("the connection ended within a head")
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, value = line.split(b":", 1)
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        part = tls.recv(65536)
        if not part:
            raise EOFError("the connection ended within a body")
        body += part
    return head.decode() + "\r\n\r\n" + body.decode(errors="replace")


def connect(session):
    tcp = socket.create_connection(("127.0.0.1", asked["port"]), timeout=30)
    tls = context.wrap_socket(
        tcp, server_hostname=asked.get("name"), session=session, suppress_ragged_eofs=False
    )
    told = {"version": tls.version(), "alpn": tls.selected_alpn_protocol(), "reused": tls.session_reused}
    certificate = tls.getpeercert()
    if certificate:
        told["names"] = [value for _, value in certificate.get("subjectAltName", ())]
    told["answers"] = []
    for request in asked.get("send", []):
        tls.sendall(request.encode())
        told["answers"].append(answer(tls))
    if asked.get("until_end"):
        told["rest"] = ""
        while True:
            part = tls.recv(65536)
            if not part:
                break
            told["rest"] += part.decode()
        told["clean"] = True
    session = tls.session
    tls.close()
    return told, session


try:
    session, all_told = None, []
    for _ in range(asked.get("times", 1)):
        told, session = connect(session)
        all_told.append(told)
    print(json.dumps(all_told[0] if "times" not in asked else all_told))
except (OSError, EOFError) as error:
    print(json.dumps({"error": str(error)}))
