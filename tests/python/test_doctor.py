# SPDX-License-Identifier: MIT
"""``decache doctor``: it sees what a folder lacks, says so, and leaves nothing behind.

What is lacking is real: file systems that cannot do it (`_mounts`), calls that the kernel refuses
or lets do nothing (`_children`), and two mounts of one folder that know nothing of each other's
locks, as two machines with a network file system that has none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import decache
import pytest

import _cli
from _children import become_nobody, can_refuse_calls, in_child, open_folder, refuse_calls
from _mounts import mounted, remount
from decache import _h5store, _shared
from decache._doctor import Diagnosis
from test_filesystems import fill_up

LOCAL = [
    "file system", "container", "space", "file length", "clock", "locks", "shared locks",
    "locks of the dead", "flock", "bytes", "mapping", "holes", "reserving", "syncing", "names",
    "deleting", "trial",
]
ACROSS = ["across"] + [
    f"across: {name}" for name in ("locks", "the dead", "bytes", "names", "flock", "clocks")
]
FINE = ("ok", "slow")


def results(found: Diagnosis) -> dict[str, str]:
    return {one.test: one.result for one in found.findings}


def wrong(found: Diagnosis) -> dict[str, str]:
    """What is neither fine nor a matter of the place itself."""
    return {
        one.test: one.text for one in found.findings
        if one.result not in FINE and one.test != "file system"
    }


def left_in(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name != "lost+found"]


# -- what is there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs"])
def test_a_good_folder(kind: str, tmp_path: Path) -> None:
    with mounted(kind, tmp_path / kind, 320) as root:
        found = decache.doctor(root)
        assert list(results(found)) == LOCAL
        assert (wrong(found), found.status) == ({}, 0)
        assert found.findings[0].values["type"] == kind
        assert found.folder == str(root)
        assert left_in(root) == []


def test_a_cache_that_is_not_there_yet(tmp_path: Path) -> None:
    found = decache.doctor(tmp_path / "not" / "yet")
    assert found.folder == str(tmp_path)
    assert found.container == str(tmp_path / "not" / "yet" / "joblib" / "blobs.h5")
    assert found.state == {"exists": False}
    assert wrong(found) == {}
    assert left_in(tmp_path) == []
    with pytest.raises(NotADirectoryError):
        decache.doctor(__file__ + "/cache")


def test_memory_does_not_last(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "tmpfs", 200) as root:
        found = decache.doctor(root)
        assert wrong(found) == {} and found.status == 1
        assert results(found)["file system"] == "limited" and "memory" in found.findings[0].text
        assert found.verdict.startswith("safe") and "file system" in found.verdict


def test_an_overlay_may_go(tmp_path: Path) -> None:
    with mounted("overlay", tmp_path / "overlay", 200) as root:
        found = decache.doctor(root)
        assert wrong(found) == {} and found.status == 1
        assert "overlay" in found.findings[0].text


def test_a_folder_without_holes(tmp_path: Path) -> None:
    with mounted("ramfs", tmp_path / "ramfs") as root:
        found = decache.doctor(root)
        assert set(wrong(found)) <= {"holes", "reserving", "space"}
        assert results(found)["holes"] == results(found)["reserving"] == "limited"
        assert "du does not fall" in wrong(found)["holes"]
        assert results(found)["trial"] == "ok"


# -- what is full, closed, or cut short ------------------------------------------------------------


def test_a_full_disk(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "full", 12) as root:
        fill_up(root / "ballast")
        found = decache.doctor(root)
        assert found.status == 1, wrong(found)
        assert wrong(found).keys() == {"space", "writing"}
        assert wrong(found)["space"].startswith("0 B free")
        assert left_in(root) == ["ballast"]


def test_a_disk_with_little_room(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "little", 3) as root:
        found = decache.doctor(root)
        assert found.status == 1
        assert wrong(found) == {
            "space": found.findings[2].text, "holes": "no space to test it",
        }
        assert left_in(root) == []


def test_a_disk_without_room_for_files(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "few", 200, options="nr_inodes=8") as root:
        with pytest.raises(OSError, match="No space left"):
            for number in range(20):
                (root / str(number)).touch()
        before = sorted(os.listdir(root))
        found = decache.doctor(root)
        assert found.status == 1
        assert "No space left" in wrong(found)["writing"]
        assert sorted(os.listdir(root)) == before


def test_a_read_only_folder(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "ext4") as root:
        decache.Store(root / "blobs.h5").close()
        remount(root, "ro")
        found = decache.doctor(root)
        assert found.status == 1
        assert "Read-only file system: nothing is stored" in wrong(found)["writing"]
        assert found.state["opens"] is True


def doctor_as_nobody(folder: Path) -> Diagnosis:
    become_nobody()
    return decache.doctor(folder)


def test_a_folder_of_others() -> None:
    with open_folder() as folder:
        os.chmod(folder, 0o555)
        found = in_child(doctor_as_nobody, folder)
        assert "Permission denied" in wrong(found)["writing"] and found.status == 1


def doctor_with_a_limit(folder: Path) -> Diagnosis:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, resource.RLIM_INFINITY))
    return decache.doctor(folder)


def test_a_limit_of_the_shell(tmp_path: Path) -> None:
    found = in_child(doctor_with_a_limit, tmp_path)
    assert wrong(found) == {"file length": "this process may write 64.0 MiB a file"}


# -- what the system refuses, or only pretends to do -----------------------------------------------

refusing = pytest.mark.skipif(
    not can_refuse_calls(), reason="this kernel or machine filters no system calls"
)


def doctor_refused(folder: Path, refusals: dict[str, int]) -> Diagnosis:
    refuse_calls(refusals)
    return decache.doctor(folder)


@refusing
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP])
def test_without_locks_it_is_not_safe(code: int, tmp_path: Path) -> None:
    found = in_child(doctor_refused, tmp_path, {"fcntl": code})
    assert found.status == 2
    assert wrong(found) == dict.fromkeys(
        ["locks", "shared locks", "locks of the dead"], os.strerror(code)
    )
    assert found.verdict == f"not safe: locks: {os.strerror(code)}"
    assert "trial" not in results(found)
    assert left_in(tmp_path) == []


@refusing
def test_locks_that_keep_nobody_out_are_not_safe(tmp_path: Path) -> None:
    """The call succeeds, and does nothing."""
    found = in_child(doctor_refused, tmp_path, {"fcntl": 0, "flock": 0})
    assert found.status == 2
    assert wrong(found) == {
        "locks": "two processes get the same lock at once",
        "shared locks": "a shared lock is given to one alone",
        "locks of the dead": "two processes get the same lock at once",
        "flock": "it keeps nobody out: HDF5 viewers may err",
    }


@refusing
def test_holes_that_free_nothing_are_seen(tmp_path: Path) -> None:
    found = in_child(doctor_refused, tmp_path, {"fallocate": 0})
    assert found.status == 2  # a hole that still reads as before: what was removed would come back
    assert wrong(found)["holes"] == "a hole reaches further than it was punched"


@refusing
def test_what_can_be_done_without(tmp_path: Path) -> None:
    found = in_child(doctor_refused, tmp_path, {
        "fallocate": errno.EOPNOTSUPP, "flock": errno.ENOLCK, "link": errno.EPERM,
    })
    assert found.status == 1
    assert set(wrong(found)) == {"holes", "reserving", "flock", "names"}
    assert set(results(found).values()) <= {*FINE, "limited"}
    assert found.verdict.startswith("safe for any number of processes of this machine, but mind:")


# -- a container that is there ---------------------------------------------------------------------


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files, with what is in them and when they were written."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_container_is_not_touched(tmp_path: Path) -> None:
    _cli.make_cache(tmp_path)
    _shared._close_all()
    before = contents(tmp_path)
    found = decache.doctor(tmp_path)
    assert found.folder == str(tmp_path / "joblib") and wrong(found) == {}
    state = found.state
    assert (state["opens"], state["results"], state["log_bytes"], state["locks"]) == (
        True, 8, None, []
    )
    assert contents(tmp_path) == before and len(before) >= 2


def test_a_container_in_use_and_what_a_killed_one_left(tmp_path: Path) -> None:
    with _cli.busy(tmp_path):
        found = decache.doctor(tmp_path)
        assert wrong(found) == {}
        assert found.state["opens"] and found.state["results"] > 10
        assert "MEMBER (shared)" in found.state["locks"] and found.state["log_bytes"] > 0
    before = contents(tmp_path)  # the writer was killed
    assert any(path.endswith("-wal") for path in before)
    found = decache.doctor(tmp_path)
    assert (found.state["locks"], found.state["opens"]) == ([], True)
    assert found.state["log_bytes"] > 0
    assert contents(tmp_path) == before


def test_locks_held_are_named(tmp_path: Path) -> None:
    with _h5store.Store(str(tmp_path / "blobs.h5"), create=True):
        log = os.open(tmp_path / "blobs.h5-wal", os.O_RDWR)
        lock = struct.pack("hhqqi4x", 1, os.SEEK_SET, 2**62 + 16, 1, 0)  # WRITE, see LOCKING.md
        fcntl.fcntl(log, fcntl.F_OFD_SETLK, lock)
        found = decache.doctor(tmp_path)
        os.close(log)
    assert found.state["locks"] == ["MEMBER (shared)", "WRITE"]


def test_a_container_that_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "blobs.h5").write_bytes(b"no container" * 1000)
    found = decache.doctor(tmp_path)
    assert set(wrong(found)) == {"container"} and found.status == 1
    assert found.state["opens"] is False and "blobs.h5" in found.state["error"]
    assert left_in(tmp_path) == ["blobs.h5"]


# -- the command -----------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    text = _cli.good("doctor", tmp_path)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line[:17].strip() for line in lines[4 : 4 + len(LOCAL)]] == LOCAL
    assert lines[-1] == "safe for any number of processes of this machine"


def test_the_command_in_json_and_its_status(tmp_path: Path) -> None:
    (tmp_path / "blobs.h5").write_bytes(b"no container" * 1000)
    found = _cli.document("doctor", tmp_path, status=1)
    assert found["status"] == 1 and found["machines"] == [os.uname().nodename]
    assert [one["test"] for one in found["findings"]] == LOCAL
    assert set(found["findings"][0]) == {"test", "result", "text", "advice", "values"}
    assert found["verdict"].endswith("but mind: container")
    assert "is not a folder" in _cli.refused("doctor", __file__ + "/x")


@refusing
def test_everything_that_can_be_wrong_fits_the_screen(tmp_path: Path) -> None:
    done = in_child(_run_refused, tmp_path)
    assert done.status == 2
    lines = done.out.splitlines()[2:]  # but for the paths
    assert all(len(line) <= 80 and "..." not in line for line in lines)
    assert lines[-1].startswith("not safe: ") and len(lines) > len(LOCAL)


def _run_refused(folder: Path) -> _cli.Done:
    refuse_calls({"fcntl": errno.EOPNOTSUPP, "fallocate": errno.EOPNOTSUPP,
                  "flock": errno.EOPNOTSUPP, "link": errno.EPERM})
    return _cli.run("doctor", folder)


# -- it ends early ---------------------------------------------------------------------------------


def start(folder: Path, *options: str, code: str = "", prefix: tuple[str, ...] = ()) -> Any:
    """Start a doctor that waits for another one."""
    program = ["-c", code] if code else ["-m", "decache"]
    return subprocess.Popen(
        [*prefix, sys.executable, *program, "doctor", str(folder), "--across", "--json", *options],
        env=_cli.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )


def wait_for(true: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL", "SIGHUP"])
def test_nothing_is_left_when_it_is_stopped(name: str, tmp_path: Path) -> None:
    code = (
        "import signal, sys; from decache import _cli; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # nohup and background jobs ignore these
        "sys.exit(_cli.main(sys.argv[1:]))"
    )
    process = start(tmp_path, code=code)
    wait_for(lambda: list(tmp_path.glob(".decache-doctor-*/host")), "it does not wait")
    process.send_signal(getattr(signal, name))
    process.communicate()
    if name == "SIGINT":
        assert process.returncode == 130 and left_in(tmp_path) == []
    else:
        assert process.returncode == -getattr(signal, name)
        wait_for(lambda: left_in(tmp_path) == [], f"{left_in(tmp_path)} is left")


# -- two machines ----------------------------------------------------------------------------------


def both(one: Any, other: Any) -> list[dict[str, Any]]:
    """What two doctors say who meet."""
    answers = []
    for process in (one, other):
        out, err = process.communicate(timeout=120)
        assert err == "", err
        answers.append({**json.loads(out), "returncode": process.returncode})
    return answers


def of(answer: dict[str, Any]) -> dict[str, str]:
    return {one["test"]: one["result"] for one in answer["findings"]}


def test_two_doctors_meet(tmp_path: Path) -> None:
    answers = both(start(tmp_path), start(tmp_path))
    for answer in answers:
        assert list(of(answer)) == LOCAL + ACROSS
        assert {name for name, result in of(answer).items() if result not in FINE} == {"across"}
        assert answer["returncode"] == answer["status"] == 1  # one machine proves nothing of two
    assert left_in(tmp_path) == []


@contextlib.contextmanager
def other_machine(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """What lets a command see another machine's name and start; the rest is this one's."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can give a process another machine's name (unshare)")
    boot = tmp_path.parent / f"{tmp_path.name}-boot"
    boot.write_text("00000000-1111-2222-3333-444444444444\n")
    script = (
        f"mount --bind {boot} /proc/sys/kernel/random/boot_id && hostname elsewhere && exec \"$@\""
    )
    prefix = ("unshare", "--mount", "--uts", "sh", "-c", script, "sh")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no other machine can be played here: {tried.stderr.strip()}")
    yield prefix


