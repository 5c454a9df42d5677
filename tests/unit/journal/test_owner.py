"""An owner is known to be dead only where that is certain."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_workflows.journal.owner import (
    SPACE,
    _start_of,
    give_up,
    heir,
    is_dead,
    name_of,
    new_owner,
    nobody,
    unsure_token,
)

HOST = socket.gethostname()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait(10)


def owner_of(process: "subprocess.Popen[bytes]") -> str:
    return f"{HOST}:{process.pid}:{SPACE}{_start_of(process.pid)}:abcd"


def test_owners_of_one_process_differ() -> None:
    assert new_owner() != new_owner()


FORKED = """
import os
from agentic_workflows.journal.owner import new_owner

parent, child = new_owner(), os.fork()
if child == 0:
    os._exit(f":{os.getpid()}:" not in new_owner())
assert f":{os.getpid()}:" in parent
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_process_is_told_apart_from_its_parent() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


def test_a_living_process_is_not_dead(sleeper: "subprocess.Popen[bytes]") -> None:
    assert (is_dead(new_owner()), is_dead(owner_of(sleeper))) == (False, False)


def test_an_ended_process_is_dead(sleeper: "subprocess.Popen[bytes]") -> None:
    owner = owner_of(sleeper)
    sleeper.kill()
    sleeper.wait(10)
    assert is_dead(owner)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_process_whose_parent_has_not_looked_is_dead(sleeper: "subprocess.Popen[bytes]") -> None:
    owner = owner_of(sleeper)
    sleeper.kill()
    until = time.monotonic() + 10
    while not is_dead(owner) and time.monotonic() < until:
        time.sleep(0.01)
    assert is_dead(owner)


def test_a_process_of_which_it_is_not_told_when_it_began_is_dead_once_it_has_ended(
    sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = owner_of(sleeper)
    monkeypatch.setattr("agentic_workflows.journal.owner._start_of", lambda _: "")
    assert not is_dead(owner)
    sleeper.kill()
    sleeper.wait(10)
    assert is_dead(owner)


def test_a_process_that_is_another_user_s_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    assert not is_dead(new_owner())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_another_process_with_the_same_number_is_not_the_owner() -> None:
    assert is_dead(f"{HOST}:{os.getpid()}:{SPACE}1:abcd")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_when_a_process_began_is_known_whatever_it_is_called(tmp_path: Path) -> None:
    named = tmp_path / "a) (b"
    named.symlink_to(sys.executable)
    with subprocess.Popen([named, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_dead(f"{HOST}:{process.pid}:{SPACE}0:abcd")


@pytest.mark.parametrize(
    "owner",
    [
        f"elsewhere:1:{SPACE}1:abcd",
        f"a:b:c:1:{SPACE}1:abcd",
        f"{HOST}:x:{SPACE}1:abcd",
        f"{HOST}:1:other.container.1:a",
    ],
)
def test_of_another_host_nothing_is_known(owner: str) -> None:
    assert not is_dead(owner)


@pytest.mark.parametrize("host", ["here", "a~b", "~1.5", ""])
def test_what_an_owner_inherits_is_told_from_its_name(host: str) -> None:
    earlier, owner = f"{host}:1:1:abc", "next:2:2:def"
    mine = heir(owner, earlier, 7)
    assert (name_of(earlier), unsure_token(earlier), nobody(earlier)) == (earlier, None, "")
    assert (name_of(mine), unsure_token(mine), nobody(mine)) == (owner, 7, "~7")
    assert unsure_token(heir("third:3:3:ghi", nobody(mine), 9)) == 7


def test_what_an_older_version_wrote_as_inherited_is_later_than_any_token_until_the_next_owner() -> None:
    older = f"{HOST}:{os.getpid()}:{SPACE}1:abcd~1764518400.250"  # dead
    assert (name_of(older), unsure_token(older)) == (older.partition("~")[0], 1764518400)
    assert [unsure_token(heir("next:2:2:def", one, 7)) for one in (older, nobody(older))] == [7, 7]


def test_this_process_may_be_as_late_as_any_other_one(sleeper: "subprocess.Popen[bytes]") -> None:
    assert [unsure_token(heir("next:2:2:def", one, 7)) for one in (owner_of(sleeper), new_owner())] == [7, 7]


def test_what_an_owner_has_inherited_keeps_nobody_from_what_it_gave_up() -> None:
    owner = new_owner()
    give_up(f"{owner}~7")
    assert (is_dead(owner), is_dead(f"{owner}~8")) == (True, True)
