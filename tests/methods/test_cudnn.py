"""`cudnn()` without a GPU: all around cuDNN's two calls, for which a reference stands in."""

import cudnn_stand_in
import jax
import jax.numpy as jnp
import pytest
from by_numpy import evaluated
from cudnn_stand_in import RAGGED, B, D, H, T, assert_close, assert_same, cost, problem
from jax.experimental import rnn
from jax.lax import Precision

import rnnjax
from rnnjax import lstm, stack
from rnnjax.methods import _cudnn
from rnnjax.methods._cudnn import cudnn, why_not

on_a_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is an accelerator")
CELLS = {
    "one": lstm(H),
    "mixed": stack(lstm(H), lstm(H), lstm(2)),
    "nested": stack(stack(lstm(H), lstm(2)), lstm(2)),
}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ["one", "mixed"])
def test_values_and_gradients(stand_in, name, reverse, lengths):
    assert_same(stand_in, CELLS[name], problem(CELLS[name]), reverse=reverse, lengths=lengths)


def test_stack_in_a_stack(stand_in):
    assert_same(stand_in, CELLS["nested"], problem(CELLS["nested"]), lengths=RAGGED)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_nan_in_the_padding_is_never_seen(stand_in, reverse):
    params, carry, xs = problem(CELLS["one"])
    valid = (jnp.arange(T)[:, None] < RAGGED[None])[..., None]
    point = params, carry, jnp.where(valid, xs, jnp.nan)
    assert_same(stand_in, CELLS["one"], point, reverse=reverse, lengths=RAGGED)


def test_traced_lengths_beyond_the_end(stand_in):
    params, carry, xs = problem(CELLS["one"])

    def last(lengths):
        return rnnjax.unroll(
            CELLS["one"], params, xs, carry=carry, lengths=lengths, reverse=True, method=stand_in
        )

    assert_close(jax.jit(last)(RAGGED + jnp.array([2, 0, 0, 0])), last(RAGGED))


@pytest.mark.usefixtures("eager")
def test_bidirectional(stand_in):
    layer = rnnjax.bidirectional(lstm(H), lstm(2))
    params, xs = layer.init(jax.random.key(1), D), problem(CELLS["one"])[2]
    got, want = (layer.apply(params, xs, method=m) for m in (stand_in, rnnjax.sequential()))
    assert_close(got, want)


def over_data(f):
    return lambda p, x: jnp.sum(jax.vmap(f, (None, 0))(p, jnp.stack([x, -x])))


def over_params(f):
    return lambda p, x: jnp.sum(
        jax.vmap(f, (0, None))(jax.tree.map(lambda w: jnp.stack([w, 2 * w]), p), x)
    )


def each_example(f):
    return lambda p, x: jax.vmap(jax.grad(f, (0, 1)), (None, 0))(p, jnp.stack([x, -x]))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: jax.grad(jax.checkpoint(f), (0, 1)),
        lambda f: jax.grad(over_data(f), (0, 1)),
        lambda f: jax.grad(over_params(f), (0, 1)),
        each_example,
    ],
    ids=["checkpoint", "vmap over data", "vmap over params", "vmap of grad"],
)
def test_transformations(stand_in, transform):
    cell = CELLS["one"]
    params, _, xs = problem(cell)

    def by(method):
        def f(params, xs):
            return cost(*rnnjax.unroll(cell, params, xs, lengths=RAGGED, method=method))

        return evaluated(transform(f))(params, xs)

    assert_close(by(stand_in), by(rnnjax.sequential()))


def test_second_derivatives_of_a_stack(stand_in):
    cell = CELLS["mixed"]
    point = problem(cell)

    def along(method):
        def f(params, carry, xs):
            options = {"carry": carry, "lengths": RAGGED, "reverse": True, "method": method}
            return cost(*rnnjax.unroll(cell, params, xs, **options))

        return evaluated(lambda *p: jax.jvp(jax.grad(f, (0, 1, 2)), p, p))(*point)

    assert_close(along(stand_in), along(rnnjax.sequential()))


@pytest.mark.parametrize(
    ("axes", "batches"),
    [((None, 0), [3 * B]), ((0, None), [B]), ((0, 0), [B])],
    ids=["data", "params", "both"],
)
def test_how_vmap_calls_cudnn(stand_in, monkeypatch, axes, batches):
    """Data is one call with a larger batch, params are a loop over calls."""
    cell, seen = CELLS["one"], []
    params, _, xs = problem(cell)
    scale = jnp.arange(1.0, 4)
    many = [
        tree if axis is None else jax.tree.map(lambda x: jnp.stack([s * x for s in scale]), tree)
        for tree, axis in zip((params, xs), axes, strict=True)
    ]

    def recorded(xs, *arrays, **options):
        seen.append(xs.shape[0])
        return cudnn_stand_in.reference_fwd(xs, *arrays, **options)

    def by(method):
        def run(params, xs):
            return rnnjax.unroll(cell, params, xs, lengths=RAGGED, method=method)

        return jax.vmap(run, axes)(*many)

    monkeypatch.setattr(rnn, "lstm_fwd", recorded)
    # Tracing for shapes comes first, with the batch of one example.
    got = by(stand_in)
    assert seen[-1:] == batches
    assert_close(got, by(rnnjax.sequential()))


def test_vmap_over_nothing(stand_in):
    params, _, xs = problem(CELLS["one"])
    none = jnp.zeros((0, *xs.shape))
    run = jax.vmap(lambda xs: rnnjax.unroll(CELLS["one"], params, xs, method=stand_in)[1])
    assert run(none).shape == (0, T, B, H)


