"""The shape of the source: includes point downward, files are short, every row has its test."""

import re
from pathlib import Path

import pytest
import wengert as wg
from op_table import ROWS

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("base", "array", "kernels", "ops", "graph", "sweeps", "program", "runtime", "bindings")
SOURCES = sorted(path for path in (ROOT / "cpp").rglob("*") if path.suffix in (".h", ".cpp"))
LONGEST = 600
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def layer(path: str) -> int | None:
    folder = path.split("/")[0]
    return LAYERS.index(folder) if folder in LAYERS else None


def wrong_includes(name: str, text: str) -> list[str]:
    """Includes of a file that lead to a higher layer, or out of the layers."""
    own = layer(name)
    wrong = []
    for target in INCLUDE.findall(text):
        other = layer(target) if "/" in target else None
        if other is None or own is None or other > own:
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "cpp")))
def test_includes_point_downward(path):
    name = path.relative_to(ROOT / "cpp").as_posix()
    assert layer(name) is not None, f"{name} is in no layer; the layers are {LAYERS}"
    assert not wrong_includes(name, path.read_text())


def test_a_wrong_include_is_seen():
    assert wrong_includes("base/shape.h", '#include "array/array.h"\n') == ["array/array.h"]
    assert wrong_includes("ops/op.h", '#include "graph/node.h"\n#include <vector>') == [
        "graph/node.h"
    ]
    assert wrong_includes("ops/op.h", '#include "var.h"\n') == ["var.h"]
    assert wrong_includes("ops/op.h", '#include "ops/var.h"\n#include "base/error.h"') == []


@pytest.mark.parametrize("folder", ["cpp", "python", "tests", "benchmarks"])
def test_files_stay_short(folder):
    kinds = (".h", ".cpp", ".py", ".md")
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds
    }
    assert lengths, f"{folder} holds no source"
    long = {name: length for name, length in lengths.items() if length > LONGEST}
    assert not long, f"longer than {LONGEST} lines"


def test_every_operation_has_a_test_row():
    missing = sorted(set(wg._core.op_table) - set(ROWS))
    assert not missing, "operations without a row in tests/op_table.py"


def test_every_test_row_has_an_operation():
    unknown = sorted(set(ROWS) - set(wg._core.op_table))
    assert not unknown, "rows in tests/op_table.py without an operation"


@pytest.mark.parametrize("name", sorted(wg._core.op_table))
def test_rows_document_themselves(name):
    row = wg._core.op_table[name]
    assert len(row["doc"]) > 10 and row["doc"].rstrip().endswith(".")
    assert row["inputs"]
