"""The beamline's states: for each the one that held when the scan began, and every change since."""

from __future__ import annotations

import logging

from zwriter.errors import BadMessage
from zwriter.ingest.commands import Commands
from zwriter.ingest.kept import Kept
from zwriter.protocol import keys
from zwriter.protocol.codec import decode
from zwriter.protocol.messages import AvailableBeamlineStates

log = logging.getLogger(__name__)

_CHANGES_BEFORE_WE_LOOKED = 100


class BeamlineStates:
    """Reads the streams of the states that are available. `since`: seconds since 1970."""

    def __init__(self, client: Commands, since: float) -> None:
        self._kept = Kept(client)
        self._since_ms = int(since * 1000)
        self._positions: dict[str, bytes] = {}

    def news(self) -> list[tuple[str, bytes]]:
        """(name, message) of what was not told before, oldest first within a state."""
        found: list[tuple[str, bytes]] = []
        for name in self._names():
            stream = keys.beamline_state(name)
            if name in self._positions:
                entries = self._kept.entries_after(stream, self._positions[name])
            else:
                entries = self._since_the_beginning(stream)
            for entry, fields in entries:
                self._positions[name] = entry
                if b"data" in fields:
                    found.append((name, fields[b"data"]))
        return found

    def _names(self) -> list[str]:
        raw = self._kept.last_entry(keys.available_beamline_states())
        if raw is None:
            return []
        try:
            return AvailableBeamlineStates.of(decode(raw)).names
        except BadMessage as error:
            log.warning("%s cannot be used: %s", keys.available_beamline_states(), error)
            return []

    def _since_the_beginning(self, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """The entries since the scan began, and the one before them, which held then."""
        result = []
        for entry, fields in self._kept.last_entries(stream, _CHANGES_BEFORE_WE_LOOKED):
            result.append((entry, fields))
            if int(entry.partition(b"-")[0]) < self._since_ms:
                break
        return result[::-1]
