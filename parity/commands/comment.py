"""`parity comment parity.json`: what a pytest session found, as a comment below a pull request.

It is printed, and with --post also written below the pull request that a GitHub workflow runs for (GITHUB_TOKEN with
the permission pull-requests: write), or the merge request of a GitLab pipeline (PARITY_GITLAB_TOKEN, which may use the
API): one comment, written over by each run.

  pytest --parity-json=parity.json --junitxml=junit.xml; parity comment parity.json --junit junit.xml --post
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parity.errors import UsageError
from parity.reports.comment import MARK, failures_of, markdown

HELP = "what a pytest session found, as a comment below a pull request"
_SECONDS: Final = 30
_PAGE: Final = 100


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("json", type=Path, metavar="FILE", help="what --parity-json wrote")
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="what --junitxml wrote: tests that failed otherwise"
    )
    parser.add_argument("--report", default="", metavar="URL", help="where the HTML page can be had")
    parser.add_argument("--post", action="store_true", help="write it below the pull or merge request")


def run(options: argparse.Namespace) -> int:
    """Print the comment, and post it."""
    try:
        records = json.loads(options.json.read_text(encoding="utf-8"))["cases"]
        failures = failures_of(options.junit) if options.junit else {}
    except (ValueError, KeyError, SyntaxError) as error:
        raise UsageError(f"{options.json} or {options.junit} is not what pytest wrote: {error}") from None
    text = markdown(records, failures, report=options.report)
    print(text, end="")
    if options.post:
        where = _place(os.environ)
        if where is None:
            print("not posted: this runs for no pull or merge request")
        else:
            where.post(text)
    return 0


@dataclass(frozen=True)
class _Place:
    """Where comments are listed and made, and what one is called there."""

    comments: str
    one: str
    headers: Mapping[str, str]
    change: str

    def post(self, text: str) -> None:
        """Write over the comment of an earlier run, or make one."""
        earlier, page = None, 1
        while earlier is None:
            found = self._ask("GET", f"{self.comments}?per_page={_PAGE}&page={page}")
            earlier = next((one["id"] for one in found if str(one["body"]).startswith(MARK)), None)
            if len(found) < _PAGE:
                break
            page += 1
        if earlier is None:
            self._ask("POST", self.comments, text)
        else:
            self._ask(self.change, f"{self.one}/{earlier}", text)

    def _ask(self, method: str, url: str, text: str | None = None) -> Any:
        data = None if text is None else json.dumps({"body": text}).encode()
        request = urllib.request.Request(
            url, data, {**self.headers, "Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError as error:
            raise UsageError(
                f"{method} {url} failed: {error}; the token needs the right to write comments there"
            ) from None


def _place(environment: Mapping[str, str]) -> _Place | None:
    """GitHub's or GitLab's, by the variables that each sets; None outside of a pull or merge request."""
    if "GITHUB_EVENT_PATH" in environment:
        event = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        number = event.get("pull_request", {}).get("number")
        if number is None:
            return None
        root = f"{environment.get('GITHUB_API_URL', 'https://api.github.com')}/repos/{environment['GITHUB_REPOSITORY']}"
        headers = {"Authorization": f"Bearer {_token(environment, 'GITHUB_TOKEN')}"}
        return _Place(f"{root}/issues/{number}/comments", f"{root}/issues/comments", headers, "PATCH")
    if "CI_MERGE_REQUEST_IID" in environment:
        project = f"{environment['CI_API_V4_URL']}/projects/{environment['CI_PROJECT_ID']}"
        notes = f"{project}/merge_requests/{environment['CI_MERGE_REQUEST_IID']}/notes"
        return _Place(notes, notes, {"PRIVATE-TOKEN": _token(environment, "PARITY_GITLAB_TOKEN")}, "PUT")
    return None


def _token(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise UsageError(f"--post needs {name}: a token that may write comments")
    return environment[name]
