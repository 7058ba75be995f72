"""Pictures by the thousand: what a model makes of a data set, in files that are bound to where they come from.

| file | what is in it |
|---|---|
| `sources` | folders, lists, WebDataset's tars and parquet files as pictures with keys |
| `ahead` | pictures read and prepared in threads, before they are asked for |
| `embed` | the image encoder over a data set |
| `embedding_files` | what it gave, in shards with an index: written, gone on with, read |
| `everything` | all masks of each picture of a data set, in parquet files |
| `on_ray` | the same on several machines, by Ray Data |
| `unread` | which pictures could not be read |
"""
