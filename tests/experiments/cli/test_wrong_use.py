"""Wrong use is answered in the words of the command line, with the nearest name and the help."""

import ast
import io
import logging
import re
from pathlib import Path

import pytest
from command_line import run

from rnnjax import experiments
from rnnjax._names import nearest_of, option, spelled
from rnnjax.experiments._fields import fields_of
from rnnjax.experiments.tasks import TASKS
from rnnjax.experiments.training import Settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "there is no command 'trian'; did you mean 'train'?"),
        ("PARITY", "there is no command 'PARITY'; did you mean rnnjax train parity?"),
        ("train PARITY", "did you mean 'parity'?"),
        ("train temporal-order", "did you mean 'temporal_order'?"),
        ("train parity --lr 1", "there is no option --lr; did you mean --learning-rate?"),
        ("train parity --Hidden 1", "there is no option --Hidden; did you mean --hidden?"),
        ("train parity --batch 1", "there is no option --batch; did you mean --batch-size?"),
        ("train parity --cell LSTM", "--cell must be one of"),
        ("train parity --cell LSTM", "did you mean 'lstm'?"),
        ("train parity --cell bidirectional_lstm_network", "got 'bidirectional_lstm_network'"),
        ("train parity --hidden 1e3", "'--hidden': expected a whole number, got '1e3'"),
        ("train parity --average x", "'--average': expected a number such as 0.001, got 'x'"),
        ("train parity --flow-every -1", "expected a whole number of at least 0, got '-1'"),
        ("generate x --temperature a", "'--temperature': expected a number"),
        ("train parity --zzz 1", "there is no option --zzz (see rnnjax train parity --help)"),
        ("train parity --hidden", "(see rnnjax train parity --help)"),
        ("generate x --temperature", "(see rnnjax generate --help)"),
        ("train parity --batch-size 0", "--batch-size must be at least 1, got 0"),
        ("train parity --learning-rate nan", "--learning-rate must be a real number, got nan"),
        ("train parity --learning-rate inf", "--learning-rate must be finite"),
        ("train parity --clip-in-loop 0", "--clip-in-loop must be a limit above 0"),
        ("train parity --weight-decay -1", "--weight-decay must be at least 0 and finite"),
        ("train parity --optimizer sgd --weight-decay 1", "--optimizer sgd has no weight decay"),
        ("train parity --warmup 2", "--warmup is a probability in [0, 1)"),
        ("train adding --length 1", "--length must be at least 2, got 1"),
        ("train adding --length 5 --variant hochreiter_1997", "--variant hochreiter_1997 needs"),
        ("train dyck --max-length 3", "--max-length must be even"),
        ("train dyck --test-length 2", "--test-length must exceed --max-length = 50"),
        ("train sine --min-period 1", "2 < --min-period <= --max-period"),
        ("train sine --noise inf", "--noise is a standard deviation"),
        ("train match_to_sample --max-delay 2", "--max-delay must be at least --min-delay = 5"),
        ("train parity --seed -1", "--seed must be at least 0"),
        ("train parity --seed 4294967296", "--seed must be below 2^32"),
        ("train parity --seed 4294967295 --seeds 2", "--seed + --seeds must be at most 2^32"),
        ("generate x --seed 4294967296", "at most 4294967295, got '4294967296'"),
        ("compare --seed 4294967296", "'--seed'"),
        ("train language --text x.txt --unroll-steps 0", "--unroll-steps must be at least 1"),
    ],
)
def test_wrong_use_speaks_of_flags(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, errors = run(*arguments.split())
    assert (code, printed) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
    assert "()" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["train", "parity", "--steps", "1", "--out", ""], "--out"),
        (["train", "parity", "--config="], "--config"),
        (["train", "--out", "", "--resume"], "--out"),
        (["train", "--config", "", "--out", "x"], "--config"),
        (["train", "language", "--text", ""], "--text"),
        (["compare", "--quick", "--out", ""], "--out"),
        (["curves", "x", "--out="], "--out"),
        (["curves", "x", ""], "RUN..."),
        (["flow", "x", "--out", ""], "--out"),
        (["illustrate", "--out", ""], "--out"),
        (["caption", "x", "y.png", "--figure", ""], "--figure"),
        (["classify", "", "y"], "RUN"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(arguments, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, errors = run(*arguments)
    assert (code, printed) == (2, "")
    assert f": {name} is empty: name a file or folder" in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_empty_text_is_no_path():
    assert "is empty" not in run("generate", "nowhere", "--prompt", "").stderr


def test_the_same_name_in_another_case_is_nearer_than_initials():
    assert nearest_of("LR", ["learning-rate", "lr"]) == "lr"
    assert nearest_of("", ["lr"]) is None


def test_flags_are_spoken_of_inside_a_command_alone():
    assert option("top_k", 1) == "top_k=1"
    with spelled({"top_k": "--top-k"}):
        assert (option("top_k", 1), option("k", 1)) == ("--top-k 1", "k=1")
        with spelled({}):
            assert option("top_k") == "top_k"
        assert option("top_k") == "--top-k"
    assert option("top_k") == "top_k"


# Arguments of Python's interface alone, which no command passes on unchecked.
OF_PYTHON = {("_settings.py", "steps"), ("_step.py", "compute_dtype"), ("_step.py", "optimizer")}
OF_PYTHON |= {("_options.py", "cell")}  # a cell of a wrong type
OF_PYTHON |= {("_illustrate.py", "targets")}


def test_errors_name_options_by_the_function_that_knows_their_flags():
    """A name that an error writes out would be wrong on the command line."""
    names = {"resume", "member", "history", "top_k", "top_p", "temperature", *fields_of(Settings)}
    names = names.union(*(fields_of(entry.make) for entry in TASKS.values()))
    every, long = "|".join(names), "|".join(name for name in names if "_" in name)  # no English
    named = re.compile(
        rf"(?<![\w.-])({every})=|(?:^|[:;,.] )({every}) (?:must|is a|leaves)\b"
        rf"|(?<![\w.`\[-])({long})(?![\w.])"
    )
    found = []
    for path in Path(experiments.__file__).parent.rglob("*.py"):
        for text in _texts(ast.parse(path.read_text("utf-8"))):
            if " " in text and (match := named.search(text)):
                found.append((path.name, next(filter(None, match.groups()))))
    assert [each for each in found if each not in OF_PYTHON] == []


def _texts(node):
    """The texts in a program, without its docstrings and the arguments of `option`."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "option":
        return []
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return []
    own = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
    return own + [text for child in ast.iter_child_nodes(node) for text in _texts(child)]


def test_data_that_are_missing_are_asked_for_by_their_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("train", "mnist", "--data", "nowhere")
    assert code == 2
    assert "does not exist: --data must be a folder with the four files of MNIST" in errors
    code, _, errors = run("train", "caption", "--features", "x.npz")
    assert code == 2
    assert "--features are of the pictures of a folder: give it too, by --data" in errors


def test_reviews_that_cannot_be_downloaded_are_one_line(tmp_path, monkeypatch):
    class Hub:
        @staticmethod
        def load_dataset(name):
            for retry in range(5):
                logging.getLogger("huggingface_hub.utils._http").warning("Retry %s/5", retry)
            raise ConnectionError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnnjax.experiments.data.text._reviews.optional", lambda name: Hub)
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    library = logging.getLogger("huggingface_hub")
    library.addHandler(handler)
    before = library.level
    try:
        code, _, errors = run("train", "sentiment")
    finally:
        library.removeHandler(handler)
    assert (code, logged.getvalue(), library.level) == (2, "", before)
    assert errors == (
        "rnnjax train sentiment: imdb cannot be downloaded: no network. Give reviews of your own, "
        "a file or a folder, by --data\n"
    )
