"""What Google Cloud Storage and Azure Blob Storage answer to the client, on the loopback.

The requests are the client's own; the server keeps objects in memory and, where it is told to, the
old versions of them. It covers what a workspace asks for: write (with conditions), read (ranges and
old versions), copy, list and delete.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE = "Fri, 02 Jan 2026 03:04:05 GMT"


class Cloud(ThreadingHTTPServer):
    """A server that keeps the objects of all its buckets by `BUCKET/KEY`."""

    def __init__(self, *, versioned: bool) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.versioned, self.guard, self.count = versioned, threading.Lock(), 1000
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.old: dict[tuple[str, int], bytes] = {}

    @property
    def google(self) -> dict[str, str]:
        """The environment of a client of `gs://` URLs."""
        account = {"gcs_base_url": f"http://127.0.0.1:{self.server_port}", "disable_oauth": True}
        blank = {"client_email": "", "private_key": "", "private_key_id": ""}
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account | blank)}

    @property
    def azure(self) -> dict[str, str]:
        """The environment of a client of `az://` URLs."""
        return {
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "AZURE_STORAGE_ACCOUNT_NAME": "tests",
            "AZURE_SKIP_SIGNATURE": "true",
            "AZURE_ALLOW_HTTP": "true",
        }

    def remove(self, name: str) -> bool:
        """Remove an object; a versioned bucket keeps its bytes. Returns whether there was one."""
        version, data = self.objects.pop(name, (0, b""))
        if version and self.versioned:
            self.old[name, version] = data
        return version > 0


class Request(BaseHTTPRequestHandler):
    """One request. Google's have `x-goog-` headers, Azure's `x-ms-` ones."""

    protocol_version = "HTTP/1.1"
    server: Cloud

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def handle_one_request(self) -> None:
        self.do_HEAD = self.do_GET
        super().handle_one_request()

    def _read(self) -> bytes:
        url = urlsplit(self.path)
        self.name, self.query = unquote(url.path).strip("/"), parse_qs(url.query)
        self.azure = "x-ms-version" in self.headers
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _tags(self, version: int) -> dict[str, str]:
        """Google tells a generation always, Azure a version only where it keeps versions."""
        tags = {"ETag": f'"{version}"', "Last_Modified": DATE}
        if not self.azure:
            return {**tags, "x_goog_generation": str(version)}
        return {**tags, "x_ms_version_id": str(version)} if self.server.versioned else tags

    def do_PUT(self) -> None:
        """Write or copy an object."""
        data, server = self._read(), self.server
        source = self.headers.get("x-goog-copy-source") or self.headers.get("x-ms-copy-source")
        with server.guard:
            now, _ = server.objects.get(self.name, (0, b""))
            if source:
                found = server.objects.get(unquote(urlsplit(source).path).strip("/"))
                if found is None:
                    return self._answer(404)
                data = found[1]
            if self.headers.get("If-None-Match") == "*" and now:
                return self._answer(409)
            generation = self.headers.get("x-goog-if-generation-match", str(now))
            if generation != str(now) or self.headers.get("If-Match") not in (None, f'"{now}"'):
                return self._answer(412)
            server.remove(self.name)
            server.count += 1
            server.objects[self.name] = server.count, data
        return self._answer(201, x_ms_copy_status="success", **self._tags(server.count))

    def do_GET(self) -> None:
        """Read an object, one of its versions, or list a bucket."""
        self._read()
        if "list-type" in self.query or "comp" in self.query:
            return self._answer(200, self._listing().encode())
        version, data = self.server.objects.get(self.name, (0, b""))
        for wanted in (*self.query.get("generation", ()), *self.query.get("versionid", ())):
            if int(wanted) != version:
                version = int(wanted) * ((self.name, int(wanted)) in self.server.old)
                data = self.server.old.get((self.name, version), b"")
        if not version:
            return self._answer(404)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
            where = f"bytes {first}-{last}/{len(data)}"
            return self._answer(
                206, data[first : last + 1], Content_Range=where, **self._tags(version)
            )
        return self._answer(200, data, **self._tags(version))

    def _listing(self) -> str:
        bucket, prefix = self.name, self.query.get("prefix", [""])[0]
        below, folders = "", set[str]()
        for name, (version, data) in sorted(self.server.objects.items()):
            key = name.removeprefix(f"{bucket}/")
            if name == key or not key.startswith(prefix):
                continue
            if "delimiter" in self.query and "/" in key[len(prefix) :]:
                folders.add(prefix + key[len(prefix) :].partition("/")[0] + "/")
            elif self.azure:
                about = f"<Last-Modified>{DATE}</Last-Modified><Etag>{version}</Etag>"
                about += f"<Content-Length>{len(data)}</Content-Length>"
                about += "<Content-Type>x</Content-Type>"
                below += f"<Blob><Name>{escape(key)}</Name><Properties>{about}</Properties></Blob>"
            else:
                about = f"<Size>{len(data)}</Size><ETag>{version}</ETag>"
                about += "<LastModified>2026-01-02T03:04:05.000Z</LastModified>"
                below += f"<Contents><Key>{escape(key)}</Key>{about}</Contents>"
        tag, name = ("BlobPrefix", "Name") if self.azure else ("CommonPrefixes", "Prefix")
        below += "".join(f"<{tag}><{name}>{escape(f)}</{name}></{tag}>" for f in sorted(folders))
        if self.azure:
            return f"<EnumerationResults><Blobs>{below}</Blobs><NextMarker/></EnumerationResults>"
        return f"<ListBucketResult>{below}</ListBucketResult>"

    def do_DELETE(self) -> None:
        """Remove an object."""
        self._read()
        with self.server.guard:
            self._answer(204 if self.server.remove(self.name) else 404)

    def do_POST(self) -> None:
        """Azure's batch of removals."""
        names, parts = re.findall(r"DELETE /(\S+) HTTP", self._read().decode()), ""
        with self.server.guard:
            for i, name in enumerate(names):
                status = "202 Accepted" if self.server.remove(unquote(name)) else "404 Not Found"
                parts += "--b\r\nContent-Type: application/http\r\n"
                parts += f"Content-ID: {i}\r\n\r\nHTTP/1.1 {status}\r\n\r\n\r\n"
        self._answer(202, f"{parts}--b--".encode(), Content_Type="multipart/mixed; boundary=b")


@contextmanager
def cloud(*, versioned: bool = False) -> Iterator[Cloud]:
    """A running server."""
    server = Cloud(versioned=versioned)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
