"""A reverse proxy, as people put one before the server."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEPT = ("content-type", "origin", "authorization", "access-control-request-method", "accept")
MOST = 1 << 20  # bytes of a body, as with nginx where nothing else is said


@contextmanager
def proxied(backend: int, prefix: str, *, stripped: bool) -> Iterator[int]:
    """The port of a proxy that passes what is below `prefix` to another port, as nginx does: in HTTP/1.0.

    stripped  whether it takes the prefix off, as after `proxy_pass http://backend/;`
    """

    class Handler(BaseHTTPRequestHandler):
        def passed(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if len(body) > MOST:
                self.send_error(413)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() in KEPT}
            headers["Host"] = self.headers["Host"]
            asking = http.client.HTTPConnection("127.0.0.1", backend, timeout=60)
            with closing(asking), suppress(BrokenPipeError, ConnectionResetError):  # a page that gave the request up
                asking.request(self.command, self.path.removeprefix(prefix) if stripped else self.path, body, headers)
                answer = asking.getresponse()
                data = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_OPTIONS = passed  # noqa: N815 (http.server's names)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
