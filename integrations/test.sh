#!/usr/bin/env bash
# The tests, with all reports. Does not fail itself, since reports are wanted of what failed: the exit status goes to
# the output `status`, or to the file that PARITY_STATUS_FILE names.
set -uo pipefail
status=0
# The arguments are split, and unquoted, as a shell does it.
eval "set -- ${PARITY_TESTS:-}"
"${PARITY_PYTHON:-python}" -m pytest --parity-json=parity.json --parity-html=parity.html --junitxml=junit.xml "$@" || status=$?
echo "status=$status" >> "${GITHUB_OUTPUT:-${PARITY_STATUS_FILE:-/dev/null}}"
