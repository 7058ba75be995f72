"""Videos: objects shown on some frames, and found on all of them, as by SAM 2's video predictor.

| file | what is in it |
|---|---|
| `predictor` | `VideoPredictor`: the methods, and what they take |
| `sources`, `clips`, `video_file` | what may be a video, and where frames come from |
| `settings`, `state` | what the predictor was told; what is known of a video |
| `prompts` | what users say, checked, and the answer to it |
| `propagation` | frame after frame |
| `steps` | one frame: what the model is given, and what is kept of its answer |
| `freshness` | which results would come out again |
| `history`, `tracked` | what is kept of a long video, and what was tracked |
| `saving` | states in files |
| `plots` | areas, scores, memory and drift, frame by frame |
| `views` | masks as callers get them |
"""
