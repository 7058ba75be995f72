"""Other runtimes behind our modules: the slow parts of a model run in an engine, every call stays as it is.

The files in the order in which an acceleration goes through them:

| file | what is in it |
|---|---|
| `accelerate`, `load` | `samblocks.accelerate`, and `samblocks.load` with `backend=` |
| `settings` | which backends and precisions there are, and what each needs |
| `finding` | which modules of a model run in an engine |
| `parts`, `memory_parts` | these parts, as graphs from tensors to tensors |
| `samples` | what the parts are called with: for tracing, and for calibration |
| `tables` | tables of positions as constants of a graph |
| `openvino`, `onnx_files`, `onnxruntime`, `inductor` | from a graph to something that runs |
| `fingerprint`, `blobs` | what a compiled graph depends on, and files that hold them |
| `attached` | a module whose calls go into an engine where that gives what eager would |
| `recipes` | which modules stay in float32 |
| `report` | what was done, and the way back |
| `sibling` | eager computed another way, for the yardstick |
| `verify` | the verdict on masks and scores |
| `export` | the parts as files, with a card; `pointer_parts` are the small ones |
| `card_page`, `verify_script` | the card as a page; the script beside it, which repeats what it says |
| `drift` | a video tracked with exported files beside eager |
"""
