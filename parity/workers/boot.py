"""Starting a process in the references' environment that finds our packages and nothing else of this one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Packages are registered from their folders instead of putting their parent, which may be a site-packages, on the path.
_BOOT = """
import importlib, importlib.util, json, sys
folders, module, function, arguments = json.loads(sys.argv[1])
for name, folder in folders.items():
    spec = importlib.util.spec_from_file_location(name, folder + "/__init__.py", submodule_search_locations=[folder])
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
getattr(importlib.import_module(module), function)(**arguments)
"""

_QUIET = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def command(
    python: Path, packages: Mapping[str, Path | str], entry: str, arguments: Mapping[str, Any]
) -> list[str]:
    """The command that registers packages and calls a function.

    Args:
        python: the interpreter.
        packages: folders of packages by name.
        entry: the function, as `module:function`.
        arguments: its arguments by name; anything that JSON can hold.
    """
    folders = {name: str(folder) for name, folder in packages.items()}
    request = [folders, *entry.split(":"), arguments]
    return [str(python), "-I", "-c", _BOOT, json.dumps(request)]


def environment(scratch: str, **more: str) -> dict[str, str]:
    """Variables that keep libraries quiet and offline, with a folder for what they insist on writing."""
    return {**os.environ, **_QUIET, "YOLO_CONFIG_DIR": scratch, "MPLCONFIGDIR": scratch, **more}
