"""The workspace: one folder that paths cannot lead out of.

Every path is walked component by component on folder descriptors that follow no link, so neither a link in the middle
nor one that is swapped in during the walk leads anywhere else. What is opened must be an ordinary file. Files appear
whole or not at all: they are written beside their place and then linked or moved into it. Names that begin with a dot
are nobody's to touch: they hold this package's own files (a run's database, files half written), and other programs'.
What an operator keeps beside the files of a plan is reserved, and so is code where Python imports from the workspace: a
plan that wrote its own rules would have none.
"""

import errno
import fcntl
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import all_suffixes
from pathlib import Path

from agentic_workflows.errors import WorkspaceError
from agentic_workflows.graph.values import beginning

MAX_BYTES = 10_000_000
MAX_FILES = 10_000
MAX_DEPTH = 32
_MAX_SHOWN = 200
"""Characters of a path in a message."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, a FIFO that is swapped in would hang the call.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_PROBLEMS = {
    errno.ENOENT: "does not exist in the workspace; list_files shows what does",
    errno.ENOTDIR: "leads through something that is no folder; links are not followed",
    errno.ELOOP: "is a link, and links are not followed",
    errno.EEXIST: "already exists; choose another path, or say overwrite=true where the action has it",
    errno.ENAMETOOLONG: "is too long for a name; choose a shorter one",
}


@dataclass(frozen=True)
class Workspace:
    """A folder, and the only ways to its files; every refusal is a `WorkspaceError`."""

    root: Path
    max_bytes: int = MAX_BYTES
    """Of one file, read or written."""
    reserved: frozenset[Path] = frozenset()
    """Real paths, such as those of policies and annotations, that nobody changes, nor what is below them."""

    def __post_init__(self) -> None:
        if "\0" in str(self.root):
            raise WorkspaceError(f"The workspace {str(self.root)!r} has a NUL in its name.")
        object.__setattr__(self, "root", Path(os.path.realpath(self.root)))

    def check(self) -> None:
        """Raise if the folder is not there, so that a run can refuse to start."""
        os.close(self._open_root())

    def read(self, path: str) -> str:
        """Return the text of a file."""
        *folder, name = file_parts(path)
        with _refusing(path), self._open(folder) as fd:
            data = self._read(fd, name, path)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise WorkspaceError(f"{path!r} is not a UTF-8 text: byte {error.start} does not fit.") from None

    def write(self, path: str, text: str, *, overwrite: bool = False) -> str:
        """Write a file whole, and the folders that it needs; return its path.

        Without overwrite, an existing file is refused, unless it holds exactly this text already.
        """
        *folder, name = self._changeable(path)
        data = self._encode(text, path)
        with _refusing(path), self._locked(), self._open(folder, create=True) as fd:
            there = _ordinary(fd, name, path)
            if there is None or overwrite:
                _put(fd, name, data, like=there)
            elif self._read(fd, name, path) != data:
                raise FileExistsError(errno.EEXIST, "exists")
        return path

    def append(self, path: str, text: str) -> str:
        """Add text to the end of a file, which begins to exist if it did not; return its path."""
        *folder, name = self._changeable(path)
        with _refusing(path), self._locked(), self._open(folder, create=True) as fd:
            there = _ordinary(fd, name, path)
            before = b"" if there is None else self._read(fd, name, path)
            data = self._limited(before + self._encode(text, path), path)
            _put(fd, name, data, like=there)
        return path

    def delete(self, path: str) -> None:
        """Delete one file."""
        *folder, name = self._changeable(path)
        with _refusing(path), self._locked(), self._open(folder) as fd:
            _ordinary(fd, name, path)
            os.unlink(name, dir_fd=fd)

    def move(self, source: str, target: str) -> str:
        """Give a file another path, never one that is taken; return that path."""
        *old_folder, old = self._changeable(source)
        *new_folder, new = self._changeable(target)
        with _refusing(source), self._locked(), self._open(old_folder) as fd:
            if _ordinary(fd, old, source) is None:
                raise FileNotFoundError(errno.ENOENT, "missing")
            with _refusing(target), self._open(new_folder, create=True) as new_fd:
                os.link(old, new, src_dir_fd=fd, dst_dir_fd=new_fd, follow_symlinks=False)
            os.unlink(old, dir_fd=fd)
        return target

    def files(self, folder: str = ".") -> list[str]:
        """Return the paths of all ordinary files in a folder and below it, sorted; hidden ones are left out."""
        parts = split(folder)
        with _refusing(folder), self._open(parts) as fd:
            found: list[str] = []
            for path in _walk(fd, parts):
                found.append(path)
                if len(found) > MAX_FILES:
                    raise WorkspaceError(f"{folder!r} holds more than {MAX_FILES:,} files; name a folder inside it.")
        return sorted(found)

    def _changeable(self, path: str) -> tuple[str, ...]:
        """Return the components of a path to a file that may be changed."""
        parts = file_parts(path)
        # A file system may take two names that differ in case for one.
        place, reserved = _folded(self.root.joinpath(*parts)), {_folded(one) for one in self.reserved}
        is_code = place.name.endswith(tuple(all_suffixes())) and self._is_imported_from()
        if is_code or not reserved.isdisjoint((place, *place.parents)):
            raise WorkspaceError(
                f"The path {beginning(path, _MAX_SHOWN)!r} is reserved: rules, annotations and code are for whoever "
                f"runs the plan to change."
            )
        return parts

    def _is_imported_from(self) -> bool:
        """Tell whether Python imports from the folder or below it; what is hidden there no plan can change."""
        places = (Path(os.path.realpath(one)) for one in sys.path)
        inside = (one.relative_to(self.root) for one in places if one.is_relative_to(self.root))
        return any(not any(part.startswith(".") for part in one.parts) for one in inside)

    def _open_root(self) -> int:
        try:
            return os.open(self.root, _FOLDER)
        except OSError as error:
            remedy = "Create the folder, or name another one as the workspace."
            raise WorkspaceError(f"The workspace {self.root} cannot be used: {error.strerror}. {remedy}") from None

    @contextmanager
    def _open(self, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
        fd = self._open_root()
        try:
            for part in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                inner = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer at a time in, from whichever process, so that an append loses nothing."""
        fd = self._open_root()
        try:
            with suppress(OSError):  # some network file systems lock no folders
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _read(self, folder: int, name: str, path: str) -> bytes:
        _ordinary(folder, name, path)  # before it is opened: opening a device can have effects
        with open(name, "rb", opener=lambda file, _: os.open(file, _READ, dir_fd=folder)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise WorkspaceError(f"{path!r} is no ordinary file.")
            return self._limited(file.read(self.max_bytes + 1), path)

    def _encode(self, text: str, path: str) -> bytes:
        try:
            return self._limited(text.encode(), path)
        except UnicodeEncodeError as error:
            raise WorkspaceError(
                f"The text for {path!r} is no Unicode: character {error.start} is a surrogate."
            ) from None

    def _limited(self, data: bytes, path: str) -> bytes:
        if len(data) > self.max_bytes:
            raise WorkspaceError(f"{path!r} is larger than the limit of {self.max_bytes:,} bytes; use smaller files.")
        return data


def split(path: str) -> tuple[str, ...]:
    """Return the components of a path inside a workspace; none of them for the workspace itself.

    Raises:
        WorkspaceError: the path is no name of something inside.

    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    normal, problem = "/".join(parts) or ".", _problem(path, parts)
    if problem is None and path != normal:  # one place has one name, so that no other walks past a rule
        problem = f"is not in normal form; write {beginning(normal, _MAX_SHOWN)!r}"
    if problem:
        raise WorkspaceError(f"The path {beginning(path, _MAX_SHOWN)!r} {problem}.")
    return parts


def file_parts(path: str) -> tuple[str, ...]:
    """Return the components of a path to a file; errors as in `split`, or where it names a folder."""
    if path == "." or path.endswith(("/", "/.")):
        raise WorkspaceError(f"The path {beginning(path, _MAX_SHOWN)!r} names a folder, not a file.")
    return split(path)


def _problem(path: str, parts: Sequence[str]) -> str | None:
    """Return why a path is no name of something inside."""
    problem = None
    if not path.strip():
        problem = "is empty; name a file, or the folder '.'"
    elif "\0" in path or not _is_encodable(path):
        problem = "holds a character that no name can have"
    elif path.startswith("/"):
        problem = "is absolute; write it relative to the workspace"
    elif ".." in parts:
        problem = "leads out with '..'; write it relative to the workspace"
    elif any(part.startswith(".") for part in parts):
        problem = "is hidden; names that begin with a dot are left alone"
    elif len(parts) > MAX_DEPTH:
        problem = f"is more than {MAX_DEPTH} folders deep"
    return problem


def _put(folder: int, name: str, data: bytes, *, like: os.stat_result | None) -> None:
    """Make a file appear whole: a new one by a link, which takes no place; one in the place of `like` by a move."""
    hidden = f".agentic-{secrets.token_hex(8)}.tmp"
    mode = 0o666 if like is None else stat.S_IMODE(like.st_mode) & 0o777
    try:
        with open(hidden, "wb", opener=lambda file, _: os.open(file, _CREATE, mode, dir_fd=folder)) as file:
            file.write(data)
            file.flush()
            if like is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if like is None:
            os.link(hidden, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        else:
            os.replace(hidden, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=folder)
    os.fsync(folder)


def _ordinary(folder: int, name: str, path: str) -> os.stat_result | None:
    """Return what is known of an ordinary file, None where there is nothing; refuse anything else."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        return found
    if stat.S_ISDIR(found.st_mode):
        raise WorkspaceError(f"{path!r} is a folder, not a file.")
    if stat.S_ISLNK(found.st_mode):
        raise WorkspaceError(f"{path!r} is a link, and links are not followed; name the file itself.")
    raise WorkspaceError(f"{path!r} is no ordinary file.")


def _walk(folder: int, parts: Sequence[str]) -> Iterator[str]:
    """Yield the paths of ordinary files; what vanishes or turns into a link meanwhile is not there."""
    if len(parts) > MAX_DEPTH:
        # Nothing is named: names that are read here are somebody else's text.
        raise WorkspaceError(f"Something in the folder is more than {MAX_DEPTH} folders deep.")
    for name in os.listdir(folder):
        if name.startswith(".") or not _is_encodable(name):
            continue
        with suppress(FileNotFoundError, NotADirectoryError):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                yield "/".join((*parts, name))
            elif stat.S_ISDIR(mode):
                inner = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(inner, (*parts, name))
                finally:
                    os.close(inner)


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    """Say in words what the system refused."""
    try:
        yield
    except OSError as error:
        problem = _PROBLEMS.get(error.errno or 0, f"cannot be used: {error.strerror}")
        raise WorkspaceError(f"The path {beginning(path, _MAX_SHOWN)!r} {problem}.") from None


def _folded(path: Path) -> Path:
    return Path(str(path).casefold())


def _is_encodable(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)
