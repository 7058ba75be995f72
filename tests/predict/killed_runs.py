"""Runs `samblocks embed` again and again, ends each at a random moment, then lets one come to its end.

Torch is imported once; every run is a fork. It is a program, so that no fork has a test's threads.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from small_models import sam

from samblocks.cli import main
from samblocks.predict import loading
from samblocks.predict.dataset import embed

torch.set_num_threads(1)
MODEL = sam()
PAUSE = 0.01  # seconds a picture, so that there is a moment to be killed at


def started(photos: str, out: str) -> int:
    """The process id of a run."""
    child = os.fork()
    if child:
        return child
    encode = embed.Encoder.encode

    def slowly(self, pictures):
        time.sleep(PAUSE * len(pictures))
        return encode(self, pictures)

    setattr(embed.Encoder, "encode", slowly)  # noqa: B010  # the name is a method's
    setattr(loading, "load", lambda *names, **options: MODEL)  # noqa: B010
    os._exit(main(["embed", photos, "--model", "m", "--batch", "1", "--shard", "1", "-o", out]))


def shards(out: str) -> int:
    return len(list(Path(out).glob("*.safetensors")))


def ended(child: int, by: int, after: float, more_than: int = -1) -> int:
    """End a run, some time after there are so many shards: its exit status, or the signal as a negative number."""
    while shards(out) <= more_than:
        time.sleep(0.001)
    time.sleep(after)
    os.kill(child, by)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    photos, out, seed = sys.argv[1:]
    draw = random.Random(int(seed))
    kills, seen = 0, [0]
    for attempt in range(10):
        if attempt % 2:  # in the midst of work
            status = ended(started(photos, out), signal.SIGKILL, draw.uniform(0, 0.02), seen[-1])
        else:  # at any moment, the first ones too
            status = ended(started(photos, out), signal.SIGKILL, draw.uniform(0, 0.1))
        kills += status == -signal.SIGKILL
        seen.append(shards(out))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
    told = {
        "kills": kills,
        "shards": seen,
        "interrupted": ended(started(photos, out), signal.SIGINT, 0, shards(out)),
        "terminated": ended(started(photos, out), signal.SIGTERM, 0, shards(out)),
    }
    assert os.waitstatus_to_exitcode(os.waitpid(started(photos, out), 0)[1]) == 0
    print(json.dumps(told))
