"""A page to try models on: pictures, clips, clicks, and what parity says of the weights.

| file | what is in it |
|---|---|
| `page` | the page, in gradio |
| `desk` | the loaded model, and what is done with it on a picture or a clip |
| `clicks` | what was clicked, and how it is drawn |
| `verdict` | whether the weights give upstream's numbers, and this machine float64's |
"""
