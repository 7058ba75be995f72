"""Build wheel and sdist twice, hold the bytes against each other, list what is in them, and try them out.

  python .ci/dist.py     # into dist/: the wheel, the sdist, SHA256SUMS and sbom.cdx.json
  python .ci/dist.py --with python3.12==2.6.0 --with python3.13==2.15.0    # tried with these

PIP_ARGS is passed to the installation into each empty environment. A Python that is not there is listed as not run.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SMOKE = """
import numpy as np
import samblocks
from samblocks.models.build import assemble

model = assemble("mobile_sam", image_size=64)
predictor = samblocks.ImagePredictor(model)
predictor.set_image(np.zeros((48, 64, 3), np.uint8))
masks, scores, logits = predictor.predict([[20, 20]], [1])
assert masks.shape == (3, 48, 64), masks.shape
samblocks.save(model, "model.safetensors")
again = samblocks.load("model.safetensors", image_size=64)
assert all((a == b).all() for a, b in zip(model.state_dict().values(), again.state_dict().values()))
import parity, torch
assert parity.check(torch.square, lambda x: x * x, torch.ones(3))
print("smoke: a mask, a file there and back, a verdict")
"""


def build(folder: Path) -> dict[str, str]:
    """Wheel and sdist in a folder: sha256 by name."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, capture_output=True
    )
    if done.returncode:
        sys.exit(done.stderr.decode())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def sbom(hashes: dict[str, str]) -> str:
    """What the wheel needs, in CycloneDX, with the versions that it was tested with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    (version,) = {name.split("-")[1] for name in hashes if name.endswith(".whl")}
    wanted = [(re.split(r"[<>=!\[; ]", text)[0], text) for text in project["dependencies"]]
    components = [
        {
            "type": "library",
            "bom-ref": name,
            "name": name,
            "version": pins[name],
            "purl": f"pkg:pypi/{name.replace('_', '-')}@{pins[name]}",
            "description": f"required: {text}",
        }
        for name, text in wanted
    ]
    main = {
        "type": "library",
        "bom-ref": "samblocks",
        "name": "samblocks",
        "version": version,
        "purl": f"pkg:pypi/samblocks@{version}",
        "licenses": [{"license": {"id": project["license"]}}],
        "hashes": [
            {"alg": "SHA-256", "content": text} for name, text in hashes.items() if name.endswith(".whl")
        ],
    }
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
        "dependencies": [{"ref": "samblocks", "dependsOn": [name for name, _ in wanted]}],
    }
    return json.dumps(document, indent=1) + "\n"


def smoke(wheel: Path, interpreter: str, torch: str) -> None:
    """Install the wheel into an empty environment of a Python, away from the checkout, and use it.

    `torch` is a requirement as "==2.6.0"; empty for the newest that the wheel takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([interpreter, "-m", "venv", f"{folder}/env"], check=True)
        python = f"{folder}/env/bin/python"
        options = os.environ.get("PIP_ARGS", "").split()
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

        def run(*command: str) -> None:
            subprocess.run([python, *command], cwd=folder, env=clean, check=True)

        wanted = [str(wheel), *([f"torch{torch}"] if torch else [])]
        run("-m", "pip", "install", "-qq", "--disable-pip-version-check", *options, *wanted)
        run("-c", SMOKE)
        run("-m", "samblocks", "doctor")


def main() -> None:
    """Build, compare, list, try."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--no-smoke", action="store_true", help="build, and do not try")
    parser.add_argument(
        "--with",
        dest="interpreters",
        action="append",
        metavar="PYTHON[==TORCH]",
        help="a Python to try the wheel with, and its torch; repeatable (default: this one, the newest torch)",
    )
    options = parser.parse_args()
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    with tempfile.TemporaryDirectory() as again:
        first, second = build(dist), build(Path(again))
    if first != second:
        sys.exit(f"two builds differ: {first} and {second}")
    (dist / "SHA256SUMS").write_text("".join(f"{text}  {name}\n" for name, text in first.items()))
    (dist / "sbom.cdx.json").write_text(sbom(first))
    print("twice the same bytes:", *first)
    (wheel,) = dist.glob("*.whl")
    for text in [] if options.no_smoke else options.interpreters or [sys.executable]:
        name, equal, torch = text.partition("==")
        interpreter = shutil.which(name)
        if interpreter is None:
            print(f"{text}: not run, there is no {name} here")
            continue
        smoke(wheel, interpreter, equal + torch)
        print(f"{text}: smoke-tested")


if __name__ == "__main__":
    main()
