#!/usr/bin/env python3
"""Measure test coverage: a summary, an HTML report under coverage/, and exit code 1 below the thresholds.

    python3 scripts/coverage.py                 the whole workspace, as `make coverage` does
    python3 scripts/coverage.py --package domain  the tests of one package; only its own files are counted
    python3 scripts/coverage.py --check         only check the thresholds against the last report

Uses cargo-tarpaulin with LLVM's instrumentation, which reads the raw profiles itself, so that the installed toolchain is
enough (no llvm-tools component). It is built once, in a pinned version, into .tools/.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools import ToolError

ROOT = Path(__file__).resolve().parent.parent
TARPAULIN_VERSION = "0.37.5"
TARPAULIN = ROOT / ".tools" / "bin" / "cargo-tarpaulin"
OUTPUT = ROOT / "coverage"
# A build of its own, because the instrumentation would otherwise rebuild everything in turns with the normal one.
TARGET = ROOT / "target" / "coverage"
# One test program may take this long; end-to-end tests are slower when instrumented.
TIMEOUT_SECONDS = 900

OVERALL_PERCENT_MIN = 80.0
CRATE_PERCENT_MIN = {"crates/domain": 90.0, "crates/venues": 90.0}

# The harness is the measure, not what is measured.
NOT_COUNTED = ("crates/testkit/", "tests/", "target/")


def install_tarpaulin():
    if TARPAULIN.is_file():
        said = subprocess.run([str(TARPAULIN), "--version"], capture_output=True, text=True, check=False).stdout
        if TARPAULIN_VERSION in said.split():
            return
    print(f"coverage: building cargo-tarpaulin {TARPAULIN_VERSION}, once (some two minutes) ...", flush=True)
    command = ["cargo", "install", "--quiet", "--locked", "--force", "--no-default-features"]
    command += ["--version", TARPAULIN_VERSION, "--root", str(ROOT / ".tools"), "cargo-tarpaulin"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise ToolError("cargo-tarpaulin cannot be built; what cargo said stands above")


def measure(package):
    OUTPUT.mkdir(exist_ok=True)
    which = ["--packages", package] if package else ["--workspace"]
    # Roles that end-to-end tests start as processes count too.
    command = [str(TARPAULIN), "tarpaulin", *which, "--locked", "--engine", "llvm", "--follow-exec", "--skip-clean"]
    command += ["--timeout", str(TIMEOUT_SECONDS), "--target-dir", str(TARGET), "--output-dir", str(OUTPUT)]
    command += ["--out", "Json", "--out", "Html", "--out", "Lcov"]
    for pattern in NOT_COUNTED:
        command += ["--exclude-files", f"{pattern}*"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise ToolError("the tests did not pass under coverage; what they said stands above")


def crate_of(file):
    """The directory with the Cargo.toml that a source file belongs to."""
    for parent in file.parents:
        if (parent / "Cargo.toml").is_file():
            return parent.relative_to(ROOT).as_posix()
    return "."


def lines_by_crate(package):
    report = OUTPUT / "tarpaulin-report.json"
    try:
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    except OSError as error:
        raise ToolError(f"there is no report to check ({error}); run `make coverage`") from error
    crates = collections.defaultdict(lambda: [0, 0])
    for file in files:
        path = Path(*file["path"])
        crate = crate_of(path)
        inside = path.relative_to(ROOT).as_posix()
        if inside.startswith(NOT_COUNTED) or (package and Path(crate).name != package):
            continue
        crates[crate][0] += file["covered"]
        crates[crate][1] += file["coverable"]
    if not any(total for _, total in crates.values()):
        raise ToolError("the report counts no line at all, so nothing was measured")
    return crates


def percent(covered, total):
    return 100.0 * covered / total if total else 100.0


def check(crates, package):
    """Prints the table and returns what is below its threshold."""
    problems = []
    rows = sorted(crates.items())
    if not package:
        rows.append(("overall", [sum(lines[0] for _, lines in rows), sum(lines[1] for _, lines in rows)]))
    print(f"\n{'coverage':<24} {'lines':>13} {'percent':>9} {'required':>9}")
    for name, (covered, total) in rows:
        required = OVERALL_PERCENT_MIN if name == "overall" else CRATE_PERCENT_MIN.get(name)
        reached = percent(covered, total)
        print(f"{name:<24} {f'{covered}/{total}':>13} {reached:>8.1f}% {f'{required:.0f}%' if required else '':>9}")
        if required is not None and reached < required:
            problems.append(f"{name} is covered to {reached:.1f} %, and {required:.0f} % are required")
    for name in CRATE_PERCENT_MIN:
        if not package and name not in crates:
            problems.append(f"{name} is not in the report")
    return problems


def show_report():
    page = OUTPUT / "tarpaulin-report.html"
    print(f"\nthe report: {page}")
    opener = shutil.which("open") if sys.platform == "darwin" else shutil.which("xdg-open")
    desktop = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if opener and desktop and not os.environ.get("CI"):
        subprocess.run([opener, str(page)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", help="only the tests and files of this package")
    parser.add_argument("--check", action="store_true", help="do not run tests: check the last report")
    arguments = parser.parse_args()
    if not arguments.check:
        install_tarpaulin()
        measure(arguments.package)
    problems = check(lines_by_crate(arguments.package), arguments.package)
    if not arguments.check:
        show_report()
    for problem in problems:
        print(f"coverage: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolError as error:
        sys.exit(f"coverage: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
