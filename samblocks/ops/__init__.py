"""Pure functions on tensors: what the blocks are made of, each idea in one place.

| file | what is in it |
|---|---|
| `precision` | the dtype in which encodings and tables are computed |
| `cache` | the store of constant tables, by size, device and dtype |
| `linear`, `norm`, `attend` | the one home of linear layers, of normalization, of attention |
| `eager_attention` | attention written out, with the bits of libraries that write it out |
| `windows` | cutting a map into windows and putting it together again |
| `rope` | axial rotary position encoding, in real arithmetic |
| `rel_pos` | decomposed relative positions |
| `sine`, `fourier` | sine encodings, random Fourier features |
| `frames` | which conditioning frames a memory looks at |

Notation in shapes: B batch, N tokens, C channels, H height, W width, h heads, d channels of a head.
"""
