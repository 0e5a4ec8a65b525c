"""Inference commands: from the folder of a run to text, classes and forecasts."""

import io
import os
import re
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import run, run_main
from PIL import Image

from rnnjax.experiments.data import picture
from rnnjax.experiments.tasks import caption, language, sentiment, sequential_digits, series
from rnnjax.experiments.training import load, load_model

STEPS = ("--steps", 3, "--quiet")


def trained_here(tmp_path_factory, task, *options, data=()):
    """A run in a folder whose name would be a pattern, its data gone: `data` is a flag and a file.

    All that is inferred with it has to come from the folder alone.
    """
    out = tmp_path_factory.mktemp(task) / "run[1] of *"
    for path in data[1:]:
        path = shutil.copy(path, path.with_name(f"copy{path.suffix}"))
        data = (data[0], path)
    done = run("train", task, *options, *STEPS, *data, "--out", out)
    assert done.returncode == 0, done.stderr
    for path in data[1:]:
        path.unlink()
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "table.csv"
    values = np.sin(np.arange(200) / 3) + 5
    path.write_text("y\n" + "".join(f"{value:.6f}\n" for value in values), "utf-8")
    return path


SERIES = {"window": 10, "horizon": 4, "hidden": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def of_series(tmp_path_factory, table):
    options = [x for name, value in SERIES.items() for x in (f"--{name}", value)]
    options = [str(x).replace("_", "-") for x in options]
    return trained_here(tmp_path_factory, "series", *options, data=("--csv", table))


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory):
    flags = ("--read", "rows", "--hidden", 4, "--batch-size", 10, "--seeds", 2)
    return trained_here(tmp_path_factory, "digits", *flags)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("a dog and a cat.\n" * 200, "utf-8")
    return path


SMALL = ("--hidden", 4, "--embedding", 3, "--unroll-steps", 8, "--batch-size", 4)
LANGUAGE = {"hidden": 4, "embedding": 3, "unroll_steps": 8, "batch_size": 4}


@pytest.fixture(scope="module")
def of_language(tmp_path_factory, text):
    return trained_here(tmp_path_factory, "language", *SMALL, data=("--text", text))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    path.write_text("text,label\n" + "a good film,for\na bad film,against\n" * 20, "utf-8")
    return path


@pytest.fixture(scope="module")
def of_sentiment(tmp_path_factory, reviews):
    flags = ("--hidden", 4, "--embedding", 3, "--batch-size", 4)
    return trained_here(tmp_path_factory, "sentiment", *flags, data=("--data", reviews))


def test_generate_prints_the_text_of_the_task(of_language, text):
    task = language(text=text, **LANGUAGE)
    params = load(of_language, task, which="best")
    sampling = {"temperature": 0.7, "top_k": 5, "top_p": 0.9}
    expected = task.infer["generate"](params, "a d", 30, key=jax.random.key(4), **sampling)
    flags = ("--length", 30, "--temperature", 0.7, "--top-k", 5, "--top-p", 0.9, "--seed", 4)
    arguments = ("generate", of_language, "--prompt", "a d", *flags, "--best")
    code, printed, errors = run(*arguments)
    assert code == 0, errors
    assert printed == expected + "\n"
    assert len(expected) == 33
    code, other, _ = run(*arguments, "--seed", 5)
    assert other != printed


@pytest.mark.filterwarnings("default")
def test_generate_says_what_of_the_prompt_is_unknown(of_language, tmp_path_factory, text):
    known = run("generate", of_language, "--prompt", "a cat", "--length", 5)
    assert (known.returncode, known.stderr) == (0, "")
    other = run("generate", of_language, "--prompt", "a Cät C", "--length", 5)
    assert other.returncode == 0
    assert other.stdout.startswith("a Cät C")
    assert other.stderr == (
        "rnnjax generate: warning: --prompt has characters that are not in the model's vocabulary: "
        "'C', 'ä'; it reads <unk> in the place of each\n"
    )
    flags = (*SMALL, "--units", "words", "--max-words", 4)  # <unk>, <eos> and two more
    words = trained_here(tmp_path_factory, "language", *flags, data=("--text", text))
    done = run("generate", words, "--prompt", "a zebra\nzebra", "--length", 2)
    assert "--prompt has words that are not in the model's vocabulary: 'zebra'; it" in done.stderr


