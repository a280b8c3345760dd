#!/usr/bin/env python3
"""Render every kustomization and check what comes out.

    python3 scripts/manifests.py             render, validate, apply the house rules; exit code 1 names each problem
    python3 scripts/manifests.py --install   only fetch what this needs, into .tools/ (also done when it is missing)
    python3 scripts/manifests.py --render kustomize/overlays/minikube   print what would be applied

Rendered with a pinned kustomize, without flags that a plain `kubectl apply -k` would not have. Validated strictly
(unknown fields are errors) against the schemas of the oldest and the newest Kubernetes named below, which come with a
pinned package: nothing is asked of a cluster or of the network. The house rules are in manifest_rules.py.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import manifest_rules
from tools import ToolError, exclusive, remove, run

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".tools" / "manifests"
KUSTOMIZE = ROOT / ".tools" / "bin" / "kustomize"
KUSTOMIZE_MODULE = ROOT / "scripts" / "kustomize"
KUBERNETES_VERSIONS = ("1.30.0", "1.37.0")
# The first release of Go that can build the pinned kustomize.
GO_VERSION_MIN = (1, 26)

PYTHON = {"name": "python", "requirements": ROOT / "scripts" / "requirements-manifests.txt", "proof": "kubernetes_validate/__init__.py"}
GO = {"name": "go", "requirements": ROOT / "scripts" / "requirements-go.txt", "proof": "go/bin/go"}


def digest(*files):
    content = hashlib.sha256(sys.version.encode())
    for file in files:
        content.update(file.read_bytes())
    return content.hexdigest()


def is_fresh(stamp, value, proof):
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == value and proof.exists()


def pip_install(packages):
    """Installs a requirements file with hashes into a folder of its own, for this interpreter, and returns the folder."""
    target, stamp = HOME / packages["name"], HOME / f"{packages['name']}.stamp"
    value = digest(packages["requirements"])
    if not is_fresh(stamp, value, target / packages["proof"]):
        print(f"manifests: fetching {packages['requirements'].name} ...", file=sys.stderr, flush=True)
        remove(target)
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), "--requirement", str(packages["requirements"])]
        run(command, f"installing {packages['requirements'].name} with pip")
        stamp.write_text(value, encoding="utf-8")
    return target


def find_go():
    """A Go that is recent enough: the installed one, or the pinned one."""
    installed = shutil.which("go")
    if installed:
        found = re.search(r"\bgo(\d+)\.(\d+)", run([installed, "version"], "asking Go for its version", env=go_environment()))
        if found and (int(found[1]), int(found[2])) >= GO_VERSION_MIN:
            return installed
    return str(pip_install(GO) / GO["proof"])


def go_environment():
    keep = {name: value for name, value in os.environ.items() if name not in ("GOFLAGS", "GOROOT", "GOWORK")}
    return dict(keep, GOTOOLCHAIN="local", GOWORK="off", GOFLAGS="-mod=readonly -trimpath -buildvcs=false", CGO_ENABLED="0")


def install_kustomize():
    sources = [KUSTOMIZE_MODULE / "go.mod", KUSTOMIZE_MODULE / "go.sum"]
    stamp, value = HOME / "kustomize.stamp", digest(*sources)
    if is_fresh(stamp, value, KUSTOMIZE):
        return
    go = find_go()
    print("manifests: building kustomize, once (half a minute to two) ...", file=sys.stderr, flush=True)
    KUSTOMIZE.parent.mkdir(parents=True, exist_ok=True)
    run([go, "build", "-o", str(KUSTOMIZE), "sigs.k8s.io/kustomize/kustomize/v5"], "building kustomize", cwd=KUSTOMIZE_MODULE, env=go_environment())
    pinned = re.search(r"kustomize/kustomize/v5 (v[0-9.]+)", sources[0].read_text(encoding="utf-8"))[1]
    answer = run([str(KUSTOMIZE), "version"], "starting kustomize").strip()
    if answer != pinned:
        raise ToolError(f"kustomize says {answer!r} where version {pinned} was expected")
    stamp.write_text(value, encoding="utf-8")


def install():
    HOME.mkdir(parents=True, exist_ok=True)
    with exclusive(HOME):
        install_kustomize()
        sys.path.insert(0, str(pip_install(PYTHON)))


def kustomizations():
    """What can be applied by itself; components are rendered as parts of the overlays that use them."""
    overlays = sorted(file.parent for file in (ROOT / "kustomize" / "overlays").glob("*/kustomization.yaml"))
    if not overlays:
        raise ToolError("no overlay under kustomize/overlays")
    return [ROOT / "kustomize" / "base", ROOT / "observability", *overlays]


def render(folder):
    result = subprocess.run([str(KUSTOMIZE), "build", str(folder)], capture_output=True, text=True, check=False)
    # Warnings are faults as well: they announce what the next kustomize refuses.
    if result.returncode != 0 or result.stderr.strip():
        raise ToolError(f"{folder.relative_to(ROOT)} does not render:\n{result.stderr.strip()}")
    return result.stdout


def schema_problems(kubernetes_validate, manifest):
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            yield f"Kubernetes {version}: {where or 'the object'}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"Kubernetes {version} has no {manifest.get('apiVersion')} {manifest.get('kind')}"


def prove_validator(kubernetes_validate):
    """A validator that accepts everything would look like a success."""
    misspelt = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe"}, "spec": {"prots": []}}
    if len(list(schema_problems(kubernetes_validate, misspelt))) != len(KUBERNETES_VERSIONS):
        raise ToolError("the schema validation accepts a misspelt field: the installed package does not do its job")


def check():
    import kubernetes_validate
    import yaml

    prove_validator(kubernetes_validate)
    problems, used_components = [], set()
    for folder in kustomizations():
        name = str(folder.relative_to(ROOT))
        manifests = [manifest for manifest in yaml.safe_load_all(render(folder)) if manifest]
        found = []
        for manifest in manifests:
            found += [f"{manifest_rules.title(manifest)}: {problem}" for problem in schema_problems(kubernetes_validate, manifest)]
        is_overlay = folder.parent.name == "overlays"
        found += manifest_rules.problems(manifests, complete=is_overlay)
        used_components |= manifest_rules.components(yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8")))
        problems += [f"{name}: {problem}" for problem in found]
        print(f"manifests: {name}: {len(manifests)} objects, {len(found)} problems")
    for component in sorted((ROOT / "kustomize" / "components").iterdir()):
        if component.name not in used_components:
            problems.append(f"kustomize/components/{component.name}: no overlay uses it, so nothing has rendered it")
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
    problems += manifest_rules.skaffold_problems(skaffold, ROOT)
    problems += manifest_rules.dockerfile_problems((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="only fetch what is needed")
    parser.add_argument("--render", type=Path, metavar="FOLDER", help="print one rendered kustomization")
    arguments = parser.parse_args()
    install()
    if arguments.install:
        return 0
    if arguments.render:
        print(render(arguments.render.resolve()), end="")
        return 0
    problems = check()
    for problem in problems:
        print(f"manifests: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolError as error:
        sys.exit(f"manifests: {error}")
    except OSError as error:
        sys.exit(f"manifests: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
