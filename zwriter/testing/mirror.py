"""A folder of scans as it is now, in a bucket: what is written on a disk, read by a URL."""

from __future__ import annotations

import json
from pathlib import Path

from zwriter.store.log_parts import LogPart
from zwriter.store.shard_index import MISSING, index_bytes, index_nbytes, parse_index
from zwriter.testing.s3 import S3Server

_HOLES = 1 << 20  # what a file must be longer than its disk blocks to be taken for one with holes


def mirror(folder: Path, server: S3Server, bucket: str) -> str:
    """Make the bucket hold what the folder holds, under the same names, and no more; its URL.

    Documents come last, a group's after those in it, and then commits: while it is under way a
    reader sees a scan that is correct. Of shards that are not sealed, chunks are put one behind
    the other.
    """
    client = server.client()
    files = {_name(p, folder): p for p in folder.rglob("*") if p.is_file()}
    for name in sorted(files, key=_order):
        client.put_object(Bucket=bucket, Key=name, Body=_content(files[name]))
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", ()):
            if entry["Key"] not in files:
                client.delete_object(Bucket=bucket, Key=entry["Key"])
    client.close()
    return f"s3://{bucket}"


def _name(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    if path.parent.suffix == ".zwriter" and path.name in ("journal", "quarantine"):
        return f"{name}/{LogPart(1, 0, path.stat().st_size, 0).name}"
    return name


def _order(name: str) -> tuple[bool, bool, int]:
    return "/commits/" in name, name.endswith("zarr.json"), -name.count("/")


def _content(path: Path) -> bytes:
    size = path.stat()
    if size.st_size - size.st_blocks * 512 < _HOLES:
        return path.read_bytes()
    with path.open("rb") as file:
        capacity = _capacity(path)
        index = parse_index(file.read(index_nbytes(capacity)), capacity)
        chunks, end = [], index_nbytes(capacity)
        for number in (index[:, 0] != MISSING).nonzero()[0]:
            offset, nbytes = (int(value) for value in index[number])
            file.seek(offset)
            chunks.append(file.read(nbytes))
            index[number, 0] = end
            end += nbytes
    return b"".join((index_bytes(index), *chunks))


def _capacity(shard: Path) -> int:
    """How many chunks a shard may have, as the document of its array says."""
    folder = next(parent for parent in shard.parents if (parent / "zarr.json").is_file())
    document = json.loads((folder / "zarr.json").read_bytes())
    rows: int = document["chunk_grid"]["configuration"]["chunk_shape"][0]
    chunk_rows: int = document["codecs"][0]["configuration"]["chunk_shape"][0]
    return rows // chunk_rows
