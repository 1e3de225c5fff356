"""What a reader tries first: the examples, examples in docstrings, the README's code, the
recipes."""

import contextlib
import doctest
import importlib
import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wengert as wg
from wengert.examples import activation, checkpointing, digits, resume, symbolic, vanishing

from benchmarks.reference.mlp import MLP

ROOT = Path(__file__).parent.parent


def run(capsys, *arguments):
    """The lines that the digits example prints, as a dict by their first word."""
    digits.main(arguments)
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def test_digits_are_learnt_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    report = run(capsys)
    assert float(re.match(r"([\d.]+)% of the test digits", report["accuracy"])[1]) >= 97.0
    picture = Path(report["picture"])
    assert picture == tmp_path / "digits.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert re.fullmatch(r"[\d,]+ steps/s, [\d,]+ in [\d.]+ s, compiled", report["speed"])
    assert re.fullmatch(r"\d+ µs compiled, \d+ µs eager", report["step"])
    assert re.match(r"[\d,]+ times the plain-Python reference compiled", report["speed-up"])


def test_same_seed_same_bits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "time_steps", lambda x, y: (1.0, 1.0, None))
    results = []
    for i, (seed, threads, *options) in enumerate(((3, 1), (3, 2), (3, 2, "--eager"), (4, 2))):
        wg.set_num_threads(threads)
        out = tmp_path / f"{i}.png"
        report = run(capsys, "--epochs=2", f"--seed={seed}", f"--out={out}", *options)
        assert report["speed"].endswith("eager" if options else "compiled")
        kept = [report[key] for key in ("accuracy", "loss", "parameters")]
        results.append((kept, out.read_bytes()))
    assert results[0] == results[1] == results[2]
    assert results[0][0][2] != results[3][0][2]


def test_picture_of_another_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "time_steps", lambda x, y: (1.0, 1.0, None))
    out = tmp_path / "digits.svg"
    run(capsys, "--epochs=1", f"--out={out}")
    assert "</svg>" in out.read_text()


def test_split_is_fixed_and_stratified():
    x, y, x_test, y_test = digits.load_data()
    assert (x.shape, x_test.shape) == ((1437, 64), (360, 64))
    assert (x.min(), x.max(), x.dtype) == (0.0, 1.0, np.float32)
    assert np.bincount(y_test).min() >= 35
    seen = {image.tobytes() for image in x}
    assert not any(image.tobytes() in seen for image in x_test)
    for again, first in zip(digits.load_data(), (x, y, x_test, y_test), strict=True):
        assert np.array_equal(again, first)


def test_step_is_not_timed_where_gradients_differ(monkeypatch):
    def wrong(self, rows, labels):
        loss, layers = gradients(self, rows, labels)
        layers[1][0][5][7] += 1e-3
        return loss, layers

    gradients = MLP.gradients
    x, y = wg.random.default_rng(0).random((32, 64)), wg.arange(32) % 10
    compiled, eager, theirs = digits.time_steps(x, y)
    assert 0.0 < min(compiled, eager) <= max(compiled, eager) < theirs
    monkeypatch.setattr(MLP, "gradients", wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        digits.time_steps(x, y)


def test_without_the_reference(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "benchmarks.reference.mlp", None)
    report = run(capsys, "--epochs=1", f"--out={tmp_path / 'digits.png'}")
    assert report["speed-up"].startswith("run this in wengert's repository")


@pytest.mark.parametrize("name", ["sklearn", "matplotlib", "tqdm"])
def test_missing_extras_are_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as failure:
        digits.main([])
    assert failure.value.code == f"digits: {name} not found; run: pip install 'wengert[examples]'"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=0", "--epochs: must be at least 1; got 0"),
        ("--epochs=some", "--epochs: invalid"),
        ("--seed=x", "--seed: invalid int value: 'x'"),
        ("--out=no/such/digits.png", "cannot write 'no/such/digits.png': No such file"),
        ("--out=folder.png", "cannot write 'folder.png': Is a directory"),
        ("--out=digits.txt", "must end in .png, .pdf or .svg; got 'digits.txt'"),
        ("--out=", "must end in .png, .pdf or .svg; got ''"),
    ],
)
def test_wrong_arguments_are_refused_before_training(
    tmp_path, monkeypatch, capsys, argument, message
):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    with pytest.raises(SystemExit) as failure:
        digits.main([argument])
    assert failure.value.code == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.out == ""


