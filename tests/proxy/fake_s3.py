"""A fake of an S3 server: buckets of a dict over HTTP on loopback, no signatures looked at.

It knows what pyarrow asks for when it reads: HEAD and GET of an object, with a range, and a list.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def s3_server(objects: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve ``objects`` ("bucket/key" to bytes); HOST:PORT, and the requests that came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            parts = urlsplit(self.path)
            name = unquote(parts.path).strip("/")
            query = parse_qs(parts.query, keep_blank_values=True)
            asked.append(f"{self.command} {name}")
            if "list-type" in query:
                self.give(200, self.listing(name, query), {"Content-Type": "application/xml"}, body)
            elif name in objects:
                self.give_object(objects[name], body=body)
            else:
                text = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
                self.give(404, text, {"Content-Type": "application/xml"}, body)

        def give_object(self, data: bytes, *, body: bool) -> None:
            facts = {
                "ETag": f'"{hashlib.md5(data).hexdigest()}"',
                "Last-Modified": formatdate(0, usegmt=True),
                "Content-Type": "application/octet-stream",
            }
            span = self.headers.get("Range")
            if span is None:
                self.give(200, data, facts, body)
                return
            first, _, last = span.removeprefix("bytes=").partition("-")
            end = min(int(last or len(data) - 1), len(data) - 1)
            facts["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
            self.give(206, data[int(first) : end + 1], facts, body)

        def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
            prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
            cut = query.get("delimiter", [""])[0]
            rows, folders = [], set()
            for name, data in sorted(objects.items()):
                if not name.startswith(prefix):
                    continue
                rest = name[len(prefix) :]
                if cut and cut in rest:
                    folders.add(prefix[len(bucket) + 1 :] + rest.split(cut)[0] + cut)
                    continue
                rows.append(
                    f"<Contents><Key>{escape(name[len(bucket) + 1 :])}</Key>"
                    "<LastModified>1970-01-01T00:00:00.000Z</LastModified>"
                    f"<Size>{len(data)}</Size></Contents>"
                )
            rows += [
                f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
                for one in sorted(folders)
            ]
            head = '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
            count = f"<KeyCount>{len(rows)}</KeyCount>"
            return f"{head}{count}{''.join(rows)}</ListBucketResult>".encode()

        def give(self, code: int, data: bytes, facts: dict[str, str], body: bool) -> None:
            self.send_response(code)
            for name, value in {**facts, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
