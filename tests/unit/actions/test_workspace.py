import os
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_workflows.actions import workspace as module
from agentic_workflows.actions.workspace import MAX_DEPTH, Workspace
from agentic_workflows.errors import WorkspaceError

SECRET = "outside"  # noqa: S105 - no password


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET)
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    root = tmp_path / "root"
    (root / "notes").mkdir(parents=True)
    (root / "notes" / "a.md").write_text("alpha")
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "inner.txt").symlink_to("notes/a.md")
    (root / "dangling").symlink_to(outside / "new.txt")
    (root / "elsewhere").symlink_to(outside)
    (root / "notes" / "up").symlink_to("../../outside")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return Workspace(root)


def tree(folder: Path) -> dict[str, str]:
    """Return every ordinary file below a folder, hidden ones included."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_text() for path in found}


BAD = {
    "": "is empty",
    "  ": "is empty",
    "..": "leads out",
    "../outside/secret.txt": "leads out",
    "notes/../../outside/secret.txt": "leads out",
    "notes/..": "leads out",
    "/etc/passwd": "is absolute",
    "//etc/passwd": "is absolute",
    "a\0b": "no name can have",
    "a\udcffb": "no name can have",
    "a\ud800b": "no name can have",  # noqa: F601 - other surrogates
    ".env": "is hidden",
    "notes/.git/hooks/run": "is hidden",
    ".": "names a folder",
    "./": "names a folder",
    "./notes/a.md": "is not in normal form; write 'notes/a.md'",
    "notes//a.md": "is not in normal form; write 'notes/a.md'",
    "notes/./a.md": "is not in normal form; write 'notes/a.md'",
    "notes": "is a folder",
    "notes/": "names a folder",
    "notes/a.md/.": "names a folder",
    "link.txt": "is a link",
    "inner.txt": "is a link",
    "dangling": "is a link",
    "elsewhere": "is a link",
    "elsewhere/secret.txt": "leads through something that is no folder",
    "notes/up/secret.txt": "leads through something that is no folder",
    "notes/a.md/b": "leads through something that is no folder",
    "fifo": "is no ordinary file",
    "fifo/a": "leads through something that is no folder",
    "x" * 300: "is too long",
    "a/" * MAX_DEPTH + "b": "folders deep",
}


@pytest.mark.parametrize("path, said", BAD.items())
def test_path_that_leads_out_or_to_no_file_is_refused(
    path: str, said: str, workspace: Workspace, root: Path, outside: Path
) -> None:
    before = tree(root)
    for act in (
        lambda: workspace.read(path),
        lambda: workspace.write(path, "new"),
        lambda: workspace.write(path, "new", overwrite=True),
        lambda: workspace.append(path, "new"),
        lambda: workspace.delete(path),
        lambda: workspace.move(path, "moved.md"),
    ):
        with pytest.raises(WorkspaceError, match=said):
            act()
    with pytest.raises(WorkspaceError, match=f"{said}|already exists"):
        workspace.move("notes/a.md", path)
    assert tree(root) == before
    assert tree(outside) == {"secret.txt": SECRET}


@pytest.mark.parametrize("path", ["..", "/", "", "elsewhere", "notes/up", "fifo", "notes/a.md", ".git", "a\0b"])
def test_folder_that_leads_out_is_not_listed(path: str, workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="The path"):
        workspace.files(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("path", ["./notes", "notes/", "notes/.", ".//notes"])
def test_folder_has_one_name(path: str, workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="is not in normal form; write 'notes'"):
        workspace.files(path)


@pytest.mark.parametrize("path", ["./", "./.", ".//."])
def test_the_whole_workspace_has_one_name(path: str, workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"is not in normal form; write '\.'"):
        workspace.files(path)


def test_device_is_refused(workspace: Workspace, root: Path) -> None:
    try:
        os.mknod(root / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no devices here")
    with pytest.raises(WorkspaceError, match="is no ordinary file"):
        workspace.read("zero")
    with pytest.raises(WorkspaceError, match="is no ordinary file"):
        workspace.write("zero", "x", overwrite=True)


def test_socket_is_refused(workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # a socket's whole path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    with pytest.raises(WorkspaceError, match="is no ordinary file"):
        workspace.read("socket")


def test_missing_file_is_refused_and_says_how_to_find_one(workspace: Workspace) -> None:
    for act in (workspace.read, workspace.delete, lambda path: workspace.move(path, "b.md")):
        with pytest.raises(WorkspaceError, match=r"'gone.md' does not exist in the workspace; list_files"):
            act("gone.md")


@pytest.mark.parametrize("kind", ["missing", "file", "nul"])
def test_missing_workspace_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"[Tt]he workspace .*"):
        Workspace(tmp_path / kind.replace("nul", "a\0b")).check()
    if kind != "nul":
        with pytest.raises(WorkspaceError, match="Create the folder, or name another one"):
            Workspace(tmp_path / kind).write("a.md", "x")
    assert tree(tmp_path) == {"file": ""}


def test_workspace_may_be_named_by_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(root)
    assert Workspace(tmp_path / "named").read("notes/a.md") == "alpha"


def test_workspace_stays_where_it_was(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    workspace = Workspace(Path())
    monkeypatch.chdir(tmp_path)
    assert workspace.read("notes/a.md") == "alpha"


def test_written_text_is_read_back_exactly(workspace: Workspace) -> None:
    text = "﻿a\r\nb\n\tü 🙂\0"
    assert workspace.write("new/deep/b.md", text) == "new/deep/b.md"
    assert workspace.read("new/deep/b.md") == text


def test_existing_file_is_overwritten_only_when_told(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="already exists; choose another path, or say overwrite=true"):
        workspace.write("notes/a.md", "beta")
    assert workspace.read("notes/a.md") == "alpha"
    workspace.write("notes/a.md", "beta", overwrite=True)
    assert workspace.read("notes/a.md") == "beta"


def test_writing_the_same_text_again_is_no_error(workspace: Workspace) -> None:
    assert workspace.write("notes/a.md", "alpha") == "notes/a.md"


def test_overwriting_keeps_the_permissions(workspace: Workspace, root: Path) -> None:
    (root / "notes" / "a.md").chmod(0o600)
    workspace.write("notes/a.md", "beta", overwrite=True)
    workspace.append("notes/a.md", "gamma")
    assert stat.S_IMODE((root / "notes" / "a.md").stat().st_mode) == 0o600


def test_append_begins_or_continues_a_file(workspace: Workspace) -> None:
    assert [workspace.append("log/day.md", text) for text in ("a", "b")] == ["log/day.md", "log/day.md"]
    assert workspace.read("log/day.md") == "ab"


def test_no_append_is_lost(workspace: Workspace) -> None:
    threads = [threading.Thread(target=workspace.append, args=("log.md", f"{at}\n")) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(workspace.read("log.md").split()) == [str(at) for at in range(8)]


def test_move_takes_no_place(workspace: Workspace) -> None:
    workspace.write("b.md", "beta")
    with pytest.raises(WorkspaceError, match=r"'b.md' already exists"):
        workspace.move("notes/a.md", "b.md")
    assert workspace.move("notes/a.md", "archive/a.md") == "archive/a.md"
    assert workspace.files() == ["archive/a.md", "b.md"]


def test_delete_removes_one_file(workspace: Workspace) -> None:
    workspace.write("notes/b.md", "beta")
    workspace.delete("notes/a.md")
    assert workspace.files() == ["notes/b.md"]


def test_listing_leaves_out_links_specials_and_hidden_names(workspace: Workspace, root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("")
    (root / os.fsdecode(b"not-\xff-utf8")).write_text("")
    assert workspace.files() == ["notes/a.md"]
    assert workspace.files("notes") == ["notes/a.md"]


def test_listing_that_is_too_long_or_too_deep_is_refused(
    workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "b.md").write_text("")
    monkeypatch.setattr(module, "MAX_FILES", 1)
    with pytest.raises(WorkspaceError, match="more than 1 files"):
        workspace.files()
    monkeypatch.setattr(module, "MAX_DEPTH", 0)
    with pytest.raises(WorkspaceError, match="more than 0 folders deep"):
        workspace.files()


def test_size_limit_holds_for_reading_and_writing(root: Path) -> None:
    small = Workspace(root, max_bytes=4)
    for act in (
        lambda: small.read("notes/a.md"),
        lambda: small.write("b.md", "ééé"),
        lambda: small.append("notes/a.md", "x"),
    ):
        with pytest.raises(WorkspaceError, match="larger than the limit of 4 bytes"):
            act()
    assert small.write("b.md", "éé") == "b.md"
    assert tree(root) == {"notes/a.md": "alpha", "b.md": "éé"}


def test_text_that_is_no_utf8_is_refused(workspace: Workspace, root: Path) -> None:
    (root / "image.png").write_bytes(b"\x89PNG")
    with pytest.raises(WorkspaceError, match=r"'image.png' is not a UTF-8 text: byte 0"):
        workspace.read("image.png")
    with pytest.raises(WorkspaceError, match="no Unicode: character 1 is a surrogate"):
        workspace.write("b.md", "a\ud800")


@pytest.mark.parametrize("failing", ["fsync", "link", "replace", "fchmod"])
def test_failed_write_leaves_nothing_behind(
    failing: str, workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    path = "b.md" if failing == "link" else "notes/a.md"
    with pytest.raises(WorkspaceError, match="No space left on device"):
        workspace.write(path, "beta", overwrite=True)
    assert tree(root) == {"notes/a.md": "alpha"}


def test_file_that_is_swapped_for_a_fifo_does_not_hang_a_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ordinary", lambda *_: None)
    with pytest.raises(WorkspaceError, match="'fifo' is no ordinary file"):
        workspace.read("fifo")
    with pytest.raises(WorkspaceError, match=r"'link.txt' is a link"):
        workspace.read("link.txt")


@settings(deadline=None)
@given(path=st.text() | st.text(alphabet="./a\0~\\ é", max_size=12), text=st.text(max_size=10))
def test_no_text_is_a_path_that_leads_outside(path: str, text: str) -> None:
    with TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "root").mkdir()
        (top / "a").write_text(SECRET)
        workspace = Workspace(top / "root")
        with suppress(WorkspaceError):
            written = workspace.write(path, text)
            assert workspace.read(path) == text
            assert workspace.files() == [written]
        with suppress(WorkspaceError):
            workspace.append(path, text)
            workspace.move(path, "moved")
            workspace.delete("moved")
        outside = {key: value for key, value in tree(top).items() if not key.startswith("root/")}
        assert outside == {"a": SECRET}


@contextmanager
def swapping(place: Path, target: Path) -> Iterator[None]:
    """Swap a folder for a link and back, as fast as it goes."""
    aside, stop = place.with_name("aside"), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            place.rename(aside)
            with suppress(FileExistsError):  # a writer has made a new folder in its place
                place.symlink_to(target)
            while aside.exists():
                with suppress(OSError):
                    place.unlink() if place.is_symlink() else shutil.rmtree(place, ignore_errors=True)
                    aside.rename(place)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_folder_that_becomes_a_link_meanwhile_leads_nowhere(workspace: Workspace, root: Path, outside: Path) -> None:
    (outside / "a.md").write_text(SECRET)
    refused = 0
    with swapping(root / "notes", outside):
        for at in range(300):
            try:
                workspace.write(f"notes/{at}.md", "new")
                assert workspace.read("notes/a.md") == "alpha"
                workspace.append("notes/log.md", "more")
                assert not any("secret" in path for path in workspace.files())
            except WorkspaceError:
                refused += 1
    assert tree(outside) == {"secret.txt": SECRET, "a.md": SECRET}
    assert refused > 0


def test_reader_never_sees_half_a_file(workspace: Workspace, root: Path) -> None:
    texts = ["a" * 200_000, "b" * 300_000]
    workspace.write("big.md", texts[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for text in texts:
                workspace.write("big.md", text, overwrite=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            assert (root / "big.md").read_text() in texts
    finally:
        stop.set()
        writer.join()
    assert tree(root).keys() == {"notes/a.md", "big.md"}


def test_what_an_operator_keeps_in_the_folder_is_read_and_never_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(root / "rules")])
    (root / "rules").mkdir()
    for name in ("tools.yaml", "rules/mine.cedar", "own.py", "a.md"):
        (root / name).write_text("kept")
    workspace = Workspace(root, reserved=frozenset({root / "tools.yaml", root / "rules"}))
    for path in ("tools.yaml", "Tools.YAML", "rules/mine.cedar", "rules/new.cedar", "own.py", "own/__init__.py"):
        for change in (
            lambda path: workspace.write(path, "more", overwrite=True),
            lambda path: workspace.append(path, "more"),
            workspace.delete,
            lambda path: workspace.move(path, "b.md"),
            lambda path: workspace.move("a.md", path),
        ):
            with pytest.raises(WorkspaceError, match="is reserved: rules, annotations and code are for whoever runs"):
                change(path)
    assert {workspace.read(name) for name in ("tools.yaml", "rules/mine.cedar", "own.py", "a.md")} == {"kept"}
    assert workspace.write("rule.cedar", "else") == "rule.cedar"


@pytest.mark.parametrize("place", [None, ".venv/lib"], ids=["elsewhere", "hidden"])
def test_code_may_be_written_where_python_imports_nothing_that_a_plan_can_change(
    place: str | None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, *([str(root / place)] if place else [])])
    assert Workspace(root).write("own.py", "code") == "own.py"
