"""The files to copy of docs/how_to work as they are, by the contracts of what they stand in for."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from registries import registries_kept

import rnnjax
from rnnjax import extend, unroll

FOLDER = Path(__file__).parents[2] / "docs" / "how_to" / "skeletons"
T, B, D, H = 5, 3, 2, 3
XS = jnp.asarray(np.random.default_rng(0).standard_normal((T, B, D)))
LENGTHS, RESETS = jnp.array([5, 3, 0]), jnp.zeros((T, B), bool).at[2, :2].set(True)
SOME = {"lengths": LENGTHS, "resets": RESETS}
FLAGS = [{}, SOME, {**SOME, "reverse": True}]
GRU = rnnjax.gru(H)
PARAMS = GRU.init(jax.random.key(1), D)


def load(name, folder=FOLDER):
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def skeleton(eager):
    """A skeleton by its name; what it registers is forgotten after the test."""
    # They write z + b as anyone would.
    with registries_kept(), jax.numpy_rank_promotion("allow"):
        yield load


def gradients(
    cell, params, xs=XS, cost=lambda carry, ys: (carry.h**2).sum() + (ys**3).sum(), **how
):
    return jax.value_and_grad(lambda *at: cost(*unroll(cell, *at, **how)), (0, 1))(params, xs)


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-11, 1e-13), found, expected)


SHORTER = {"my_cell(4)": "my_cell(3)", "faded(10": "faded(2", "rnnjax.gru(4)": "rnnjax.gru(3)"}
SHORTER |= {"(10, ": "(4, ", "[10, 6]": "[4, 2]", "(30, ": "(4, "}


def page_after(module, page):
    """What the code on a page leaves, run beside the file to copy and with no other names."""
    text = (FOLDER.parent / f"{page}.md").read_text("utf-8")
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, names)
    return names


def test_my_cell(skeleton, capsys):
    module = skeleton("my_cell")
    page = page_after(module, "new_cell")
    assert float(jnp.abs(page["ys"][2:, 1]).max()) == 0 < float(jnp.abs(page["ys"][1, 1]).max())
    assert repr(page["regularised"]).startswith("zoneout(")
    assert capsys.readouterr().out.count("  ok") == 7
    cell = module.my_cell(H)
    assert repr(cell) == "my_cell(3)"
    params = cell.init(jax.random.key(1), D)
    h = np.zeros((B, H))
    for t in range(T):
        z_f, z_n = np.split(np.asarray(XS[t] @ params.w_x + params.b), 2, axis=-1)
        w_f, w_n = np.split(np.asarray(params.w_h), 2, axis=-1)
        f = 1 / (1 + np.exp(-(z_f + h @ w_f)))
        h = (1 - f) * h + f * np.tanh(z_n + (f * h) @ w_n)
    np.testing.assert_allclose(unroll(cell, params, XS)[0].h, h, rtol=1e-12)


def test_my_combinator(skeleton, capsys):
    module = skeleton("my_combinator")
    assert page_after(module, "new_combinator")["ys"].shape == (4, 2, 8)
    assert capsys.readouterr().out.count("  ok") == 9
    with_gain = module.with_gain
    cell = with_gain(GRU)
    assert repr(cell) == "with_gain(gru(3))"
    assert cell is with_gain(rnnjax.gru(3))
    params = cell.init(jax.random.key(1), D)._replace(gain=jnp.asarray(1.7))
    np.testing.assert_allclose(
        unroll(cell, params, XS)[1], 1.7 * unroll(GRU, params.cell, XS)[1], rtol=1e-14
    )
    report = rnnjax.gradients.check(cell, params, XS)
    assert report.passed, str(report)
    stacked = rnnjax.stack(with_gain(rnnjax.input_dropout(GRU, 0.5)), cell)
    params = stacked.init(jax.random.key(1), D)
    assert unroll(stacked, params, XS, key=jax.random.key(2))[1].shape == (T, B, H)


def test_my_base_gradient(skeleton, capsys):
    module = skeleton("my_gradient")
    page_after(module, "new_gradient")
    exact, half, both = re.findall(r" all +(\S+) ", capsys.readouterr().out)
    assert float(exact) < 1e-14 < 1e-3 < float(half) == float(both) < 1
    recomputed = module.recomputed()
    for flags in FLAGS:
        expected = gradients(GRU, PARAMS, gradient=rnnjax.autodiff(), **flags)
        assert_close(gradients(GRU, PARAMS, gradient=recomputed, **flags), expected)
    traced = jax.make_jaxpr(lambda *at: gradients(GRU, *at, gradient=recomputed))(PARAMS, XS)
    assert "prevent_cse" in str(traced)  # of jax.checkpoint
    with pytest.raises(ValueError, match=r"native\(\) cannot run this.*Recomputed\(\)"):
        gradients(GRU, PARAMS, gradient=recomputed, method=rnnjax.native())


def test_my_wrapping_gradient(skeleton):
    faded = skeleton("my_gradient").faded
    for flags in FLAGS:
        expected = gradients(GRU, PARAMS, **flags)
        assert_close(gradients(GRU, PARAMS, gradient=faded(2, 1.0), **flags), expected)
    for flags in FLAGS[:2]:  # forwards, where truncated(k) cuts at the same steps
        expected = gradients(GRU, PARAMS, gradient=rnnjax.truncated(2), **flags)
        assert_close(gradients(GRU, PARAMS, gradient=faded(2, 0.0), **flags), expected)
    half = faded(2, 0.5, rnnjax.bptt())
    cell = rnnjax.identity_rnn(1)  # y_T = Σ x_t: all of an error arrives
    for reverse, left in (False, [0.25, 0.25, 0.5, 0.5, 1]), (True, [1, 1, 0.5, 0.5, 0.25]):
        _, (_, xs_ct) = gradients(
            cell,
            cell.init(jax.random.key(0), 1)._replace(w_x=jnp.ones((1, 1))),
            XS[:, :2, :1],
            lambda carry, ys: carry.h.sum(),
            gradient=half,
            lengths=jnp.array([5, 3]),
            reverse=reverse,
        )
        ended = [0.5, 0.5, 1, 0, 0] if not reverse else [1, 1, 0.5, 0, 0]
        np.testing.assert_allclose(xs_ct[..., 0].T, [left, ended], rtol=1e-14)


def test_my_method(skeleton):
    module = skeleton("my_method")
    assert page_after(module, "new_method")["ys"].shape == (6, 2, H)
    written_out = module.written_out()
    for flags in FLAGS:
        expected = gradients(GRU, PARAMS, **flags)
        assert_close(gradients(GRU, PARAMS, method=written_out, **flags), expected)
    expected = unroll(GRU, PARAMS, XS, return_carries=True)
    assert_close(unroll(GRU, PARAMS, XS, return_carries=True, method=written_out), expected)
    with pytest.raises(ValueError, match=r"written_out\(\) cannot run this.*1 to 64.*T is 0"):
        unroll(GRU, PARAMS, XS[:0], method=written_out)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it is a kernel for CPUs")
def test_my_kernel(skeleton, tmp_path):
    for file in FOLDER.glob("my_kernel.*"):
        if file.suffix in (".py", ".cc"):
            shutil.copy(file, tmp_path)
    module = skeleton("my_kernel", tmp_path)
    module.FLAGS[0] = "-O0"  # which takes half of the time to compile
    assert page_after(module, "new_kernel")["ys"].shape == (4, 2, 8)
    my_kernel = module.my_kernel()
    cell = rnnjax.indrnn(H, "tanh")
    params = cell.init(jax.random.key(1), D)
    learned = rnnjax.learned_carry(cell)  # what a reset goes back to has a gradient too
    started = rnnjax.LearnedCarryParams(params, rnnjax.IndRNNCarry(XS[0, 0, :1] + jnp.arange(3.0)))
    xs = XS.at[4, 1].set(jnp.nan)  # padding
    for flags in FLAGS[::2]:
        inputs = xs if "lengths" in flags else XS
        expected = gradients(learned, started, inputs, **flags)
        assert_close(gradients(learned, started, inputs, method=my_kernel, **flags), expected)
    one = unroll(cell, params, XS[:, 0])
    assert_close(unroll(cell, params, XS[:, 0], method=my_kernel), one)
    assert unroll(cell, params, XS[:, :0], method=my_kernel)[1].shape == (T, 0, H)
    assert unroll(cell, params, XS[:0], method=my_kernel)[1].shape == (0, B, H)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    each = jax.vmap(lambda params: gradients(cell, params, method=my_kernel))(both)
    assert_close(jax.tree.map(lambda leaf: leaf[0], each), gradients(cell, params))
    cut = {"gradient": rnnjax.truncated(2)}
    assert_close(gradients(cell, params, method=my_kernel, **cut), gradients(cell, params, **cut))
    for other, how, words in [
        (GRU, {}, "indrnn"),
        (cell._replace(rule=cell.rule._replace(step=None)), {}, "indrnn"),
        (cell, {"gradient": rnnjax.autodiff()}, "not of autodiff"),
    ]:
        with pytest.raises(ValueError, match=rf"my_kernel\(\) cannot run this.*{words}"):
            gradients(other, other.init(jax.random.key(0), D), method=my_kernel, **how)


def test_names_of_combinators_are_their_own(skeleton):
    def stack(cell):
        return cell

    with pytest.raises(ValueError, match=r"a combinator called stack exists already, in rnnjax"):
        extend.combinator(stack)
    with pytest.raises(TypeError, match=r"make must be a function that returns a Cell, got.*gru"):
        extend.combinator(GRU)
