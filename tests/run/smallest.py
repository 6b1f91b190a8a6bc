"""The tables of ``run.toml`` that make a run as small as one can be, for those that search."""

SMALL_DATA = """
[data]
shapes_train = 12
shapes_val = 4
shapes_test = 4
shapes_warmup = 8
"""
SMALL_BACKBONE = """
[backbone]
warmup_steps = 2
warmup_batch_size = 4
"""
SMALL_PROXY = """
[proxy]
image_size = 64
steps = 2
batch_size = 4
views = 1
evaluations = 1
head_width = 16
"""
SMALLEST = SMALL_DATA + SMALL_BACKBONE + SMALL_PROXY
