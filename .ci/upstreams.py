"""What the newest upstream packages changed: versions, signatures, verdicts. The pins stay as they are.

  python .ci/upstreams.py .references .upstreams [arguments of parity run, by default --quick]

The first environment has the pinned packages, the second the newest ones. The cases run against both; what differs
between the two runs is printed, and makes exit status 1.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ultralytics", "transformers", "timm", "torch", "torchvision")

LOOK = """
import importlib, inspect, json, sys
from importlib import metadata
from parity.references.common import torchvision_operators
torchvision_operators.declare_missing()
names, modules = json.loads(sys.argv[1])
found = {}
for name in modules:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        found[name] = f"cannot be imported: {error}"
        continue
    for key, member in vars(module).items():
        if getattr(member, "__module__", "") != name or key.startswith("_"):
            continue
        for method in ("__init__", "forward") if inspect.isclass(member) else ("",):
            function = getattr(member, method, None) if method else member
            try:
                found[f"{name}.{key}{method and '.' + method}"] = str(inspect.signature(function))
            except (TypeError, ValueError):
                continue
versions = {}
for name in names:
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        versions[name] = "not installed"
print(json.dumps({"versions": versions, "signatures": found}))
"""
MODULES = (
    "ultralytics.models.sam.modules.blocks",
    "ultralytics.models.sam.modules.encoders",
    "ultralytics.models.sam.modules.decoders",
    "ultralytics.models.sam.modules.memory_attention",
    "ultralytics.models.sam.modules.transformer",
    "transformers.models.sam.modeling_sam",
    "transformers.models.sam2.modeling_sam2",
    "transformers.models.sam2_video.modeling_sam2_video",
    "timm.models.vision_transformer_sam",
    "timm.models.hieradet_sam2",
)

Known = dict[str, str]


def look(environment: Path) -> dict[str, Known]:
    """Versions and signatures of an environment."""
    program = [str(environment.absolute() / "bin" / "python"), "-W", "ignore", "-c", LOOK]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "YOLO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*program, json.dumps([PACKAGES, MODULES])], env=variables, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Known] = json.loads(done.stdout.splitlines()[-1])
    return found


def verdicts(environment: Path, arguments: list[str]) -> Known:
    """The verdict of each case, reference, precision and output, under an environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "run.json")
        command = [
            sys.executable,
            "-m",
            "parity",
            "run",
            *arguments,
            "--failures-only",
            "--json",
            str(report),
        ]
        variables = os.environ | {"SAMBLOCKS_REFERENCES": str(environment.absolute())}
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
        if not report.exists():
            sys.exit(f"the run with {environment} gave no report: {done.stdout}{done.stderr}")
        cases: list[dict[str, Any]] = json.loads(report.read_text())["cases"]
    return {
        f"{case['id']} against {case['reference']}, {case['dtype']}, {case['output']}": case["verdict"]
        for case in cases
    }


def changed(title: str, before: Known, after: Known) -> int:
    """Print what differs, and count it."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    print(f"{title}: {len(names)} changed of {len(before)}")
    for name in sorted(names):
        print(f"  {name}: {before.get(name, 'was not there')} -> {after.get(name, 'is gone')}")
    return len(names)


def main() -> int:
    """Compare two environments."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    pinned, newest = Path(sys.argv[1]), Path(sys.argv[2])
    before, after = look(pinned), look(newest)
    if not changed("versions", before["versions"], after["versions"]):
        print("nothing newer was found")
        return 0
    count = changed("signatures", before["signatures"], after["signatures"])
    arguments = sys.argv[3:] or ["--quick"]
    return min(count + changed("verdicts", verdicts(pinned, arguments), verdicts(newest, arguments)), 1)


if __name__ == "__main__":
    sys.exit(main())