def test_refused_or_not_an_out_file_is_left_as_it_was(tmp_path, capsys):
    new, old = tmp_path / "new.png", tmp_path / "old.png"
    old.write_bytes(b"kept")
    for out in (new, old):
        with pytest.raises(SystemExit):
            digits.main([f"--out={out}", "--epochs=0"])
    assert not new.exists()
    assert old.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits", ("--seed", "--epochs", "--eager", "--out", "(default: 80)")),
        ("activation", ("--seed", "--steps", "(default: 1000)")),
        ("checkpointing", ("--blocks", "--stored", "(default: 1,2,4)")),
        ("resume", ("--seed", "--steps", "--every", "--state", "(default: 20)")),
        ("symbolic", ("--factors", "--depth", "--out", "(default: 20)")),
        ("vanishing", ("--seed", "--depth", "--width", "--out", "(default: 12)")),
    ],
)
def test_help_of_the_command(name, words):
    command = [sys.executable, "-m", f"wengert.examples.{name}", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(word in text for word in words)


def test_activation_is_the_same_either_way(capsys):
    activation.main(["--seed=2", "--steps=300"])
    text = capsys.readouterr().out
    differences = re.findall(r"^  (.+?) +largest difference (.+)$", text, re.MULTILINE)
    names = ["value", "input VJP", "weight VJP", "JVP", "second order"]
    assert [name for name, _ in differences] == names
    assert all(float(largest) < 1e-13 for _, largest in differences)
    fits = re.findall(r"^  (\w+) +loss ([\d.]+), beta now in \[(.+), (.+)\]$", text, re.MULTILINE)
    assert [fit[0] for fit in fits] == ["primitive", "composed"]
    for _, loss, low, high in fits:
        assert float(loss) < 0.2 and float(low) < 0.9 and float(high) > 1.1


def test_activation_needs_a_step(capsys):
    with pytest.raises(SystemExit):
        activation.main(["--steps=0"])
    assert "--steps: must be at least 1; got 0" in capsys.readouterr().err


def test_checkpointing_draws_the_figure(capsys):
    checkpointing.main([])
    assert capsys.readouterr().out.splitlines() == [
        "(a)  x --> [1]* --> [2]* --> [3]  --> [4]*  forward; * is stored",
        "(b)  x     [1]*     [2]*     [3]? <== [4]*  backward lacks the output of 3",
        "(c)  x     [1]*     [2]* --> [3]*     [4]*  forward again from the closest checkpoint",
        "(d)  x <== [1]* <== [2]* <== [3]* <== [4]*  backward, complete",
        "5 block evaluations forward for 4: 1.25 times",
        "backward: blocks 4, 3, 2, 1",
        "the gradient is the same, to the bit",
    ]
    with pytest.raises(SystemExit):
        checkpointing.main(["--stored=5"])
    assert "--stored: the last block is 4; got 5" in capsys.readouterr().err


def test_training_resumes_after_kill_to_the_same_bits(tmp_path):
    def train(state, *more):
        command = [sys.executable, "-m", "wengert.examples.resume", f"--state={tmp_path / state}"]
        options = ["--steps=60", "--every=10", *more]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    whole = train("whole.safetensors")
    killed = train("state.safetensors", "--kill=37")
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    assert wg.load(tmp_path / "state.safetensors")["steps"] == 30
    resumed = train("state.safetensors").stdout.splitlines()
    assert resumed == ["resumed   from step 30", whole.stdout.strip()]
    for name in ("whole", "state"):
        assert wg.load(tmp_path / f"{name}.safetensors")["steps"] == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "state.safetensors",
        "whole.safetensors",
    ]
    first, second = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("whole", "state"))
    assert first == second


