"""Published data sets, from a server of the test's own: the right file in its place, or one line alone."""

import hashlib
import http.server
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medjax.data import download as module
from medjax.data.download import PUBLISHED, Published, fetch
from medjax.errors import RefusedError

PAYLOAD = bytes(range(256)) * 2400  # three pieces, the last one not whole
MD5 = hashlib.md5(PAYLOAD).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path with its own kind of fault; serves the file at /file."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        getattr(self, "answer_" + self.path.strip("/"))()

    def start(self, *, length: int | str | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer_file(self) -> None:
        self.start(length=len(PAYLOAD))
        self.wfile.write(PAYLOAD)

    def answer_unmeasured(self) -> None:
        self.start(length=None)
        self.wfile.write(PAYLOAD)

    def answer_other(self) -> None:
        self.start(length=len(PAYLOAD))
        self.wfile.write(PAYLOAD[::-1])

    def answer_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/file")
        self.end_headers()

    def answer_circle(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/circle")
        self.end_headers()

    def answer_missing(self) -> None:
        self.send_error(404)

    def answer_cut(self) -> None:
        self.start(length=len(PAYLOAD))
        self.wfile.write(PAYLOAD[:300_000])

    def answer_unmeasured_cut(self) -> None:
        self.start(length=None)
        self.wfile.write(PAYLOAD[:300_000])

    def answer_gibberish(self) -> None:
        self.start(length="many")
        self.wfile.write(PAYLOAD)

    def answer_stalled(self) -> None:
        self.start(length=len(PAYLOAD))
        self.wfile.write(PAYLOAD[:300_000])
        self.server.is_over.wait(10)

    def answer_endless(self) -> None:
        self.start(length=None)
        self.pour()

    def answer_endless_where_it_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/file")
        self.end_headers()
        self.pour()

    def pour(self) -> None:
        """Send until the client hangs up; the server remembers how much it took."""
        while not self.server.is_over.is_set():
            self.wfile.write(bytes(2**16))
            self.server.poured += 2**16

    def answer_huge(self) -> None:
        self.start(length=10**12)
        self.pour()

    def answer_mute(self) -> None:
        self.server.is_over.wait(10)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.HTTPServer):
    """A server on this machine, which remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.is_over = threading.Event()
        self.poured = 0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that hangs up."""

    def stop(self) -> None:
        self.is_over.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def server(monkeypatch):
    # A proxy that the environment names would be asked for this machine too.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        yield running
        running.stop()


@pytest.fixture
def publish(server, monkeypatch):
    """Make the name "set" stand for an address of the server; returns the address."""

    def of(kind: str, md5: str = MD5) -> str:
        address = f"http://127.0.0.1:{server.server_port}/{kind}"
        monkeypatch.setitem(PUBLISHED, "set", Published(address, md5, "set.npz", "nobody's", len(PAYLOAD)))
        return address

    return of


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal_of(*arguments, **options) -> str:
    """The one line of the refusal."""
    with pytest.raises(RefusedError) as caught:
        fetch(*arguments, **options)
    (line,) = caught.value.lines()
    assert "\n" not in line
    return line


def test_a_file_is_fetched_with_progress_and_without_a_word(publish, server, tmp_path, capfd, caplog) -> None:
    publish("file")
    calls = []
    path = fetch("set", tmp_path / "new" / "data", on_progress=lambda *call: calls.append(call))
    assert path == tmp_path / "new" / "data" / "set.npz"
    assert path.read_bytes() == PAYLOAD
    assert list(path.parent.iterdir()) == [path]
    assert calls[0][0] < len(PAYLOAD)
    assert calls[-1] == (len(PAYLOAD), len(PAYLOAD))
    assert calls == sorted(calls)
    assert {total for _, total in calls} == {len(PAYLOAD)}
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")


def test_requests_name_the_program_and_want_the_file_as_it_is(publish, server, tmp_path) -> None:
    publish("file")
    fetch("set", tmp_path)
    (headers,) = [headers for _, headers in server.requests]
    assert headers["User-Agent"].startswith("medjax")  # Zenodo turns the default away
    assert headers["Accept-Encoding"] == "identity"


def test_the_default_folder_is_data(publish, tmp_path, monkeypatch) -> None:
    publish("file")
    monkeypatch.chdir(tmp_path)
    assert fetch("set") == Path("data", "set.npz")
    assert Path("data", "set.npz").read_bytes() == PAYLOAD


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_others_may_read_it_as_any_new_file(publish, tmp_path) -> None:
    publish("file")
    (tmp_path / "plain").touch()
    mode, plain = (path.stat().st_mode for path in (fetch("set", tmp_path), tmp_path / "plain"))
    assert stat.S_IMODE(mode) == stat.S_IMODE(plain)


def test_redirects_are_followed(publish, server, tmp_path) -> None:
    publish("moved")
    assert fetch("set", tmp_path).read_bytes() == PAYLOAD
    assert [path for path, _ in server.requests] == ["/moved", "/file"]


def test_a_server_need_not_announce_the_size(publish, tmp_path) -> None:
    publish("unmeasured")
    calls = []
    assert fetch("set", tmp_path, on_progress=lambda *call: calls.append(call)).read_bytes() == PAYLOAD
    done = [done for done, total in calls if total is None]
    assert len(done) == len(calls) > 0
    assert done == sorted(done)


def test_what_lies_there_is_not_fetched_again(publish, server, tmp_path) -> None:
    publish("file")
    path = fetch("set", tmp_path)
    before = path.stat()
    server.stop()
    calls = []
    assert fetch("set", tmp_path, on_progress=lambda *call: calls.append(call)) == path
    assert (calls, len(server.requests)) == ([], 1)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("content", [PAYLOAD[:-1], b"", b"somebody's thesis"], ids=["cut", "empty", "other"])
def test_another_file_in_its_place_is_left_alone(publish, server, tmp_path, content) -> None:
    publish("file")
    target = tmp_path / "set.npz"
    target.write_bytes(content)
    line = refusal_of("set", tmp_path)
    assert line.startswith(str(target))
    assert MD5 in line
    assert hashlib.md5(content).hexdigest() in line
    assert "delete it" in line
    assert (content_of(tmp_path), server.requests) == ({"set.npz": content}, [])


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_left_alone(publish, server, tmp_path, kind) -> None:
    publish("file")
    target = tmp_path / "set.npz"
    if kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    assert "not a file" in refusal_of("set", tmp_path)
    assert (list(tmp_path.iterdir()), server.requests) == ([target], [])
    assert target.is_symlink() == (kind == "link")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "HTTP status 404"),
        ("cut", "broke off"),
        ("stalled", "or it stalled"),
        ("mute", "did not answer in time"),
        ("circle", "invalid answer"),
        ("gibberish", "invalid answer"),
        ("unmeasured_cut", hashlib.md5(PAYLOAD[:300_000]).hexdigest()),
        ("other", hashlib.md5(PAYLOAD[::-1]).hexdigest()),
    ],
)
def test_a_failure_says_how_to_do_without_and_leaves_nothing(
    publish, tmp_path, monkeypatch, kind, reason
) -> None:
    monkeypatch.setattr(module, "_TIMEOUTS", (5.0, 0.2))
    address = publish(kind)
    line = refusal_of("set", tmp_path / "new" / "data", on_progress=lambda done, total: None)
    assert reason in line
    for needed in (f"download {address} by hand", str(tmp_path / "new" / "data" / "set.npz"), MD5):
        assert needed in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["endless", "huge"])
