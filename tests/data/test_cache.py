import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.data import cache

SHAPE = (4, 3, 2, 1)


def arrays(seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, SHAPE, np.uint8)
    return images, random.integers(0, 10, SHAPE[:1]).astype(np.int32)


def fail():
    pytest.fail("built again")


def equal(found, expected) -> bool:
    return all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, expected, strict=True)
    )


@pytest.fixture
def entry(cache_home) -> Path:
    """The file of a stored entry called `name`."""
    cache.fetch("name", SHAPE, arrays)
    (file,) = cache_home.rglob("*.npz")
    return file


def test_what_was_built_once_is_read_from_then_on(cache_home):
    assert equal(cache.fetch("name", SHAPE, arrays), arrays())
    assert equal(cache.fetch("name", SHAPE, fail), arrays())
    assert equal(cache.fetch("other", SHAPE, lambda: arrays(1)), arrays(1))
    assert equal(cache.fetch("name", SHAPE, fail), arrays())


def test_another_format_is_another_entry(entry, monkeypatch):
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert equal(cache.fetch("name", SHAPE, lambda: arrays(1)), arrays(1))


def test_errors_of_the_source_pass_through_and_store_nothing(cache_home):
    def build():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.fetch("name", SHAPE, build)
    assert not list(cache_home.rglob("*.*"))


def test_no_changed_byte_is_ever_read(entry, caplog):
    whole, rebuilt = entry.read_bytes(), 0
    for position in range(len(whole)):
        for mask in (1, 0xFF):
            changed = bytearray(whole)
            changed[position] ^= mask
            entry.write_bytes(changed)
            caplog.clear()
            assert equal(cache.fetch("name", SHAPE, arrays), arrays())
            rebuilt += len(caplog.records)
    assert rebuilt > len(whole)  # the rest are bytes that carry nothing, such as the zip's dates


def test_a_truncated_entry_is_rebuilt_with_one_line_and_stored_again(entry, caplog):
    whole = entry.read_bytes()
    for length in range(0, len(whole), 7):
        entry.write_bytes(whole[:length])
        caplog.clear()
        assert equal(cache.fetch("name", SHAPE, arrays), arrays())
        assert len(caplog.records) == 1
        assert "\n" not in caplog.text.strip()
        assert str(entry) in caplog.text
        assert equal(cache.fetch("name", SHAPE, fail), arrays())


@pytest.mark.parametrize(
    "stored",
    [
        {"images": arrays()[0][1:], "labels": arrays()[1]},
        {"images": arrays()[0].astype(np.float32), "labels": arrays()[1]},
        {"images": arrays()[0], "labels": arrays()[1].astype(np.int64)},
        {"images": arrays()[0], "labels": arrays()[1][1:]},
        {"images": arrays()[0]},
        {"images": np.array([None]), "labels": arrays()[1]},
    ],
)
def test_an_entry_of_another_shape_or_type_is_rebuilt(entry, stored, caplog):
    np.savez(entry, **stored)
    assert equal(cache.fetch("name", SHAPE, arrays), arrays())
    assert len(caplog.records) == 1


def test_an_unusable_cache_directory_costs_one_line_and_nothing_else(cache_home, caplog):
    cache_home.write_text("a file where the directory should be")  # true for root as well
    assert equal(cache.fetch("name", SHAPE, arrays), arrays())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_an_entry_that_can_be_neither_read_nor_replaced_costs_two_lines(entry, caplog):
    entry.unlink()
    entry.mkdir()
    assert equal(cache.fetch("name", SHAPE, arrays), arrays())
    assert len(caplog.records) == 2
    assert list(entry.parent.iterdir()) == [entry]


def test_a_user_without_a_home_goes_without_a_cache(monkeypatch, caplog, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does without a home
    monkeypatch.chdir(tmp_path)
    assert equal(cache.fetch("name", SHAPE, arrays), arrays())
    assert len(caplog.records) == 1
    assert not list(tmp_path.iterdir())


def test_the_directory_is_the_users_cache_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache.directory() == Path("/caches/resnet_jax/decoded")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache.directory() == Path("/home/someone/.cache/resnet_jax/decoded")


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit to imitate a full disk")
@pytest.mark.parametrize("limit", [0, 1000, 100_000])
def test_a_full_disk_costs_one_line_and_leaves_no_file(cache_home, limit):
    code = """
        import resource, sys
        import numpy as np
        from resnet_jax.data import cache

        limit = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        built = np.ones((1000, 8, 8, 3), np.uint8), np.ones(1000, np.int32)
        found = cache.fetch("name", built[0].shape, lambda: built)
        assert found is built
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(limit)],
        env=os.environ | {"PYTHONPATH": str(Path(cache.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "not cached" in done.stderr
    assert not list(cache_home.rglob("*.*"))


def test_an_interrupted_write_leaves_no_file(cache_home, monkeypatch):
    def interrupt(handle, **_):
        handle.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.fetch("name", SHAPE, arrays)
    assert not list(cache_home.rglob("*.*"))


def test_only_abandoned_temporary_files_are_removed(entry):
    old, young = entry.parent / "old.tmp", entry.parent / "young.tmp"
    for file, age in ((old, 2 * 3600), (young, 60)):
        file.write_bytes(b"half")
        os.utime(file, (time.time() - age,) * 2)
    cache.fetch("other", SHAPE, arrays)
    assert not old.exists()
    assert young.exists()


def test_writers_at_once_never_show_a_part_of_an_entry(cache_home, caplog):
    shape = (2000, 8, 8, 3)
    built = np.full(shape, 7, np.uint8), np.full(shape[:1], 7, np.int32)
    start, wrong = threading.Barrier(6), []

    def work():
        start.wait()
        for i in range(20):
            if i % 3 == 0:  # as if this process had found nothing
                cache._write(cache.directory() / f"name-v{cache.FORMAT}.npz", built)
            if not equal(cache.fetch("name", shape, lambda: built), built):
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not caplog.records  # neither unreadable nor unwritable, at any time
    assert len(list(cache_home.rglob("*.*"))) == 1


def test_the_key_depends_on_every_byte_and_on_the_order_of_the_files(tmp_path):
    def key(*contents):
        files = [tmp_path / str(i) for i in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        return cache.key(files)

    contents = [
        (b"ab", b"c"),
        (b"a", b"bc"),
        (b"c", b"ab"),
        (b"ab", b"b"),
        (b"abc",),
        (b"abc", b""),
    ]
    assert len({key(*content) for content in contents}) == len(contents)
    assert key(b"ab", b"c") == key(b"ab", b"c")


def test_the_key_is_that_of_the_content_not_of_name_and_date(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"content")
    second.write_bytes(b"content")
    os.utime(second, (0, 0))
    assert cache.key([first]) == cache.key([second])
