"""The async streams of one scan: one thread reads them, another one gets what is in them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

import redis

from zwriter.failpoint import failpoint
from zwriter.ingest.byte_queue import ByteQueue
from zwriter.ingest.commands import Commands, WrongType
from zwriter.ingest.connection import until_it_works
from zwriter.ingest.discovery import Discovery, StreamName
from zwriter.ingest.resume import BEGINNING, divided, later, resume
from zwriter.ingest.stream import ENTRY_BYTES, Batch, Read, Stream, by_stream
from zwriter.model import Position
from zwriter.protocol.alike import FEWEST, LONG, equal_lengths
from zwriter.protocol.keys import readable
from zwriter.raw import Messages

log = logging.getLogger(__name__)

_REPLY_BYTES = 5 * 1024 * 1024  # two frames of 2 MiB, and what is around them
_REPLIES = 3  # that may be needed to read every stream once, if there are many
_TOGETHER = 8 * 1024 * 1024  # bytes of streams that are handed on at once; less may wait for more
_IN_A_ROW = 8  # replies of one stream, before others are read
_GROWTH = 4  # as often as that, at most, what came of a stream is asked for the next time
_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 0.4
_IDLE_PAUSE = 0.1  # while nothing comes: a burst may follow
_GATHERED = 32  # messages of the busiest stream, and
_GATHERED_BYTES = 4 * 1024 * 1024  # bytes of all, that a pause may let gather in Redis, which trims
_REFUSED_PAUSE = 1.0


@dataclass(slots=True)
class _Call:
    """One XREAD: `count` messages at most from each of `streams`."""

    count: int
    streams: list[Stream]
    nbytes: int = 0


class StreamReader:
    """Reads all async streams of a scan, in the order of each, for `get`.

    Reading begins behind `positions` (stream key -> entry id). When `queue_bytes` wait to be got,
    reading stops until there is room: Redis holds the rest.
    """

    def __init__(
        self,
        client: Commands,
        scan_id: str,
        positions: Mapping[str, str],
        queue_bytes: int,
        devices: Iterable[str] = (),
    ) -> None:
        self._waiting: ByteQueue[Read] = ByteQueue(queue_bytes)
        self.troubles: deque[str] = deque(maxlen=100)  # what somebody should be told
        self._client = client
        self._scan_id = scan_id
        self._positions = positions
        self._devices = list(devices)
        self._reply_bytes = min(_REPLY_BYTES, queue_bytes)
        self._enough = min(_TOGETHER, queue_bytes // 2)
        self._discovery = Discovery(client, scan_id)
        self._streams: dict[str, Stream] = {}
        self._looked_at = 0.0
        self._empty_since = 0.0
        self._passed = 0.0  # when it was begun to read all of them
        self.longest_pause = 0.0  # seconds between two times of these
        self._connections = -1  # when streams were last known to be those of the server
        self._pause = _SHORTEST_PAUSE
        self._nbytes = 0  # that were read so far
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read-{scan_id[:8]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was read can still be got."""
        self._stop.set()
        self._waiting.close()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def nbytes(self) -> int:
        """Bytes that were read and not yet got."""
        return self._waiting.nbytes

    @property
    def streams(self) -> list[StreamName]:
        """The streams known so far."""
        return [stream.name for stream in list(self._streams.values())]

    def has_handed_on_up_to(self, moment: float) -> bool:
        """Whether all that was pushed before `moment` (seconds since 1970, the server's clock) was
        read and handed on, as far as it can be; there may be more."""
        return all(
            stream.refused == math.inf
            or (stream.handed_on == stream.reads and not stream.behind)
            or Position(key, stream.got).time > moment
            for key, stream in list(self._streams.items())
        )

    def passed(self, moment: float) -> bool:
        """Whether streams were looked for, and all of them read once, after `moment`
        (time.monotonic): not while Redis is away, or refuses one."""
        return min(self._looked_at, self._passed) > moment

    @property
    def behind(self) -> list[tuple[str, str]]:
        """(key, position) of the streams that hold more than was read of them."""
        return [(s.name.key, s.position) for s in list(self._streams.values()) if s.behind]

    def hurry(self) -> None:
        """Look for new streams at once."""
        self._discovery.hurry()

    def emptied(self, moment: float) -> bool:
        """Whether streams were looked for, and all found empty, after `moment` (time.monotonic)."""
        return self._empty_since >= moment

    def _run(self) -> None:
        what = f"scan {self._scan_id}: reading its streams"
        try:
            until_it_works(what, self._take_described, self._stop)
            while not self._stop.is_set():
                until_it_works(what, self._step, self._stop)
        except Exception:
            log.exception("%s failed", what)

    def _take_described(self) -> None:
        self._add(self._discovery.described(self._devices))

    def _add(self, names: Iterable[StreamName]) -> None:
        for name in names:
            position = self._positions.get(name.key, BEGINNING)
            self._streams[name.key] = Stream(name, position, unsure=position != BEGINNING)
            log.debug("scan %s: reads %r from %s", self._scan_id, name.key, position)

    def _step(self) -> None:
        """Read every stream once, and wait a little if there cannot be more right now."""
        began = time.monotonic()
        if self._discovery.due:
            self._add(self._discovery.look())
            self._looked_at = self._discovery.looked
        most, more, nbytes = 0, False, self._nbytes
        waiting = [stream for stream in self._streams.values() if stream.refused <= began]
        for call in calls(waiting, self._reply_bytes):
            came = self._read(call)
            most = max(most, came)
            more = more or came >= call.count
        nbytes = self._nbytes - nbytes
        if not any(0 < stream.refused < math.inf for stream in self._streams.values()):
            if self._passed:
                self.longest_pause = max(self.longest_pause, began - self._passed)
            self._passed = began
            if not most:
                self._empty_since = self._looked_at
        self._pause = next_pause(self._pause, most, nbytes)
        if not more:
            self._stop.wait(self._pause)

    def _read(self, call: _Call) -> int:
        """Take what one XREAD gives; the most messages that came of one stream."""
        sure = [stream for stream in call.streams if not stream.unsure or self._compare(stream)]
        wanted = {stream.name.raw: stream for stream in sure}
        if not wanted:
            return 0
        try:
            if len(wanted) == 1 and sure[0].behind and sure[0].size >= LONG:
                return self._read_on(sure[0], call.count)
            reply = self._client.xread(
                {key: stream.position for key, stream in wanted.items()}, count=call.count
            )
        except redis.ResponseError as error:
            return self._read_singly(_Call(call.count, sure), error)
        failpoint("ingest.read")
        if not self._same_server():
            return call.count
        return max(
            self._take_reply(stream, reply.get(key, []), call.count)
            for key, stream in wanted.items()
        )

    def _read_on(self, stream: Stream, count: int) -> int:
        """Take what XREADs of a stream of long messages give, which has more than one of them
        takes; how many came last. Not for long if there are other streams."""
        replies, came = 0, count

        def go_on() -> bool:
            others = len(self._streams) > 1 and replies >= _IN_A_ROW
            return not (others or self._stop.is_set() or self._discovery.due)

        with closing(self._client.xreads(stream.name.raw, stream.position, count, go_on)) as found:
            for groups in found:
                failpoint("ingest.read")
                if not self._same_server():
                    return count
                replies += 1
                came = self._take_reply(stream, groups, count)
        return came

    def _same_server(self) -> bool:
        """Whether what came is of the server that we know. It may be of another one after each new
        connection; then it is not to be taken: we may have asked for what is behind an entry that
        this one does not know."""
        if self._connections == (now := self._client.connections):
            return True
        self._connections = now
        for stream in self._streams.values():
            stream.unsure = stream.position != BEGINNING
        return False

    def _take_reply(self, stream: Stream, groups: list[Messages], count: int) -> int:
        """Take what came of a stream when it was asked for `count` messages; how many."""
        came = sum(map(len, groups))
        stream.refused, stream.behind = 0.0, came >= count
        stream.came = max(came, stream.came // _GROWTH, 1)
        if stream.again != BEGINNING:
            groups = self._take_again(stream, groups)
        if groups:
            self._take(stream, groups)
        return came

    def _read_singly(self, call: _Call, error: redis.ResponseError) -> int:
        """One stream that cannot be read (type, rights) must not keep us from the others."""
        if len(call.streams) > 1:
            return max(self._read(_Call(call.count, [stream])) for stream in call.streams)
        self._leave(call.streams[0], error)
        return 0

    def _leave(self, stream: Stream, error: redis.ResponseError) -> None:
        """Leave a stream alone for a while; for ever, if there is something else."""
        if not stream.refused:
            self._tell(f"{stream.name.key} cannot be read: {error}")
        passes = not isinstance(error, WrongType)
        stream.refused = time.monotonic() + _REFUSED_PAUSE if passes else math.inf
        stream.behind = False

    def _compare(self, stream: Stream) -> bool:
        """Find out whether it is the stream that we know, and if not, read it from the beginning.
        False if that cannot be known now."""
        try:
            stream.position, again = resume(self._client, stream.name.raw, stream.position)
        except redis.ResponseError as error:
            self._leave(stream, error)
            return False
        stream.unsure = False
        if again != BEGINNING:
            stream.again = later(again, stream.again)  # it may be read again already
            self._tell(f"{stream.name.key} is not the stream that was read so far")
        return True

    def _take_again(self, stream: Stream, groups: list[Messages]) -> list[Messages]:
        """Take what may be known already, marked as such; what is left of `groups`."""
        known, new = divided([pair for group in groups for pair in group.pairs()], stream.again)
        if known:
            self._take(stream, list(equal_lengths(known)), again=True)
        if new:
            stream.again = BEGINNING
        return list(equal_lengths(new))

    def _tell(self, text: str) -> None:
        text = readable(text)
        log.error("scan %s: %s", self._scan_id, text)
        self.troubles.append(text)

    def _take(self, stream: Stream, groups: list[Messages], *, again: bool = False) -> None:
        read = Read(stream, groups, again)
        stream.size = max(messages.length for messages in groups) + ENTRY_BYTES
        self._nbytes += read.nbytes
        stream.reads += 1
        if self._waiting.put(read, read.nbytes):
            failpoint("ingest.queued")
            stream.position = read.last

    def get(self, timeout: float = 0.0, *, gathering: bool = False) -> Batch | None:
        """What was read first, decoded, with what was read behind it as long as that is little;
        None if nothing is there within `timeout` seconds. If it may go on `gathering`, also what
        is little is left for later: decoding costs as much for a few messages as for many.

        For one thread. All updates of a message are in one batch.
        """
        reads: list[Read] = []
        nbytes = 0
        enough = self._enough if gathering else 0
        while nbytes < _TOGETHER and (read := self._waiting.get(timeout, enough)):
            reads.append(read)
            nbytes += read.nbytes
            timeout, enough = 0.0, 0
        batch: Batch = []
        for read in by_stream(reads):
            batch += read.decoded()
            read.stream.got = read.last
        for read in reads:
            read.stream.handed_on += 1
        return batch or None


def next_pause(last: float, messages: int, nbytes: int) -> float:
    """Seconds to the next reading, after one in which `messages` at most came of a stream, and
    `nbytes` in all, since the `last` pause.

    While data trickles, a pause lets a batch gather, which costs much less than single messages;
    but no more than Redis surely keeps. While nothing comes, it grows.
    """
    share = max(messages / _GATHERED, nbytes / _GATHERED_BYTES)
    wanted = last / share if share else _IDLE_PAUSE
    return min(max(min(wanted, 2 * last), _SHORTEST_PAUSE), _LONGEST_PAUSE)


def calls(streams: Iterable[Stream], budget: int) -> list[_Call]:
    """The XREADs that read each stream once, with no reply larger than about `budget` bytes.

    Streams whose messages are of similar size share a call. Of those whose size is not known one
    message is read.
    """
    ordered = sorted(streams, key=lambda stream: stream.size)
    if not ordered:
        return []
    share = min(budget, _REPLIES * budget // len(ordered))
    most = max(stream.came for stream in ordered)  # one for all: who is asked alike shares a call
    result: list[_Call] = []
    for stream in ordered:
        fits = max(1, share // stream.size) if stream.size else 1
        if 0 < stream.size * FEWEST < LONG:
            fits = max(fits, FEWEST)  # of small messages, as many as can be read at once
        if most:
            fits = min(fits, _GROWTH * most)  # large ones may follow on few small ones
        count = 1 << (fits.bit_length() - 1)
        nbytes = count * stream.size
        last = result[-1] if result else None
        if last and last.count == count and last.nbytes + nbytes <= budget:
            last.streams.append(stream)
            last.nbytes += nbytes
        else:
            result.append(_Call(count, [stream], nbytes))
    return result
