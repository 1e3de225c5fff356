"""The checked-in stubs are what the table says, and mypy judges by them."""

import subprocess
import sys
from pathlib import Path

import pytest
import regen_stubs

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "tests" / "typing_sample.py"


def mypy(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mypy", "--no-incremental", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("file", ["__init__.pyi", "memory.pyi", "ops.pyi"])
def test_checked_in_stubs_are_current(file: str) -> None:
    found = (regen_stubs.FOLDER / file).read_text()
    assert found == regen_stubs.stubs()[file], "run python tests/regen_stubs.py"


def test_the_sample_runs() -> None:
    exec(compile(SAMPLE.read_text(), str(SAMPLE), "exec"), {})


def test_mypy_accepts_the_package_and_a_user() -> None:
    done = mypy("python/wengert", str(SAMPLE))
    assert done.returncode == 0, done.stdout


WRONG = {
    "wg.add('one', 2.0)": "arg-type",
    "wg.add(x)": "call-arg",
    "x.sum(axes=0)": "call-arg",
    "x.nothing()": "attr-defined",
    "y: str = wg.exp(x)": "assignment",
    "x.shape = (1,)": "misc",
    "wg.set_num_threads('two')": "arg-type",
    "x.reshape(2).backward(retain_graph='yes')": "arg-type",
}


def test_mypy_refuses_wrong_users(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import wengert as wg\n\nx = wg.ones(3)\n" + "\n".join(WRONG) + "\n")
    done = mypy(str(wrong))
    for line, (call, code) in enumerate(WRONG.items(), start=4):
        refusals = [text for text in done.stdout.splitlines() if f"wrong.py:{line}: error" in text]
        assert any(f"[{code}]" in text for text in refusals), f"{call}\n{done.stdout}"
