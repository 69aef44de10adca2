"""Ceph's radosgw, as small as it can be: one monitor, one store in memory, one gateway.

Debian: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from zwriter.errors import ServiceError, UsageError
from zwriter.testing.daemons import START_TIMEOUT, daemon, free_port, listens

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
KEY, SECRET = "testkey", "testsecret"
MEMORY = 4 * 1024**3

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth allow insecure global id reclaim = false
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
mon initial members = a
mon data = {folder}/mon
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {memory}
osd class load list = *
osd class default list = *
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw dns name = localhost
rgw run sync thread = false
rgw enable usage log = false
rgw enable quota threads = false
"""

_KEYS = {
    "mon.": ("mon allow *",),
    "client.admin": ("mon allow *", "osd allow *", "mgr allow *"),
    "osd.0": ("mon allow profile osd", "osd allow *"),
    "client.rgw.a": ("mon allow rw", "osd allow rwx"),
}


@contextmanager
def radosgw(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Run it in a folder: endpoint, access key and secret key.

    Raises UsageError if it is not installed, ServiceError if it does not start.
    """
    radosgw_version()
    monitor, gateway, fsid = free_port(), free_port(), str(uuid4())
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    configuration = folder / "ceph.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, fsid=fsid, monitor=monitor, gateway=gateway, memory=MEMORY
        )
    )

    def run(*command: str) -> str:
        return _run([command[0], "-c", str(configuration), *command[1:]])

    with ExitStack() as running:

        def start(ready: Callable[[], bool], program: str, *options: str) -> None:
            command = [program, "-f", "-c", str(configuration), *options]
            running.enter_context(daemon(command, folder / f"{program}.out", ready))

        keyring, monmap = folder / "keyring", folder / "monmap"
        for name, capabilities in _KEYS.items():
            caps = [part for cap in capabilities for part in ("--cap", *cap.split(" ", 1))]
            create = [] if keyring.exists() else ["--create-keyring"]
            _run(["ceph-authtool", str(keyring), *create, "--gen-key", "-n", name, *caps])
        _run(
            [
                *("monmaptool", "--create", "--fsid", fsid),
                *("--addv", "a", f"[v2:127.0.0.1:{monitor}/0]", str(monmap)),
            ]
        )
        run("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(monmap), "--keyring", str(keyring))
        start(lambda: listens(monitor), "ceph-mon", "-i", "a")
        osd = str(uuid4())
        run("ceph", "osd", "new", osd)
        (folder / "osd" / "fsid").write_text(osd)
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        start(lambda: "1 up" in run("ceph", "osd", "stat"), "ceph-osd", "-i", "0")
        start(lambda: listens(gateway), "radosgw", "-n", "client.rgw.a")
        run(
            *("radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid=test"),
            *("--display-name=test", f"--access-key={KEY}", f"--secret-key={SECRET}"),
        )
        yield f"http://127.0.0.1:{gateway}", KEY, SECRET


def radosgw_version() -> str:
    """Which Ceph that is. Raises UsageError if it is not installed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = "radosgw ceph-mon ceph-osd ceph-common"
        raise UsageError(f"there is no {', '.join(missing)}: apt-get install {packages}")
    return " ".join(_run(["radosgw", "--version"]).split()[:3])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT)
    if done.returncode:
        raise ServiceError(f"{command[0]} failed: {done.stderr[-1000:]}")
    return done.stdout
