"""Checkpoint files: found, verified, read safely, explained, loaded, converted and written.

| file | what it is for |
|---|---|
| `read` | a file's tensors by name, mapped into memory; rests on `mapped`, `zips`, `pickles`, `torch_files`, `safetensors_files`, `envelope` |
| `load`, `save` | a file to a model and back |
| `convert` | one layout to another |
| `inspect`, `report` | what a file is and what would become of each tensor |
| `resize` | named policies for other image sizes and memory lengths |
| `lock`, `fetch` | the public files: where they are, what their bytes must be |
"""
