#!/usr/bin/env bash
# The harness, from the checkout that PARITY_SOURCE names, into PARITY_PYTHON's environment. What is there stays.
set -euo pipefail
"${PARITY_PYTHON:-python}" -m pip install --quiet ${PIP_ARGS:-} "$PARITY_SOURCE[plots]" pytest
