"""A path in a bucket is used as one on a disk is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import obstore
import pytest

from zwriter.errors import UsageError
from zwriter.objects import AnyPath, ObjectPath, contents, place

ODD = "50 % #1+2 ü"


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    """A folder `data` with the files a, b/c, b/d/e, S1.zarr/zarr.json and f/`ODD`."""
    files = {"a": b"0123456789", "b/c": b"cc", "b/d/e": b"", "S1.zarr/zarr.json": b"{}"}
    files[f"f/{ODD}"] = b"odd"
    if request.param == "disk":
        for name, data in files.items():
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name).write_bytes(data)
        return place(str(tmp_path / "data"))
    bucket = request.getfixturevalue("bucket")
    writer = request.getfixturevalue("storage").writer(bucket, "data")
    for name, data in files.items():
        obstore.put(writer, name, data)
    return place(f"s3://{bucket}/data/")


def test_files_are_read(folder):
    assert (folder / "a").read_bytes() == b"0123456789"
    assert (folder / "b" / "d/e").read_bytes() == b""
    assert (folder / "a").stat().st_size == 10
    with (folder / "a").open("rb", buffering=0) as file:
        file.seek(4)
        assert file.read(3) == b"456"
        assert file.read() == b"789"
        assert file.read(1) == b""


def test_what_is_not_there_is_not_found(folder):
    for name in ("x", "b/x", "a/x"):
        assert not (folder / name).exists()
        assert not (folder / name).is_file()
        assert not (folder / name).is_dir()
    with pytest.raises(FileNotFoundError):
        (folder / "x").read_bytes()
    with pytest.raises(FileNotFoundError):
        (folder / "x").open("rb")
    with pytest.raises(FileNotFoundError):
        (folder / "x").stat()


def test_names_may_have_what_urls_may_not(folder):
    assert (folder / "f" / ODD).read_bytes() == b"odd"
    assert contents(folder / "f") == {ODD: False}


def test_folders_have_contents(folder):
    assert contents(folder) == {"a": False, "b": True, "S1.zarr": True, "f": True}
    assert contents(folder / "b") == {"c": False, "d": True}
    assert contents(folder / "x") == {}
    assert folder.is_dir()
    assert (folder / "b").is_dir()
    assert not (folder / "b").is_file()
    assert (folder / "b/c").is_file()


def test_names_are_those_of_pathlib(folder):
    store = folder / "S1.zarr"
    assert (store.name, store.suffix) == ("S1.zarr", ".zarr")
    assert str(store.with_suffix(".zwriter")) == str(folder) + "/S1.zwriter"
    assert (folder.name, str(store / "")) == ("data", str(store))


@pytest.mark.s3
def test_nothing_is_cached(bucket, storage):
    writer, folder = storage.writer(bucket, "data"), place(f"s3://{bucket}/data")
    for number in range(3):
        obstore.put(writer, "a", bytes(number))
        obstore.put(writer, f"b/{number}", b"")
        assert len((folder / "a").read_bytes()) == (folder / "a").stat().st_size == number
        assert len(contents(folder / "b")) == number + 1


@pytest.mark.s3
def test_a_file_that_is_replaced_while_it_is_open_is_an_error_and_no_mixture(bucket, storage):
    writer, folder = storage.writer(bucket), place(f"s3://{bucket}/data")
    obstore.put(writer, "data/a", b"a" * 20_000_000)
    with (folder / "a").open("rb") as file:
        assert file.read(1) == b"a"
        obstore.put(writer, "data/a", b"b" * 20_000_000)
        file.seek(19_000_000)
        with pytest.raises(OSError, match="no longer"):
            file.read(1)


@pytest.mark.s3
def test_an_object_is_read_whole_by_one_request(bucket, storage, monkeypatch):
    obstore.put(storage.writer(bucket), "a", bytes(20_000_000))
    path, requests = place(f"s3://{bucket}/a"), []
    get, call = obstore.get, type(storage.filesystem)._call_s3
    monkeypatch.setattr(obstore, "get", lambda *a: (requests.append(a[1]), get(*a))[1])
    monkeypatch.setattr(
        type(storage.filesystem),
        "_call_s3",
        lambda s, *a, **k: (requests.append(a), call(s, *a, **k))[1],
    )
    assert len(path.read_bytes()) == 20_000_000
    assert requests == ["a"]


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///", "s3:/bucket/x", "gs://bucket/x", "https://host/x"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(UsageError, match="give s3://<bucket>/<prefix>, or a path on a disk"):
        place(url)


def test_a_path_on_a_disk_needs_none_of_the_clients():
    code = "import sys; from zwriter.objects import place; place('x'); print('s3fs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.s3
def test_the_sizes_of_all_objects_in_a_folder_are_told(bucket: str):
    for name, size in (("S1/a", 10), ("S1/b/c", 0), (f"S1/{ODD}", 3), ("S12/d", 1)):
        path = place(f"s3://{bucket}/{name}")
        assert isinstance(path, ObjectPath)
        path.write_bytes(bytes(size))
    folder = place(f"s3://{bucket}/S1")
    assert isinstance(folder, ObjectPath)
    expected = {"S1/a": 10, "S1/b/c": 0, f"S1/{ODD}": 3}
    assert folder.sizes() == {f"s3://{bucket}/{name}": size for name, size in expected.items()}