@pytest.mark.parametrize("precision", [Precision.HIGHEST, Precision.HIGH])
def test_what_cudnn_is_asked_for(precision, monkeypatch):
    """JAX's own operation takes our arguments; TF32 is allowed only where it was asked for."""
    monkeypatch.setattr(_cudnn, "why_not", lambda: None)
    workspace = "compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(rnn.gpu_rnn, workspace, lambda *_: (1, 1), raising=False)
    cell, method = CELLS["mixed"], cudnn(precision=precision)
    params, carry, xs = problem(cell, dtype=jnp.float32)

    def value(params, carry, xs):
        return cost(*rnnjax.unroll(cell, params, xs, carry=carry, lengths=RAGGED, method=method))

    program, shapes = jax.make_jaxpr(jax.grad(value, (0, 1, 2)), return_shape=True)(
        params, carry, xs
    )
    text = str(program)
    assert jax.tree.leaves(shapes) == jax.tree.leaves(jax.eval_shape(lambda: (params, carry, xs)))
    assert text.count("rnn_fwd[") == text.count("rnn_bwd[") == 2
    assert text.count(f"cudnn_allow_tf32={precision is Precision.HIGH}") == 4
    # Of both calls: xs, h and c into the forward pass, ys, h and c out of it, all seven arrays with
    # rows into the backward pass, and three out of it.
    assert text.count("= layout_constraint[") == 2 * ((3 + 3) + (7 + 3) + 4)
    assert text.count("num_layers=2") == 2
    assert text.count("dropout=0.0") == text.count("bidirectional=False") == 4


class TestRefusals:
    def refusal(self, cell=CELLS["mixed"], dtype=jnp.float32, **options):
        point = problem(cell, dtype=dtype)

        def traced(params, carry, xs):  # so that no array is on a CPU
            return rnnjax.unroll(cell, params, xs, carry=carry, method=cudnn(), **options)

        with pytest.raises(ValueError, match=r"cudnn\(\) cannot run this: .*rnnjax.auto") as error:
            jax.eval_shape(traced, *point)
        return str(error.value)

    @on_a_cpu
    def test_no_gpu(self):
        reason = why_not()
        assert reason is not None
        assert reason in self.refusal()

    @pytest.mark.parametrize(
        ("what", "options"),
        [
            ("lstm cells", {"cell": rnnjax.gru(H)}),
            ("lstm cells", {"cell": stack(lstm(H), rnnjax.gru(H))}),
            ("lstm cells", {"cell": stack(lstm(H), rnnjax.residual(rnnjax.gru(H)))}),
            ("lstm cells", {"cell": rnnjax.zoneout(lstm(H), h=0.1)}),
            ("float32 params, these have float64", {"dtype": jnp.float64}),
            ("float32 params, these have bfloat16", {"dtype": jnp.bfloat16}),
            ("cannot clip", {"gradient": rnnjax.bptt(rnnjax.gradients.clip_by_value(1.0))}),
            ("resets=", {"resets": jnp.zeros((T, B), bool)}),
        ],
    )
    def test_names_what_cudnn_does_not_do(self, what, options, monkeypatch):
        monkeypatch.setattr(_cudnn, "why_not", lambda: None)
        assert what in self.refusal(**options)

    def test_more_steps_than_cudnn_takes(self, monkeypatch):
        monkeypatch.setattr(_cudnn, "why_not", lambda: None)
        monkeypatch.setattr(_cudnn, "_LONGEST", T - 1)
        assert f"{T - 1} steps at most, and these are {T}" in self.refusal()

    @on_a_cpu
    def test_arrays_elsewhere(self, monkeypatch):
        monkeypatch.setattr(_cudnn, "why_not", lambda: None)
        params, _, xs = problem(CELLS["one"], dtype=jnp.float32)
        with pytest.raises(ValueError, match=r"arrays are on cpu: .*device_put"):
            rnnjax.unroll(CELLS["one"], params, xs, method=cudnn())

    def test_autodiff(self):
        params, _, xs = problem(CELLS["one"])
        refused = r"cudnn\(\).*cannot be differentiated by gradient=autodiff\(\): "
        with pytest.raises(ValueError, match=refused):
            rnnjax.unroll(CELLS["one"], params, xs, gradient=rnnjax.autodiff(), method=cudnn())

    @pytest.mark.parametrize("precision", [Precision.DEFAULT, "highest", None])
    def test_other_precisions(self, precision):
        with pytest.raises(ValueError, match=r"Precision\.HIGHEST"):
            cudnn(precision=precision)


def test_wrong_number_of_features(stand_in):
    params, _, xs = problem(CELLS["one"])
    with pytest.raises(ValueError, match="3 features last"):
        rnnjax.unroll(CELLS["one"], params, xs[..., :2], method=stand_in)


class TestWhyNot:
    """Each machine that is not one with an NVIDIA GPU, and one that is."""

    @pytest.fixture(autouse=True)
    def with_cuda(self, monkeypatch):
        workspace = "compute_rnn_workspace_reserve_space_sizes"
        monkeypatch.setattr(rnn.gpu_rnn, workspace, None, raising=False)

    def test_jaxlib_without_cuda(self, monkeypatch):
        monkeypatch.delattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes")
        assert "pip install 'jax[cuda12]'" in why_not()

    @on_a_cpu
    def test_cuda_without_a_gpu(self):
        assert why_not() == "JAX finds no NVIDIA GPU, only cpu devices"

    def test_gpu_that_is_not_the_default(self, monkeypatch):
        monkeypatch.setattr(jax, "devices", lambda platform: [platform])
        monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
        assert "runs on cpu by default" in why_not()

    def test_gpu(self, monkeypatch):
        monkeypatch.setattr(jax, "devices", lambda platform: [platform])
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        assert why_not() is None
