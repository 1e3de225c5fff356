"""The test table: one row an operation, joined from op_rows/. test_ops.py holds every row to every
law; test_layering.py fails where a row is missing or stands for nothing."""

from op_rows import (
    attention,
    elementwise,
    functions,
    movement,
    optim,
    products,
    random,
    reduction,
)

PARTS = (elementwise, functions, movement, reduction, products, attention, random, optim)
ROWS = {row.name: row for part in PARTS for row in part.ROWS}
assert len(ROWS) == sum(len(part.ROWS) for part in PARTS), "two rows have one name"
