import contextlib
import dataclasses
import hashlib
import http.server
import socket
import threading
import time

import pytest

from resnet_jax.data import download as module
from resnet_jax.data.download import download, verify
from resnet_jax.data.spec import Archive
from resnet_jax.errors import DataError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@dataclasses.dataclass
class Server:
    """How a test's server behaves, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True  # answers Range with 206, else with the whole file
    cuts: list = dataclasses.field(default_factory=list)  # bytes sent per answer, then all
    statuses: list = dataclasses.field(default_factory=list)  # answered first, one a request
    with_length: bool = True
    asked: list = dataclasses.field(default_factory=list)  # the Range header of each request

    def answer(self, handler):
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if self.statuses:
            return handler.send_error(self.statuses.pop(0))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if start >= len(self.content):
            return handler.send_error(416)
        body = self.content[start:]
        handler.send_response(206 if asked and self.ranges else 200)
        if asked and self.ranges:
            last, size = len(self.content) - 1, len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{last}/{size}")
        if self.with_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def server(monkeypatch):
    behaviour = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(ConnectionError):
                behaviour.answer(self)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_WAIT", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        behaviour.url = f"http://127.0.0.1:{http_server.server_port}/file.tar.gz"
        yield behaviour
        http_server.shutdown()
        thread.join()


def published(url, content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()
    return Archive(url=url, sha256=digest, size=len(content), examples=lambda path: iter(()))


def files(directory):
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    target = tmp_path / "new" / "file.tar.gz"
    assert download(published(server.url), target) == target
    assert target.read_bytes() == CONTENT
    assert files(tmp_path) == ["file.tar.gz"]


def test_a_published_file_that_is_there_is_not_asked_for_again(server, tmp_path):
    target = tmp_path / "file.tar.gz"
    target.write_bytes(CONTENT)
    download(published(server.url), target)
    assert server.asked == []


def test_a_damaged_file_that_is_there_is_replaced(server, tmp_path):
    target = tmp_path / "file.tar.gz"
    target.write_bytes(CONTENT[:-1] + b"?")
    download(published(server.url), target)
    assert target.read_bytes() == CONTENT


def test_a_cut_connection_is_continued_where_it_stopped(server, tmp_path):
    server.cuts = [1000, 500]
    target = download(published(server.url), tmp_path / "file.tar.gz")
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=1500-"]


def test_a_part_of_an_earlier_call_is_continued(server, tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(CONTENT[:777])
    target = download(published(server.url), tmp_path / "file.tar.gz")
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=777-"]
    assert files(tmp_path) == ["file.tar.gz"]


def test_a_complete_part_needs_no_request(server, tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(CONTENT)
    assert download(published(server.url), tmp_path / "file.tar.gz").read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(CONTENT + b"more")
    assert download(published(server.url), tmp_path / "file.tar.gz").read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_server_that_ignores_range_sends_the_file_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.tar.gz.part").write_bytes(b"x" * 777)
    assert download(published(server.url), tmp_path / "file.tar.gz").read_bytes() == CONTENT


def test_a_server_that_cuts_and_cannot_resume_ends_in_an_error(server, tmp_path):
    server.ranges, server.cuts = False, [1000] * 20
    with pytest.raises(DataError, match="closed early"):
        download(published(server.url), tmp_path / "file.tar.gz")
    assert len(server.asked) <= 1 + module._ATTEMPTS
    assert files(tmp_path) == ["file.tar.gz.part"]


def test_a_refused_range_starts_afresh(server, tmp_path):
    server.statuses, server.cuts = [416], [100]  # cut, so that nothing old may stay behind it
    (tmp_path / "file.tar.gz.part").write_bytes(b"x" * 777)
    assert download(published(server.url), tmp_path / "file.tar.gz").read_bytes() == CONTENT
    assert server.asked == ["bytes=777-", None, "bytes=100-"]


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    assert download(published(server.url), tmp_path / "file.tar.gz").read_bytes() == CONTENT


def test_a_missing_file_is_asked_for_once_and_the_error_says_what_to_type(server, tmp_path):
    server.statuses = [404] * 9
    with pytest.raises(DataError, match=r"404[^\n]*\n.*--archive FILE"):
        download(published(server.url), tmp_path / "file.tar.gz")
    assert len(server.asked) == 1


def test_a_wrong_checksum_names_both_digests_and_leaves_nothing(server, tmp_path):
    archive = published(server.url, CONTENT[:-1] + b"?")
    with pytest.raises(DataError, match="--archive FILE") as error:
        download(archive, tmp_path / "file.tar.gz")
    assert archive.sha256[:12] in str(error.value)
    assert hashlib.sha256(CONTENT).hexdigest()[:12] in str(error.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", [CONTENT[:1000], CONTENT + b"more"])
def test_a_file_of_another_size_is_refused_before_it_is_read(server, tmp_path, content):
    server.content = content
    with pytest.raises(DataError, match=f"has {len(content):,} bytes instead of 1,048,576"):
        download(published(server.url), tmp_path / "file.tar.gz")
    assert files(tmp_path) == []


def test_a_short_body_of_undeclared_size_never_becomes_the_file(server, tmp_path):
    server.content, server.with_length = CONTENT[:1000], False
    with pytest.raises(DataError, match="1,000 of 1,048,576 bytes"):
        download(published(server.url), tmp_path / "file.tar.gz")
    assert "file.tar.gz" not in files(tmp_path)


def test_an_unreachable_server_ends_in_an_error_of_two_lines(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_WAIT", 0.0)
    with socket.socket() as unused:  # bound and not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        archive = published(f"http://127.0.0.1:{unused.getsockname()[1]}/file.tar.gz")
        with pytest.raises(DataError, match="--archive FILE") as error:
            download(archive, tmp_path / "file.tar.gz")
    assert len(str(error.value).splitlines()) == 2
    assert files(tmp_path) == []


def test_a_silent_server_is_given_up_in_bounded_time(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    monkeypatch.setattr(module, "_WAIT", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        archive = published(f"http://127.0.0.1:{silent.getsockname()[1]}/file.tar.gz")
        start = time.monotonic()
        with pytest.raises(DataError, match="timed out"):
            download(archive, tmp_path / "file.tar.gz")
    assert time.monotonic() - start < 2


def test_a_directory_that_cannot_be_written_is_a_data_error(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="--data-dir DIR"):
        download(published(server.url), tmp_path / "file" / "file.tar.gz")


def test_the_published_file_is_verified(tmp_path):
    path = tmp_path / "file.tar.gz"
    path.write_bytes(CONTENT)
    verify(published("http://example.org/file.tar.gz"), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(CONTENT[:10], "10 bytes instead of"), (CONTENT[:-1] + b"?", "SHA-256"), (None, "cannot be")],
)
def test_another_local_file_is_refused_and_kept(tmp_path, content, message):
    path = tmp_path / "file.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        verify(published("http://example.org/file.tar.gz"), path)
    assert len(str(error.value).splitlines()) == 2
    assert path.exists() == (content is not None)
