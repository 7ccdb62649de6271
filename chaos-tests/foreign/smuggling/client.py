"""Asks for each "METHOD path" that stdin names, one after the other on one connection, and says what it has read: a line of JSON
for each. The first argument says with which library, the second where."""

import http.client
import json
import sys

import urllib3

library, address = sys.argv[1:]


def with_http_client():
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)

    def ask(method, path):
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except Exception:
            connection.close()
            raise

    return ask


def with_urllib3():
    pool = urllib3.HTTPConnectionPool(*address.split(":"), maxsize=1, timeout=20, retries=False)

    def ask(method, path):
        answer = pool.request(method, path, redirect=False)
        return answer.status, answer.data

    return ask


ask = {"http.client": with_http_client, "urllib3": with_urllib3}[library]()
for line in sys.stdin:
    method, path = line.split()
    try:
        status, body = ask(method, path)
        print(json.dumps({"path": path, "status": status, "body": body.hex()}), flush=True)
    except Exception as error:
        print(json.dumps({"path": path, "error": repr(error)}), flush=True)
