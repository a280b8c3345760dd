#!/usr/bin/env python3
"""Name what is missing on this machine to build and test LedgerFlux; exit code 1 when something required is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

CHROMIUM = Path(__file__).resolve().parent.parent / "gateway" / "web" / "browser" / "chromium.mjs"
# Program, what it is needed for, lowest version (None: any), how to get it, whether nothing works without it.
PROGRAMS = [
    ("cargo", "building everything", None, "https://rustup.rs (rust-toolchain.toml selects the version)", True),
    ("cc", "linking, and compiling SQLite", None, "your system's C compiler: build-essential, gcc or clang", True),
    ("node", "building and testing the web page", (20, 19), "https://nodejs.org, or your system's nodejs package", True),
    ("npm", "building the web page", None, "it comes with Node, or as your system's npm package", True),
    ("make", "the targets of the Makefile", None, "your system's make package", True),
    ("git", "the history of the contracts", None, "your system's git package", False),
    ("docker", "building the container image", None, "https://docs.docker.com/engine/install", False),
    ("kubectl", "`make up`", None, "https://kubernetes.io/docs/tasks/tools", False),
    ("minikube", "`make up`", None, "https://minikube.sigs.k8s.io/docs/start", False),
    ("skaffold", "`make up`", None, "https://skaffold.dev/docs/install", False),
]
PYTHON_MIN = (3, 9)


def version_of(program):
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def missing():
    """Pairs of (required, sentence), one for each thing that is missing or too old."""
    if sys.version_info < PYTHON_MIN:
        yield True, f"python3 is {sys.version.split()[0]}, and at least {PYTHON_MIN[0]}.{PYTHON_MIN[1]} is needed"
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        yield True, "pip is missing, which fetches the pinned tools: `python3 -m ensurepip --user`, or your system's python3-pip package"
    for program, purpose, lowest, source, required in PROGRAMS:
        if shutil.which(program) is None:
            yield required, f"{program} is missing, for {purpose}: {source}"
        elif lowest is not None and (version_of(program) or (0, 0)) < lowest:
            yield required, f"{program} is older than {lowest[0]}.{lowest[1]}, for {purpose}: {source}"
    if shutil.which("node") is not None:
        browser = subprocess.run(["node", str(CHROMIUM)], capture_output=True, text=True, check=False)
        if browser.returncode != 0:
            yield True, (browser.stdout or browser.stderr).strip()


def main():
    found = list(missing())
    for required, sentence in found:
        print(f"{'required' if required else 'optional'}: {sentence}")
    if not found:
        print("nothing is missing")
    return 1 if any(required for required, _ in found) else 0


if __name__ == "__main__":
    sys.exit(main())
