"""`samblocks demo`: a page to try a model on, for this machine's own browser.

Choose a picture and click on it: masks, scores and an overlay appear. Choose a clip, click on objects, track them. What
`parity` says of the loaded weights stands beside them. Ctrl-C ends it.

  samblocks demo --model sam2.1_hiera_tiny
  samblocks demo --model finetune.pt --port 8000
"""

from __future__ import annotations

import argparse
import os
import sys
import time

HELP = "open a page to try a model on pictures and clips"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--model", metavar="NAME|FILE", help="as for samblocks.load; without it, it is chosen on the page"
    )
    parser.add_argument(
        "--port", type=_port, help="where the page is; by default the first free one from 7860 on"
    )
    parser.add_argument(
        "--device", help="where the model runs; by default on CUDA where it is, else on the CPU"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise ValueError("the demo needs gradio: pip install 'samblocks[demo]'") from None
    from samblocks.demo.desk import Desk
    from samblocks.demo.page import LAUNCH, Page

    desk = Desk(arguments.device)
    if arguments.model:
        print(f"loading {arguments.model}", file=sys.stderr)
        desk.load(arguments.model)
    page = Page(desk)
    try:
        try:
            _, address, _ = page.blocks.launch(server_port=arguments.port, prevent_thread_lock=True, **LAUNCH)
        except OSError:
            which = f"port {arguments.port}" if arguments.port else "every port from 7860 on"
            raise ValueError(f"{which} is taken on this machine: name another one by --port") from None
        print(f"{address} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    finally:
        page.upstream.stop()
        page.blocks.close(verbose=False)


def _port(text: str) -> int:
    if not (text.isdecimal() and len(text) < 6 and 0 < int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r}: a port is a number from 1 to 65535")
    return int(text)
