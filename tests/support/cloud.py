"""What Google Cloud Storage and Azure Blob Storage answer to their clients, on the loopback.

The requests are the real client's. The server keeps objects in memory and, where it is told to,
their old versions. It knows what a workspace asks for: conditional writes, reads of ranges and of
old versions, copies, listings and removals.
"""

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from werkzeug import Request, Response
from werkzeug.serving import make_server

DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
GOOGLE = (
    "<Contents><Key>{}</Key><Size>{}</Size><ETag>x</ETag>"
    "<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
)
AZURE = (
    "<Blob><Name>{}</Name><Properties><Content-Length>{}</Content-Length><Etag>x</Etag>"
    f"<Last-Modified>{DATE}</Last-Modified><Content-Type>x</Content-Type></Properties></Blob>"
)


class Cloud:
    """The objects of all buckets by `BUCKET/KEY`, each with its version. bucket: a name that no
    client of this process has seen, since it keeps one client a bucket."""

    def __init__(self, *, versioned: bool) -> None:
        self.versioned, self.guard, self.count = versioned, threading.Lock(), 1000
        self.bucket = f"bucket-{secrets.token_hex(4)}"
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.old: dict[tuple[str, int], bytes] = {}

    @Request.application
    def answer(self, request: Request) -> Response:
        """Answer one request; Azure's have `x-ms-` headers, Google's `x-goog-` ones."""
        with self.guard:
            if "list-type" in request.args or request.args.get("comp") == "list":
                return self._listing(request)
            return {"PUT": self._put, "DELETE": self._delete, "POST": self._batch}.get(
                request.method, self._get
            )(request)

    def _tags(self, version: int, request: Request) -> dict[str, str]:
        """Google tells a generation always, Azure a version only where it keeps versions."""
        tags = {"ETag": f'"{version}"', "Last-Modified": DATE, "x-ms-copy-status": "success"}
        if "x-ms-version" not in request.headers:
            return {**tags, "x-goog-generation": str(version)}
        return {**tags, "x-ms-version-id": str(version)} if self.versioned else tags

    def _put(self, request: Request) -> Response:
        name, data, asked = request.path.strip("/"), request.data, request.headers
        now, _ = self.objects.get(name, (0, b""))
        source = asked.get("x-goog-copy-source") or asked.get("x-ms-copy-source")
        if source:
            copied = self.objects.get(unquote(urlsplit(source).path).strip("/"))
            if copied is None:
                return Response(status=404)
            data = copied[1]
        if asked.get("If-None-Match") == "*" and now:
            return Response(status=409)
        generation, tag = asked.get("x-goog-if-generation-match"), asked.get("If-Match")
        if generation not in (None, str(now)) or tag not in (None, f'"{now}"'):
            return Response(status=412)
        self._remove(name)
        self.count += 1
        self.objects[name] = self.count, data
        return Response(status=201, headers=self._tags(self.count, request))

    def _get(self, request: Request) -> Response:
        name = request.path.strip("/")
        version, data = self.objects.get(name, (0, b""))
        wanted = int(request.args.get("generation") or request.args.get("versionid") or version)
        if wanted != version:
            version, data = wanted, self.old.get((name, wanted), b"gone")
        if not version or data == b"gone":
            return Response(status=404)
        found = Response(data, headers=self._tags(version, request))
        return found.make_conditional(request, accept_ranges=True, complete_length=len(data))

    def _listing(self, request: Request) -> Response:
        azure, prefix = "x-ms-version" in request.headers, request.args.get("prefix", "")
        below, folders = "", set[str]()
        for name, (_, data) in sorted(self.objects.items()):
            rest = name.removeprefix(f"{request.path.strip('/')}/{prefix}")
            if rest == name:
                continue
            if "delimiter" in request.args and "/" in rest:
                folders.add(prefix + rest.partition("/")[0] + "/")
            else:
                below += (AZURE if azure else GOOGLE).format(prefix + rest, len(data))
        tag, inner = ("BlobPrefix", "Name") if azure else ("CommonPrefixes", "Prefix")
        below += "".join(f"<{tag}><{inner}>{f}</{inner}></{tag}>" for f in sorted(folders))
        if azure:
            below = f"<Blobs>{below}</Blobs><NextMarker/>"
        outer = "EnumerationResults" if azure else "ListBucketResult"
        return Response(f"<{outer}>{below}</{outer}>")

    def _remove(self, name: str) -> bool:
        """Remove an object; a versioned bucket keeps its bytes. Returns whether there was one."""
        version, data = self.objects.pop(name, (0, b""))
        if version and self.versioned:
            self.old[name, version] = data
        return version > 0

    def _delete(self, request: Request) -> Response:
        return Response(status=204 if self._remove(request.path.strip("/")) else 404)

    def _batch(self, request: Request) -> Response:
        """Azure's removal of many."""
        parts = ""
        for i, name in enumerate(re.findall(r"DELETE /(\S+) HTTP", request.data.decode())):
            status = "202 Accepted" if self._remove(unquote(name)) else "404 Not Found"
            parts += f"--b\r\nContent-Type: application/http\r\nContent-ID: {i}\r\n\r\n"
            parts += f"HTTP/1.1 {status}\r\n\r\n\r\n"
        return Response(f"{parts}--b--", 202, content_type="multipart/mixed; boundary=b")


@contextmanager
def cloud(*, versioned: bool = False) -> Iterator[tuple[Cloud, dict[str, str]]]:
    """A running server, and the environment that leads a client of `gs://` and `az://` to it."""
    found = Cloud(versioned=versioned)
    server = make_server("127.0.0.1", 0, found.answer, threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    blank = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    account = json.dumps({**blank, "gcs_base_url": url, "disable_oauth": True})
    azure = {"STORAGE_ENDPOINT": url, "STORAGE_ACCOUNT_NAME": "tests", "SKIP_SIGNATURE": "true"}
    environment = {f"AZURE_{name}": value for name, value in azure.items()}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield (
            found,
            {**environment, "AZURE_ALLOW_HTTP": "true", "GOOGLE_SERVICE_ACCOUNT_KEY": account},
        )
    finally:
        server.shutdown()
        server.server_close()
