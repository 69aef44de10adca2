"""What of a scan's store belongs to no commit: groups, what was read at scan points, and what
finishing adds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zwriter.errors import Damaged
from zwriter.ship.carrier import Carrier
from zwriter.ship.documents import NAME
from zwriter.ship.values import ValueShipment
from zwriter.store.codecs import intact
from zwriter.store.layout import GROUPS, KEPT
from zwriter.store.zarr_json import chunk_files, to_text


class TreeShipment:
    """Sends it from the spool's store `path`; devices: the node whose groups they are."""

    def __init__(self, path: Path, devices: str, carrier: Carrier) -> None:
        self._path, self._devices = path, devices
        self._bucket, self._documents = carrier.bucket, carrier.documents
        self._side_by_side = carrier.side_by_side
        self._values: dict[str, ValueShipment] = {}
        self._points: dict[str, int] = {}  # node -> how many points of it were sent
        self._logs: set[str] = set()  # their chunks

    def ship(self, committed: dict[str, set[str]], *, all_of_it: bool) -> None:
        """Send groups, and points of which at least a third are new; committed: device -> signals
        that have commits."""
        root = (self._path / NAME).read_bytes()
        if not json.loads(root)["attributes"]["zwriter"]["finished"]:
            self._documents.put("", root)  # else it is the last thing that is sent
        for node in GROUPS:
            self._documents.mirror(node, self._path / node)
        for folder in sorted(self._path.joinpath(self._devices).glob("*/")):
            device = f"{self._devices}/{folder.name}"
            document = _read(folder)
            if document and "zwriter" not in document["attributes"]:  # else it goes with a commit
                self._documents.put(device, to_text(document))
            for signal in sorted(folder.glob("*/")):
                if signal.name not in committed.get(folder.name, ()):
                    self._ship_points(f"{device}/{signal.name}", signal, all_of_it=all_of_it)

    def _ship_points(self, node: str, folder: Path, *, all_of_it: bool) -> None:
        document = _read(folder)
        if document is None or document["attributes"].get("zwriter", {}).get("layout") != "points":
            return
        arrays = sorted(array.parent for array in folder.glob(f"*/{NAME}"))
        points = max((rows for array in arrays if (rows := _rows(array))), default=0)
        sent = self._points.get(node, 0)
        if not all_of_it and (points == sent or 2 * points < 3 * sent):
            return
        try:
            self._send(f"{node}/{array.name}" for array in arrays)
        except Damaged:
            if all_of_it:
                raise
            return  # they are being written: the next time
        self._documents.mirror(node, folder)
        self._points[node] = points

    def _send(self, nodes: Iterable[str]) -> None:
        values = [self._value(node) for node in nodes]
        for value in values:
            value.read()
        self._side_by_side(ValueShipment.send, values)
        for value in values:
            value.show()

    def _value(self, node: str) -> ValueShipment:
        if node not in self._values:
            self._values[node] = ValueShipment(
                self._path / node, node, self._bucket, self._documents
            )
        return self._values[node]

    def ship_rest(self) -> dict[str, Any]:
        """Send all that a finished store has besides; the root document that belongs to what is in
        the bucket then. After `ship`, and after all devices."""
        root: dict[str, Any] = json.loads((self._path / NAME).read_bytes())
        nodes: dict[str, Any] = root["consolidated_metadata"]["metadata"]
        rest = [node for node in nodes if node not in self._documents]
        arrays = [node for node in rest if nodes[node]["node_type"] == "array"]
        logs = [node for node in arrays if node.startswith(f"{KEPT}/")]
        self._send(node for node in arrays if node not in logs)
        for node in logs:
            self._send_log(node)
        for node in rest:
            if nodes[node]["node_type"] == "group":
                self._documents.mirror(node, self._path / node)
        for node, document in nodes.items():
            inline = document.get("consolidated_metadata")
            kept = {"consolidated_metadata": inline} if inline else {}
            nodes[node] = self._documents.sent(node) | kept
        return root

    def _send_log(self, node: str) -> None:
        """Send an array that was written once, by finishing."""
        folder = self._path / node
        for path in sorted(chunk_files(folder)):
            key = self._documents.key_of(node, path.relative_to(folder).as_posix())
            if not intact(data := path.read_bytes()):
                raise Damaged(f"{path}: not what was written")
            self._bucket.put(key, data)
            self._logs.add(key)
        self._documents.mirror(node, folder)

    def finish(self, root: dict[str, Any]) -> None:
        """Send the root document: the scan is finished."""
        self._documents.put("", to_text(root))

    def keys(self) -> set[str]:
        """The objects that belong to what is shown, apart from documents of groups."""
        return {key for value in self._values.values() for key in value.keys} | self._logs


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return document


def _rows(array: Path) -> int:
    document = _read(array)
    return int(document["shape"][0]) if document and document["shape"] else 0
