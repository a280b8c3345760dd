#!/usr/bin/env python3
"""Build the web page from gateway/web into gateway/web/embed/page, where the build of the gateway embeds it.

    python3 scripts/page.py             without Node it says so, and the program gets a plain page
    python3 scripts/page.py --required  without Node it fails

Packages are those of package-lock.json, by version and hash, and come from wherever npm gets its packages. What is there already is
not built again. Only the standard library is used.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "gateway" / "web"
CONTRACT = ROOT / "proto" / "ledgerflux.v1.binpb"
PAGE = WEB / "embed" / "page"
MODULES = WEB / "node_modules"
# The same as in package.json.
NODE_MIN = (20, 19)
# Made by the build, or of no concern to it.
NOT_SOURCES = ("node_modules", "embed", "src/gen", "browser", ".page.lock")


class PageError(Exception):
    """Something the user has to know; printed without a traceback."""


def missing_node():
    """Why the page cannot be built here, or None."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < NODE_MIN:
        return f"node is {said.strip() or 'broken'}, and at least {NODE_MIN[0]}.{NODE_MIN[1]} is needed"
    return None


def digest(files):
    total = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        total.update(f"{file.relative_to(ROOT)} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def sources():
    yield CONTRACT
    for directory, names, files in os.walk(WEB):
        here = Path(directory)
        names[:] = [name for name in names if (here / name).relative_to(WEB).as_posix() not in NOT_SOURCES]
        yield from (here / name for name in files if name not in NOT_SOURCES)


def is_stamped(stamp, value):
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == value


def npm(*arguments):
    # npm's own word goes to the terminal: it names the package that it cannot get.
    if subprocess.run(["npm", *arguments], cwd=WEB, check=False).returncode != 0:
        raise PageError(f"`npm {' '.join(arguments)}` in gateway/web went wrong; what it said stands above")


def build():
    lock = digest([WEB / "package.json", WEB / "package-lock.json"])
    lock_stamp, page_stamp = MODULES / ".ledgerflux-lock", MODULES / ".ledgerflux-page"
    if not is_stamped(lock_stamp, lock):
        print("page: fetching its packages ...", flush=True)
        npm("ci", "--no-audit", "--no-fund")
        lock_stamp.write_text(lock, encoding="utf-8")
    wanted = digest(sources())
    if is_stamped(page_stamp, wanted) and (PAGE / "index.html").is_file():
        return
    print("page: building ...", flush=True)
    npm("run", "--silent", "build")
    page_stamp.write_text(wanted, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--required", action="store_true", help="fail where the page cannot be built")
    required = parser.parse_args().required
    reason = missing_node()
    if reason is not None:
        if required:
            raise PageError(f"{reason}: https://nodejs.org, or your system's nodejs and npm packages")
        shutil.rmtree(PAGE, ignore_errors=True)
        print(f"page: {reason}, so the program gets a plain page that says so", file=sys.stderr)
        return
    # Two builds of one checkout may run at once; the second waits for the first.
    with open(WEB / ".page.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build()


if __name__ == "__main__":
    try:
        main()
    except PageError as error:
        sys.exit(f"page: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