def test_the_demonstration_of_resuming_names_no_file_that_is_gone(capsys):
    resume.main(["--steps=20", "--every=8"])
    text = capsys.readouterr().out
    assert "killed    at step 15 by signal 9\nresumed   from step 8\n" in text
    assert text.endswith("the states are the same, to the bit\n")
    assert all(Path(name).exists() for name in re.findall(r"[\w/.]+\.safetensors", text))


def test_gradients_vanish_behind_sigmoids_and_not_behind_relus(tmp_path, capsys):
    out = tmp_path / "vanishing.png"
    vanishing.main([f"--out={out}"])
    text = capsys.readouterr().out
    found = re.findall(
        r"^\|dL/dy\| of the first layer over the last: (.+), (\w+)$", text, re.MULTILINE
    )
    (sigmoid, first), (relu, second) = found
    assert (first, second) == ("vanishing", "steady")
    assert float(sigmoid) < 0.25**12 * 8 and 0.1 < float(relu) < 10.0
    for kind in ("Sigmoid", "ReLU"):
        assert len(re.findall(rf"^\d+ {kind} +\(64, 64\)", text, re.MULTILINE)) == 12
    assert out.read_bytes().startswith(b"\x89PNG")
    slopes = {f: vanishing.curve(f, -3.0, 3.0)[2] for f in (wg.sigmoid, wg.relu)}
    assert slopes[wg.sigmoid].max() == pytest.approx(0.25)
    assert set(slopes[wg.relu].tolist()) == {0.0, 1.0}


def test_vanishing_refuses_wrong_arguments_and_names_what_it_needs(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        vanishing.main(["--depth=0"])
    assert "--depth: must be at least 1; got 0" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as failure:
        vanishing.main(["--out=never.png"])
    expected = "vanishing: matplotlib not found; run: pip install 'wengert[examples]'"
    assert failure.value.code == expected


def rows_of_tables(text):
    """The number rows of a printed table, in order."""
    lines = (line.split() for line in text.splitlines())
    return [list(map(int, row)) for row in lines if len(row) == 6 and row[0].isdigit()]


def test_symbolic_derivatives_are_ours_and_grow_faster(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    symbolic.main([])
    text = capsys.readouterr().out
    found = re.findall(r"^(?:SymPy's derivative|ours, from a trace) +(.+)$", text, re.MULTILINE)
    assert found == ["a*cos(x) + b*x*cos(x) + b*sin(x)"] * 2
    assert float(re.search(r"in numbers to (\S+)$", text, re.MULTILINE)[1]) < 1e-12
    rows = rows_of_tables(text)
    assert [row[0] for row in rows] == [*range(1, 21), *range(1, 9)]
    for panel in (rows[:20], rows[20:]):
        *traces, swollen, shared = np.array(panel).T[1:]
        assert all(len(set(np.diff(count))) == 1 for count in traces), "linear in n"
        assert np.all(np.diff(swollen, 2) > 0)
        assert swollen[-1] > 4 * shared[-1] and shared[-1] > traces[-1][-1]
    assert (tmp_path / "symbolic.png").read_bytes().startswith(b"\x89PNG")


def test_symbolic_derivatives_that_differ_are_seen():
    with pytest.raises(AssertionError):
        symbolic.compare(lambda x: wg.sin(wg.stop_gradient(x)) + x, 0.5)


@pytest.mark.parametrize("name", ["sympy", "matplotlib"])
def test_missing_extras_of_symbolic_are_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as failure:
        symbolic.main([])
    assert failure.value.code == f"symbolic: {name} not found; run: pip install 'wengert[examples]'"


def modules():
    package = Path(wg.__file__).parent
    files = (path.relative_to(package.parent) for path in package.rglob("*.py"))
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files)


def documented(name):
    """Public objects of a module that have a docstring, and the members of its classes, by path.

    What a module only imports is left to its home, and the core's to the package.
    """
    module = importlib.import_module(name)
    homes = (name, "wengert._core") if name == "wengert" else (name,)
    yield name, module
    for key, value in vars(module).items():
        home = getattr(value, "__module__", None)
        if key.startswith("_") or not callable(value) or home not in homes:
            continue
        yield f"{name}.{key}", value
        for member in vars(value) if isinstance(value, type) else ():
            if not member.startswith("_"):
                yield f"{name}.{key}.{member}", getattr(value, member, None)


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name):
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    for path, value in documented(name):
        text = getattr(value, "__doc__", None)
        if isinstance(text, str) and ">>>" in text:
            names = {"wg": wg, "np": np}
            output = io.StringIO()
            runner.run(parser.get_doctest(text, names, path, None, None), out=output.write)
            assert not output.getvalue()


