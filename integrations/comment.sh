#!/usr/bin/env bash
# One comment below the pull request, and the same in the job's summary.
set -euo pipefail
test -f parity.json || { echo "there are no results: pytest did not come to its end"; exit 0; }
"${PARITY_PYTHON:-python}" -m parity comment parity.json --junit junit.xml \
  --report "${PARITY_REPORT:-}" --post | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
