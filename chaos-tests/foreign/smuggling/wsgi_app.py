"""Says, and answers with, what a WSGI server has read: one line of JSON for each request."""

import json

counts = {}


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    stated = environ.get("CONTENT_LENGTH")
    if stated and int(stated) != len(body):
        # The connection ended in the middle: this was no request, and the server does not tell.
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []
    connection = environ["REMOTE_PORT"]
    counts[connection] = counts.get(connection, 0) + 1
    seen = json.dumps({
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "host": environ.get("HTTP_HOST", ""),
        "body": body.hex(),
        "connection": str(connection),
        "nth": counts[connection],
    })
    print(seen, flush=True)
    start_response("200 OK", [("Content-Length", str(len(seen)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [seen.encode()]