def test_examples_in_docstrings_are_found():
    paths = {
        path
        for name in modules()
        for path, value in documented(name)
        if ">>>" in (getattr(value, "__doc__", None) or "")
    }
    expected = "Tensor tensor random.Generator.normal nn.module.Module.state_dict optim.rules.Adam"
    assert {f"wengert.{path}" for path in expected.split()} <= paths


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_what_there_is():
    table = README[README.index("| layers |") : README.index("What there is not:")]
    listed = re.findall(r"`(\w+)`", table)
    assert len(set(listed)) == len(listed)
    homes = (wg.nn, wg.optim)
    assert all(any(hasattr(home, name) for home in homes) for name in listed)
    for home, base in ((wg.nn, wg.nn.Module), (wg.optim, wg.optim.Optimizer)):
        classes = [getattr(home, name) for name in home.__all__]
        made = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, base)}
        assert made - {"Optimizer"} <= set(listed)
    absent = ("Conv2d", "MaxPool2d", "LBFGS")
    assert not any(hasattr(home, name) for home in homes for name in absent)


BLOCKS = re.findall(r"^```(python|cpp)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# A block whose first line names a file is an excerpt of that file.
EXCERPT = re.compile(r"(?:#|//) (\S+\.(?:py|cpp|h))\b.*\n")


@pytest.mark.keeps_tensors
def test_readme_code_runs():
    names = {"np": np}
    programs = [c for language, c in BLOCKS if language == "python" and not EXCERPT.match(c)]
    assert programs
    for code in programs:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, "README.md", "exec"), names)
        for expected in re.findall(r"^print\(.*\)  # (.+)$", code, re.MULTILINE):
            assert expected in output.getvalue()


@pytest.mark.parametrize("code", [code for _, code in BLOCKS if EXCERPT.match(code)])
def test_readme_excerpts_are_what_the_files_say(code):
    head = EXCERPT.match(code)
    source = (ROOT / head[1]).read_text(encoding="utf-8")
    assert " ".join(code[head.end() :].split()) in " ".join(source.split())


def test_readme_has_no_other_code():
    assert {language for language, _ in BLOCKS} <= {"python", "cpp"}
    for language, code in BLOCKS:
        assert language == "python" or EXCERPT.match(code)


RECIPES = (ROOT / "python/RECIPES.md").read_text(encoding="utf-8")
TITLES = re.findall(r"^## \d+\. (.+)$", RECIPES, re.MULTILINE)
RECIPE_BLOCKS = re.findall(r"^```(.*)\n((?s:.*?))^```", RECIPES, re.MULTILINE)


def test_every_recipe_is_one_program_that_checks_itself():
    assert len(TITLES) == 10 and len(RECIPE_BLOCKS) == 10
    for language, code in RECIPE_BLOCKS:
        assert language == "python" and re.search("^assert ", code, re.MULTILINE)


@pytest.mark.parametrize("code", [code for _, code in RECIPE_BLOCKS], ids=TITLES)
def test_recipes_run(code):
    exec(compile(code, "RECIPES.md", "exec"), {"__name__": "recipe"})
