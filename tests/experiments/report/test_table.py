import io
import math

import numpy as np
import pytest

from rnnjax.experiments.report import comparison_table
from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import CellResult, FlowMeasures
from rnnjax.flow import Verdict


def measures(verdict, lyapunov):
    nothing = np.zeros(0)
    return FlowMeasures(nothing, verdict, lyapunov, nothing, nothing, nothing)


RESULT = CellResult(
    scores=np.array([0.90, 0.94]),
    cost=np.zeros((2, 0)),
    curve_steps=np.zeros(0),
    curve=np.zeros((2, 0)),
    before=measures(Verdict("vanishes", 1.2345, -15.386, 0.5, 0.1), -math.inf),
    after=measures(Verdict("explodes", -17.05, 0.301, -0.04, 0.01), 0.0668),
    bounds=(1.089, 4.188),
    milliseconds=21.26,
)


def rows(results, width, **options):
    from rich.console import Console

    console = Console(width=width, file=io.StringIO())
    console.print(comparison_table(results, **options))
    return console.file.getvalue().splitlines()


def cells_of(line):
    return [text.strip() for text in line.strip().strip("│").split("│")]


def test_two_rows_a_cell_with_every_number():
    lines = rows({"vanilla": RESULT}, 120)
    before = next(line for line in lines if "before" in line and "│" in line)
    after = next(line for line in lines if "after" in line and "│" in line)
    assert cells_of(before) == [
        *("vanilla (tanh)", "before", "", "1.23", "-15.39", "−∞", "vanishes", "1.09", "")
    ]
    # mean and sample standard deviation of 90 % and 94 %
    assert cells_of(after) == [
        *("", "after", "92.0 ± 2.8", "×2 in 17.1", "0.30", "0.067", "explodes", "4.19", "21.3")
    ]


def test_it_says_that_the_flow_is_that_of_the_first_seed():
    said = " ".join(" ".join(rows({"vanilla": RESULT}, 120)).split())
    assert (
        "The gradient flow is that of the first of 2 seeds, the metric their mean ± standard"
        in said
    )
    one = RESULT._replace(scores=np.array([0.136]))
    assert "seeds" not in " ".join(rows({"vanilla": one}, 120))


def test_one_seed_has_no_spread_and_other_cells_no_bound():
    constant = measures(Verdict("constant", math.inf, -0.0, 0.0, 0.0), -1e-9)
    result = RESULT._replace(scores=np.array([0.136]), before=constant, after=constant, bounds=None)
    lines = rows({"identity_rnn": result}, 120)
    after = next(line for line in lines if "after" in line and "│" in line)
    assert cells_of(after) == ["", "after", "13.6", "∞", "0.00", "0.000", "constant", "–", "21.3"]


@pytest.mark.parametrize("number", ["92.0 ± 2.8", "×2 in 17.1", "-15.39", "vanishes", "21.3"])
def test_compact_table_fits_80_columns(number):
    lines = rows({"vanilla": RESULT, "lstm": RESULT._replace(bounds=None)}, 80, compact=True)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert any(number in line for line in lines)


def test_a_label_that_the_examples_do_not_settle_has_a_question_mark():
    sure = Verdict("constant", math.inf, 0.0, 0.0, 0.0, share_interval=(0.8, 1.0), examples=16)
    doubtful = sure._replace(share_interval=(0.6, 1.0))
    result = RESULT._replace(before=measures(sure, 0.0), after=measures(doubtful, 0.0))
    before, after = [line for line in rows({"lstm": result}, 120) if "│" in line]
    assert [cells_of(line)[6] for line in (before, after)] == ["constant", "constant?"]


def test_another_metric_has_its_name_and_unit():
    result = RESULT._replace(scores=np.array([0.01, 0.03]), metric=Metric("loss", "min", "nats"))
    lines = rows({"lstm": result}, 120)
    head = " ".join(line for line in lines[:6] if "┃" in line or "test" in line)
    assert "loss" in head
    assert "nats" in head
    assert "%" not in head
    after = next(line for line in lines if "after" in line and "│" in line)
    assert cells_of(after)[2] == "0.02 ± 0.014"