def test_two_machines_with_one_disk_are_safe(tmp_path: Path) -> None:
    with other_machine(tmp_path) as prefix:
        answers = both(start(tmp_path), start(tmp_path, prefix=prefix))
    for answer in answers:
        assert set(of(answer).values()) <= set(FINE)
        assert answer["returncode"] == answer["status"] == 0
    here = os.uname().nodename
    assert [one["machines"] for one in answers] == [[here, "elsewhere"], ["elsewhere", here]]
    assert answers[0]["verdict"] == (
        f"safe for any number of processes of {here} and elsewhere"
    )


def test_two_machines_without_common_locks_are_not_safe(tmp_path: Path) -> None:
    """Two FUSE mounts of one folder: each keeps locks to itself, as sshfs or nolock does."""
    if shutil.which("bindfs") is None or os.geteuid() != 0:
        pytest.skip("bindfs is not installed (package bindfs), or this is not root")
    ground, roots = tmp_path / "ground", [tmp_path / "one", tmp_path / "two"]
    with contextlib.ExitStack() as ends:
        for folder in (ground, *roots):
            folder.mkdir()
        for root in roots:
            done = subprocess.run(["bindfs", ground, root], capture_output=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"bindfs does not work here: {done.stderr.decode().strip()}")
            ends.callback(subprocess.run, ["umount", "-l", root], check=True)
        alone = decache.doctor(roots[0])
        assert results(alone)["other machines"] == "unknown" and alone.status == 1
        assert set(wrong(alone)) == {"holes", "reserving", "other machines"}
        answers = both(*map(start, roots))
    for answer in answers:
        assert answer["returncode"] == answer["status"] == 2
        assert of(answer)["across: locks"] == of(answer)["across: the dead"] == "not safe"
        assert of(answer)["across: flock"] == "limited"
        assert "across: locks: both machines get the same lock at once" in answer["verdict"]
    assert os.listdir(ground) == []


def test_clocks_are_compared(tmp_path: Path) -> None:
    code = (
        "import sys, time; real = time.time; time.time = lambda: real() + 1000; "
        "from decache import _cli; sys.exit(_cli.main(sys.argv[1:]))"
    )
    right, ahead = both(start(tmp_path), start(tmp_path, code=code))
    (one,) = [one for one in right["findings"] if one["test"] == "across: clocks"]
    assert one["result"] == "limited" and one["text"] == "the other's is 16.7 min ahead"
    low, high = one["values"]["ahead_at_least_seconds"], one["values"]["ahead_at_most_seconds"]
    assert low <= 1000 <= high and high - low < 60
    assert of(ahead)["clock"] == "limited" == of(ahead)["across: clocks"]


def test_nobody_comes(tmp_path: Path) -> None:
    # What a killed doctor and its second process left is no doctor.
    stale = tmp_path / ".decache-doctor-0000000000000000-00000000"
    stale.mkdir()
    (stale / "host").write_text('{"beat": 5, "step": 0, "now": 0.0, "guest": null}')
    sentence = _cli.refused("doctor", tmp_path, "--across", "--wait", "1")
    assert str(tmp_path) in sentence and "another machine" in sentence
    assert os.listdir(tmp_path) == [stale.name]