def test_classify_texts_and_the_lines_of_a_file(of_sentiment, reviews, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("a bad bad film\n\nfilm\n", "utf-8")
    texts = ["a good film", "a bad bad film", "", "film"]
    task = sentiment(data=reviews, hidden=4, embedding=3, batch_size=4)
    judged = task.infer["classify"](load(of_sentiment, task), texts)
    code, printed, errors = run("classify", of_sentiment, texts[0], "--file", file)
    assert code == 0, errors
    rows = [line.split(maxsplit=2) for line in printed.splitlines()[1:]]
    assert rows == [
        [label, f"{share:.3f}", *filter(None, [text])]
        for (label, share), text in zip(judged, texts, strict=True)
    ]


def test_a_text_that_is_the_name_of_a_file_is_said_to_be_one(of_sentiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two texts.txt").write_text("a good film\nbad", "utf-8")
    done = run("classify", of_sentiment, "two texts.txt", "a film", "x" * 5000)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == (
        "'two texts.txt' is classified as a text, and there is a file of this name: "
        "--file 'two texts.txt' classifies its lines\n"
    )


def test_caption_image_files(tmp_path_factory, tmp_path):
    options = {"hidden": 4, "channels": 4, "embedding": 4, "side": 16}
    options |= {"pictures": 20, "test_pictures": 4, "batch_size": 4}
    flags = [str(x) for k, v in options.items() for x in (f"--{k.replace('_', '-')}", v)]
    out = trained_here(tmp_path_factory, "caption", *flags)
    Image.fromarray(picture(0, side=16).image).save(tmp_path / "x.png")
    task = caption(**options)
    expected = task.infer["caption"](load(out, task), tmp_path / "x.png", beams=2)
    code, printed, errors = run("caption", out, tmp_path / "x.png", "--beams", 2)
    assert code == 0, errors
    assert printed.splitlines()[1].split() == [str(tmp_path / "x.png"), *expected.split()]
    drawn = tmp_path / "new" / "looked.png"
    flags = ("--figure", drawn.with_suffix(""))
    code, _, errors = run("caption", out, tmp_path / "x.png", *flags)
    assert code == 0, errors
    assert errors == f"the figure is in {drawn}\n"
    assert np.asarray(Image.open(drawn)).std() > 10
    code, _, errors = run("caption", out, tmp_path / "x.png", "--figure", tmp_path / "x.y")
    assert code == 2
    assert "x.y: a figure in the format .y is not supported" in errors


def test_forecast_is_that_of_the_task_with_the_trained_params(of_series, table):
    task = series(csv=table, **SERIES)
    expected = task.infer["forecast"](load(of_series, task), steps=6)
    done = run("forecast", of_series, "--steps", 6)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose([float(x) for x in done.stdout.split()], expected, rtol=1e-4)
    assert done.stderr == (
        f"after the last of the 200 values of the series of {of_series}, whose first 140 were for "
        "training; --history FILE continues newer ones\n"
    )


def test_a_run_is_resumed_on_the_same_data_elsewhere_and_not_on_others(of_series, table):
    same = ("train", "series", "--out", of_series, "--resume", "--csv")
    other = table.parent / "3.csv"
    values = [3 * float(line) for line in table.read_text("utf-8").splitlines()[1:]]
    other.write_text("y\n" + "\n".join(map(str, values)), "utf-8")
    code, _, errors = run(*same, other)
    assert code == 2
    assert "was made on other data: " in errors
    assert "; mean was 5." in errors
    code, printed, errors = run(*same, table)
    assert code == 0, errors
    assert "series: mae" in printed
    assert f"the run is finished: step 3 of 3 is in {of_series}" in errors


def test_forecast_reads_a_history_as_the_training_was_read_and_tells_its_values_apart(
    tmp_path_factory, tmp_path
):
    values = 1e12 + np.sin(np.arange(200) / 3)
    lines = [f"{k};{value:.4f}".replace(".", ",") for k, value in enumerate(values)]
    table, history = tmp_path / "t.csv", tmp_path / "h.csv"
    table.write_text("\n".join(lines), "utf-8")
    options = [x for name, value in SERIES.items() for x in (f"--{name}", value)]
    options = [str(x).replace("_", "-") for x in (*options, "--decimal", ",", "--no-header")]
    folder = trained_here(tmp_path_factory, "series", *options, data=("--csv", table))
    history.write_text("\n".join(lines[:-5]), "utf-8")
    code, printed, errors = run("forecast", folder, "--history", history)
    assert code == 0, errors
    model = load_model(folder)
    expected = model.infer["forecast"](history=values[:-5].round(4))
    np.testing.assert_allclose([float(x) for x in printed.split()], expected, rtol=0, atol=1e-3)
    assert all(re.fullmatch(r"1?[0-9]{12}\.[0-9]{5}", line) for line in printed.split())


def test_forecasts_of_generated_series(tmp_path_factory):
    flags = ("--length", 6, "--context", 2, "--horizon", 3, "--hidden", 2, "--test-size", 2)
    out = trained_here(tmp_path_factory, "sine", *flags, "--batch-size", 2)
    code, printed, errors = run("forecast", out, "--steps", 4)
    assert (code, errors) == (0, "")
    assert len(printed.splitlines()) == 4


def test_forecast_continues_a_given_history(of_series, table):
    other = table.parent / "other.csv"
    other.write_text("x,z\n" + "9,4.5\n8,4.6\n" * 5, "utf-8")
    task = series(csv=table, **SERIES)
    params = load(of_series, task)
    expected = task.infer["forecast"](params, history=np.array([9.0, 8.0] * 5))
    flags = ("--history", other, "--column", "x")
    code, printed, errors = run("forecast", of_series, *flags)
    assert code == 0, errors
    np.testing.assert_allclose([float(x) for x in printed.split()], expected, rtol=1e-4)


def test_it_says_that_it_takes_the_first_of_several_models(of_digits, tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "x.png")
    first, named = (
        run("classify", of_digits, tmp_path / "x.png", *f) for f in ((), ("--member", 0))
    )
    assert first.stdout == named.stdout
    assert first.stderr == f"by the first of the 2 models of {of_digits}; --member takes another\n"
    assert named.stderr == ""


def test_forecast_reads_a_history_from_standard_input(of_series, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    table.write_text("t,x\n" + "".join(f"{k},{k % 3}\n" for k in range(12)), "utf-8")
    flags = ("--history", "-", "--column", "x")

    def piped(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return run("forecast", of_series, *flags)

    assert piped(table.read_bytes()) == run("forecast", of_series, "--history", table, *flags[2:])
    short = piped(b"t,x\n1,2\n").stderr
    assert short.startswith("rnnjax forecast: standard input, column 'x': --history must be at lea")
    wrong = piped(b"t,x\n1,2\n2,two\n")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("rnnjax forecast: standard input, line 3, column 'x': ")


def test_forecast_reads_a_history_of_another_format_by_flags(of_series, tmp_path):
    plain, european = tmp_path / "plain.csv", tmp_path / "european.csv"
    plain.write_text("x\n" + "9.5\n8\n" * 5, "utf-8")
    european.write_bytes("ä;x\n".encode("latin-1") + b"a;9,5\nb;8,0\n" * 5)
    same = run("forecast", of_series, "--history", plain, "--column", "x")
    flags = ("--history", european, "--column", "x", "--encoding", "latin-1")
    assert run("forecast", of_series, *flags, "--decimal", ",").stdout == same.stdout != ""
    code, _, errors = run("forecast", of_series, *flags)
    assert (code, "--decimal ," in errors) == (2, True), errors


def test_classify_image_files(of_digits, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    task = sequential_digits(read="rows", hidden=4, batch_size=10)
    rows = []
    for member in range(2):
        params = load(of_digits, task, member=member)
        ((label, share),) = task.infer["classify"](params, [tmp_path / "x.png"], invert=True)
        flags = ("--invert", "--member", member)
        code, printed, errors = run("classify", of_digits, tmp_path / "x.png", *flags)
        assert code == 0, errors
        rows.append(printed.splitlines()[1].split())
        assert rows[-1] == [label, f"{share:.3f}", str(tmp_path / "x.png")]
    assert rows[0] != rows[1]


@pytest.fixture(scope="module")
def runs(of_series, of_digits, of_language, of_sentiment):
    return {
        "SERIES": of_series,
        "DIGITS": of_digits,
        "LANGUAGE": of_language,
        "REVIEWS": of_sentiment,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classify", "SERIES", "a"), "cannot classify: it is for rnnjax forecast"),
        (("generate", "DIGITS"), "cannot generate: it is for rnnjax classify"),
        (("forecast", "nowhere"), "nowhere holds no run: expected a folder with a config.toml"),
        (("forecast", "."), ". holds no run"),
        (("classify", "DIGITS", "nowhere.png"), "there is no file nowhere.png"),
        (("classify", "DIGITS", "--member", 2), "--member must lie in 0..1"),
        (("classify", "DIGITS"), "expected files to classify, got none"),
        (("classify", "DIGITS", "--file", "x"), "--file is for runs that classify texts"),
        (("forecast", "SERIES", "--history", "nowhere.csv"), "nowhere.csv"),
        (("forecast", "SERIES", "--steps", 0), "--steps"),
        (
            ("forecast", "SERIES", "--history", "short.csv", "--column", "x"),
            "short.csv, column 'x': --history must be at least window = 10 finite values",
        ),
        (("classify", "DIGITS", "latin1.txt"), "latin1.txt: this picture cannot be read"),
        (
            ("generate", "LANGUAGE", "--temperature", 0),
            "--temperature must be above 0, got 0.0: --top-k 1 always takes the most likely symbol",
        ),
        (("generate", "LANGUAGE", "--top-p", 2), "--top-p is a probability"),
        (
            ("generate", "LANGUAGE", "--prompt", os.fsdecode(b"caf\xe9")),
            r"--prompt has half a surrogate pair, '\udce9', which stands for the byte 0xe9 where "
            "text is not UTF-8: expected text in UTF-8",
        ),
        (
            ("classify", "REVIEWS", "good", os.fsdecode(b"caf\xe9")),
            r"the text 'caf\udce9' has half a surrogate pair, '\udce9', which stands for the byte "
            "0xe9 where text is not UTF-8: expected text in UTF-8",
        ),
        (
            ("classify", "REVIEWS", "\ud800"),
            r"has half a surrogate pair, '\ud800': expected text in UTF-8",
        ),
        (("classify", "REVIEWS"), "expected texts to classify, got none"),
        (("classify", "REVIEWS", "a", "--invert"), "a run of this task has no --invert"),
        (("classify", "REVIEWS", "--file", "nowhere.txt"), "nowhere.txt"),
        (
            ("classify", "REVIEWS", "--file", "latin1.txt"),
            "latin1.txt: expected text in UTF-8, got the byte 0xe9 in line 2: give its encoding, "
            "such as --encoding latin-1",
        ),
        (
            ("classify", "REVIEWS", "--file", "utf16.txt"),
            "utf16.txt: expected text in UTF-8, got the byte 0xff in line 1: give its encoding, "
            "such as --encoding utf-16",
        ),
        (
            ("classify", "REVIEWS", "--file", "latin1.txt", "--encoding", "latin-0"),
            "--encoding latin-0 is not known",
        ),
        (("classify", "REVIEWS", "a", "--encoding", "latin-1"), "--encoding is that of --file"),
        (("forecast", "SERIES", "--column", "x"), "--column needs --history"),
        (("forecast", "SERIES", "--decimal", ","), "--decimal needs --history"),
    ],
)
def test_wrong_use(arguments, message, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("short.csv").write_text("x\n1\n2\n", "utf-8")
    Path("latin1.txt").write_bytes("good\nun café".encode("latin-1"))
    Path("utf16.txt").write_bytes("good\nun café".encode("utf-16"))
    code, printed, errors = run(*(runs.get(it, it) for it in arguments))
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert printed == ""


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        ("un café\n".encode("latin-1"), 2, "standard input: expected text in UTF-8, got the byte"),
        (b"", 2, "expected texts to classify, got none"),
        (b"\xef\xbb\xbfa good film\n\nbad\r\n \n\nfilm", 0, ""),
    ],
)
def test_texts_from_standard_input(raw, code, said, of_sentiment, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), "latin-1"))
    done = run("classify", of_sentiment, "--file", "-")
    assert done.returncode == code
    assert said in done.stderr
    if not code:
        shown = [line.split(maxsplit=2)[2:] for line in done.stdout.splitlines()[1:]]
        assert shown == [["a good film"], [], ["bad"], [], [], ["film"]]


def test_texts_of_another_encoding_are_shown_escaped(of_sentiment, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_bytes("un café\x85\r\na \x1b[31mred\x1b[0m film".encode("latin-1"))
    done = run("classify", of_sentiment, "--file", texts, "--encoding", "latin-1")
    assert done.returncode == 0
    assert [line.split(maxsplit=2)[2] for line in done.stdout.splitlines()[1:]] == [
        r"un café\x85",
        r"a \x1b[31mred\x1b[0m film",
    ]


def test_a_run_of_the_wrong_kind_through_the_entry_point(of_series):
    done = run_main("caption", of_series, Path(__file__))
    assert done.returncode == 2
    assert "holds a run of 'series', which cannot caption" in done.stderr
    assert "Traceback" not in done.stderr