def test_a_body_that_is_larger_than_the_file_can_be_is_given_up(publish, server, tmp_path, kind) -> None:
    address = publish(kind)
    line = refusal_of("set", tmp_path / "data")
    assert f"sends more than the {PUBLISHED['set'].max_bytes:,} bytes that it can have" in line
    assert f"download {address} by hand" in line
    assert list(tmp_path.iterdir()) == []
    # What was sent is at most in the buffers of the connection.
    assert server.poured < PUBLISHED["set"].max_bytes + 2**24


def test_a_redirect_with_an_endless_body_is_followed(publish, server, tmp_path) -> None:
    publish("endless_where_it_moved")
    assert fetch("set", tmp_path).read_bytes() == PAYLOAD
    assert server.poured < 2**24


def test_a_failure_keeps_what_was_there_before(publish, tmp_path) -> None:
    publish("cut")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    refusal_of("set", tmp_path)
    assert content_of(tmp_path) == {"notes.txt": b"mine"}


def test_the_place_is_named_in_full(publish, tmp_path, monkeypatch) -> None:
    publish("missing")
    monkeypatch.chdir(tmp_path)
    assert f"put it at {tmp_path / 'data' / 'set.npz'}" in refusal_of("set")


def test_no_server(publish, server, tmp_path) -> None:
    address = publish("file")
    server.stop()
    line = refusal_of("set", tmp_path / "data")
    assert "no connection to 127.0.0.1" in line
    assert f"download {address} by hand" in line
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(publish, tmp_path) -> None:
    resource = pytest.importorskip("resource")
    publish("file")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        line = refusal_of("set", tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in line
    assert "check space and permissions" in line
    assert "by hand" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(publish, server, tmp_path) -> None:
    publish("file")
    (tmp_path / "data").write_bytes(b"a file")
    assert "give another directory" in refusal_of("set", tmp_path / "data")
    assert "give another directory" in refusal_of("set", tmp_path / "data" / "deeper")
    assert (content_of(tmp_path), server.requests) == ({"data": b"a file"}, [])


def test_an_interrupt_leaves_nothing(publish, tmp_path) -> None:
    publish("file")

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("set", tmp_path / "new" / "data", on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_lists_those_there_are(tmp_path) -> None:
    line = refusal_of("chestmnist", tmp_path)
    assert line.startswith("chestmnist: ")
    assert all(name in line for name in PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_is_sound(name) -> None:
    published = PUBLISHED[name]
    assert published.address.startswith("https://")
    assert re.fullmatch("[0-9a-f]{32}", published.md5)
    assert published.file_name.endswith((".npz", ".tar.gz"))
    assert Path(published.file_name).name == published.file_name
    assert published.file_name in published.address
    assert published.terms.startswith("CC BY")


def test_the_table_tells_its_files_apart() -> None:
    assert len(PUBLISHED) == 12
    for field in ("address", "md5", "file_name"):
        assert len({getattr(published, field) for published in PUBLISHED.values()}) == len(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_set_has_room_for_its_pixels_and_little_more(name) -> None:
    published = PUBLISHED[name]
    assert 780 * 28 * 28 <= published.pixels < published.max_bytes < 300e6


def test_the_table_agrees_with_the_file_at_hand(retinamnist) -> None:
    assert retinamnist.stat().st_size < PUBLISHED["retinamnist"].max_bytes
    assert PUBLISHED["retinamnist"].md5 == "bd4c0672f1bba3e3a89f0e4e876791e4"
    assert hashlib.md5(retinamnist.read_bytes()).hexdigest() == PUBLISHED["retinamnist"].md5


def test_pooch_is_imported_only_when_it_is_needed() -> None:
    check = "import sys, medjax.data.download; assert not {'pooch', 'requests', 'jax'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])
