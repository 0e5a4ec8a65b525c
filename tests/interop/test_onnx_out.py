"""Exported models by onnxruntime and onnx's own evaluator, against `unroll`."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from onnx_models import B, D, T, by_reference, by_runtime, onnx, onnxruntime

import rnnjax
from rnnjax.interop import from_onnx, to_onnx

H, F32 = 4, np.float32
LENGTHS = np.array([T, 0, 3], np.int32)


def drawn(tree, dtype, seed=0):
    """Random arrays of the shapes of a tree, complex where it is."""
    rng = np.random.default_rng(seed)

    def leaf(x):
        array = rng.standard_normal(x.shape) * 0.7
        if np.issubdtype(x.dtype, np.complexfloating):
            return jnp.asarray(array + 0.4j * array, np.promote_types(dtype, np.complex64))
        return jnp.asarray(array, dtype)

    return jax.tree.map(leaf, tree)


def params_of(model, dtype, features=D):
    shapes = jax.eval_shape(lambda key: model.init(key, features), jax.random.key(0))
    return drawn(shapes, dtype)


def unrolled(model, params, xs, **options):
    if isinstance(model, rnnjax.Layer):
        return model.apply(params, xs, **options)
    return rnnjax.unroll(model, params, xs, **options)


def parts(tree):
    """The leaves, real and imaginary parts apart."""
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        yield from (leaf.real, leaf.imag) if np.iscomplexobj(leaf) else (leaf,)


def assert_runs(evaluate, model, params, xs, *, tolerance, carry=None, lengths=False, **options):
    """The exported model computes what `unroll` does: every output, in values, shape and dtype."""
    exported = to_onnx(model, params, xs, lengths=lengths, carry=carry is not None, **options)
    fed = [*parts(xs), *([LENGTHS] if lengths else []), *parts(carry)]
    feeds = dict(zip([i.name for i in exported.graph.input], fed, strict=True))
    options.pop("scan", None)
    if lengths:
        options["lengths"] = LENGTHS
    last, ys = unrolled(model, params, xs, carry=carry, **options)
    got = evaluate(exported, feeds)
    for (name, value), want in zip(got.items(), parts((ys, last)), strict=True):
        assert (value.dtype, value.shape) == (want.dtype, want.shape), name
        np.testing.assert_allclose(value, want, rtol=0, atol=tolerance, err_msg=name)
    return exported


NODES = {
    "RNN": [rnnjax.vanilla(H, phi) for phi in ("tanh", "relu", "sigmoid", "identity")],
    "LSTM": [rnnjax.lstm(H), rnnjax.peephole_lstm(H), rnnjax.cifg(H)],
    "GRU": [rnnjax.gru(H), rnnjax.gru(H, reset="before")],
}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("op", "cell"), [(op, cell) for op in NODES for cell in NODES[op]])
def test_cells_with_an_operator_are_its_nodes(op, cell):
    params = params_of(cell, F32)
    xs = drawn(jnp.zeros((T, B, D)), F32, 1)
    carry = drawn(cell.initial_carry(params, (B,)), F32, 2)
    model = assert_runs(by_runtime, cell, params, xs, tolerance=1e-5)
    assert [node.op_type for node in model.graph.node].count(op) == 1
    assert_runs(
        by_runtime, cell, params, xs, tolerance=1e-5, carry=carry, lengths=True, reverse=True
    )
    again = from_onnx(to_onnx(cell, params))
    assert repr(again[0]) == repr(cell).replace(")", ", dtype='float32')")
    for a, b in zip(again[1], params, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("eager")
def test_an_initial_carry_of_its_own_is_exported():
    plain = rnnjax.gru(H)
    cell = plain._replace(
        initial_carry=lambda params, batch_shape, key=None: rnnjax.GRUCarry(
            jnp.broadcast_to(params.b_hn, (*batch_shape, H))
        )
    )
    xs = drawn(jnp.zeros((T, B, D)), F32, 1)
    for model in (cell, rnnjax.learned_carry(plain)):
        params = params_of(model, F32)
        exported = assert_runs(by_runtime, model, params, xs, tolerance=1e-5, lengths=True)
        assert "GRU" in [node.op_type for node in exported.graph.node]
    assert to_onnx(model, params).graph.input[0].type.tensor_type.shape.dim[2].dim_value == D


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("cell", [rnnjax.vanilla(H), rnnjax.peephole_lstm(H), rnnjax.gru(H)])
def test_nodes_in_float64_by_onnx_itself(cell):
    params = params_of(cell, float)
    xs, carry = drawn((jnp.zeros((T, B, D)), cell.initial_carry(params, (B,))), float, 1)
    assert_runs(by_reference, cell, params, xs, tolerance=1e-12, carry=carry, reverse=True)


SCANS = [
    rnnjax.lstm(H),
    rnnjax.gru(H, reset="before"),
    rnnjax.vanilla(H, "identity"),
    rnnjax.indrnn(H),
    rnnjax.lru(H),
    rnnjax.delta_net(2, 3, heads=2),
    rnnjax.ctrnn(H),
    rnnjax.urnn(H),
    rnnjax.zoneout(rnnjax.lstm(H), h=0.1, c=0.2),
]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("evaluate", [by_runtime, by_reference])
@pytest.mark.parametrize("cell", SCANS, ids=repr)
def test_any_cell_is_a_scan_in_float64(cell, evaluate):
    params = params_of(cell, float)
    xs = drawn(jnp.zeros((T, B, D)), float, 1)
    if cell.structure.feature_axes == (1, 0):
        xs = (xs, jnp.linspace(0.1, 0.4, T * B).reshape(T, B))
    carry = drawn(cell.initial_carry(params, (B,)), float, 2)
    assert_runs(
        evaluate,
        cell,
        params,
        xs,
        tolerance=1e-12,
        carry=carry,
        lengths=True,
        reverse=True,
        scan=True,
    )
    model = assert_runs(evaluate, cell, params, xs, tolerance=1e-12, scan=True)
    assert [node.op_type for node in model.graph.node].count("Scan") == 1


@pytest.mark.usefixtures("eager")
def test_images_in_float32():
    cell = rnnjax.conv_lstm(2, (4, 3))
    params = params_of(cell, F32, (4, 3, 1))
    xs = drawn(jnp.zeros((T, B, 4, 3, 1)), F32, 1)
    assert_runs(by_runtime, cell, params, xs, tolerance=1e-5, lengths=True)


LAYERS = [
    (rnnjax.stack(rnnjax.lstm(H), rnnjax.min_gru(3)), ["LSTM", "Scan"]),
    (
        rnnjax.serial(
            rnnjax.bidirectional(rnnjax.lstm(H), rnnjax.gru(3)),
            rnnjax.recurrent(rnnjax.residual(rnnjax.vanilla(7)), reverse=True),
        ),
        ["LSTM", "GRU", "Scan"],
    ),
    (
        rnnjax.serial(
            rnnjax.bidirectional(rnnjax.cifg(H), rnnjax.cifg(H)),
            rnnjax.bidirectional(rnnjax.vanilla(2, "identity"), rnnjax.vanilla(2, "identity")),
        ),
        ["LSTM", "RNN"],
    ),
    (
        rnnjax.bidirectional(
            rnnjax.peephole_lstm(H), rnnjax.learned_carry(rnnjax.peephole_lstm(H))
        ),
        ["LSTM"],
    ),
    (rnnjax.bidirectional(rnnjax.lstm(H), rnnjax.lstm(3)), ["LSTM", "LSTM"]),
]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("model", "nodes"), LAYERS, ids=[repr(m) for m, _ in LAYERS])
def test_layers_are_nodes_in_a_row(model, nodes):
    params = params_of(model, F32)
    xs = drawn(jnp.zeros((T, B, D)), F32, 1)
    carry = drawn(unrolled(model, params, xs)[0], F32, 2)
    options = {"reverse": True} if isinstance(model, rnnjax.Cell) else {}
    assert_runs(by_runtime, model, params, xs, tolerance=1e-5, carry=carry, lengths=True, **options)
    exported = assert_runs(by_runtime, model, params, xs, tolerance=1e-5, lengths=True)
    kinds = [n.op_type for n in exported.graph.node]
    assert [kind for kind in kinds if kind in {*NODES, "Scan"}] == nodes


def test_weights_are_held_once():
    """Whether they are read once or several times in a step, which is traced anew for each."""
    cell = user_cell(lambda p, h, x: (jnp.tanh(h @ p["w"] + x @ p["w"]), h))
    model = to_onnx(cell, {"w": jnp.ones((9, 9))}, np.ones((1, 1, 9)))
    assert [tuple(t.dims) for t in model.graph.initializer].count((9, 9)) == 1


def test_names_and_free_sizes():
    cell = rnnjax.stack(rnnjax.lstm(3), rnnjax.gru(2))
    model = to_onnx(cell, params_of(cell, F32), carry=True, lengths=True)

    def shapes(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
                for v in values}  # fmt: skip

    assert shapes(model.graph.input) == {
        "xs": ["T", "B", D],
        "lengths": ["B"],
        "initial_0_h": ["B", 3],
        "initial_0_c": ["B", 3],
        "initial_1_h": ["B", 2],
    }
    assert list(shapes(model.graph.output)) == ["ys", "final_0_h", "final_0_c", "final_1_h"]
    onnx.checker.check_model(model, full_check=True)


def user_cell(step):
    return rnnjax.Cell(
        lambda key, features: {"w": jnp.ones((features, features))},
        lambda params, batch_shape, key=None: jnp.zeros_like(
            params["w"], shape=(*batch_shape, len(params["w"]))
        ),
        step,
    )


def elementwise(x):
    y = jnp.exp2(x) + jnp.expm1(x) + jnp.log1p(x * x) + jax.lax.rsqrt(x * x + 1) + jnp.square(x)
    return y + x**3 + jnp.sign(x) * jnp.floor(x) + jnp.clip(x, -0.5, 0.4)


def logical(x):
    y = jnp.where((x > 0) & ~(x >= 1) | (x != x), x, jnp.fmod(x, 0.3))
    return y + jnp.minimum(jnp.maximum(x > 1, x < -1), x[:, ::-1] > 0)


def functions(x):
    y = jax.nn.softplus(x) + jax.nn.gelu(x, approximate=True) + jax.nn.log_sigmoid(x)
    return y + jax.nn.softmax(x, axis=-1)


def shapes(x):
    y = jnp.pad(x, ((0, 0), (1, 2)))[:, ::-1][:, ::2].reshape(-1, 3, 1)[..., 0]
    return y + jnp.tile(x[:, :1], (1, 3)) + jnp.stack(jnp.split(x, 3, -1), 1)[..., 0]


def reductions(x):
    y = x - x.max(-1, keepdims=True) * jnp.argmax(x, -1)[:, None] + jnp.cumsum(x, 1)
    y += x.prod(-1, keepdims=True) * (x > 0).any(-1, keepdims=True)
    return y - x.min(-1, keepdims=True) * (x > 0).all(-1, keepdims=True)


def products(x):
    return jnp.einsum("bi,bj->bij", x, x).transpose(0, 2, 1) @ jnp.arange(3.0)


def rows(x):
    table, ids = jnp.arange(12.0).reshape(4, 3) ** 2, jnp.argmax(x, -1)
    return table[ids] + x[:, jnp.array([2, 0, 0])] + jnp.take(x, jnp.array([1]), axis=1)


def roundings(x):
    y = jnp.round(3 * x) + jax.lax.round(2 * jnp.round(x, 1)) + jnp.trunc(x) + jnp.cbrt(x)
    y += jax.scipy.special.erfc(x) + jax.nn.gelu(x, approximate=False)
    return y + jnp.isfinite(jnp.where(x > 0, jnp.inf, x)) + jax.nn.logsumexp(x, -1, keepdims=True)


def angles(x):
    y = jnp.angle(x + 1j * x[:, ::-1]) + jnp.arctan2(x, -jnp.floor(jnp.abs(x)))
    return y + jnp.arcsinh(x) + jnp.arctanh(jnp.tanh(x)) + jnp.arccosh(1 + x * x)


def orders(x):
    largest, places = jax.lax.top_k(x, 2)
    return jnp.sort(x) + largest[:, 1:] * places[:, :1] + jnp.argsort(x, axis=-1)


def windows(x):
    y = jax.lax.dynamic_slice_in_dim(jnp.tile(x, (1, 2)), 2, 3, 1)
    y = jax.lax.dynamic_update_slice_in_dim(y, x[:, :2], 5, 1)
    y = y.at[:, 1].set(x[:, 2]).at[:, 1:3].multiply(x[:, :2]).at[:, :1].add(1).at[:, 7].set(9)
    cube = jnp.ones((1, 2, 3)) * x[:, None, :]
    cube = cube.at[:, 1, 2].set(x[:, 0] ** 2)
    return y + jnp.take_along_axis(x, jnp.argmax(x, -1, keepdims=True), -1) + cube.sum(1)


def cases(x):
    y = jnp.select([x > 1, x > 0, x > -1], [x, 2 * x, x**2], -x)
    return y + jnp.piecewise(x, [x > 0.5, x > 0], [jnp.sin, lambda x: 3 * x, 0.5]) + x.sum(axis=())


def loops(x):
    y = jax.lax.fori_loop(0, 3, lambda k, y: jnp.sin(y) + k * x, x)
    last, rows = jax.lax.scan(
        lambda c, w: (c + w * x, (c * w, w)), y, jnp.arange(2.0), reverse=True
    )
    last += rows[0][0] - rows[0][1] * rows[1][1] + jax.lax.map(lambda w: jnp.sin(w), x.T).T
    return jax.lax.cond(True, lambda y: y + x, lambda y: y - x, last)


def waves(x):
    y = jnp.fft.ifft(jnp.fft.fft(x) * jnp.array([[1.0, 2.0j, 3.0 - 1.0j]]))
    wide = jnp.fft.rfft(jnp.tile(x, (1, 2)))  # of an even number and an odd one
    y += jnp.fft.irfft(wide * jnp.arange(1, 5)[None])[:, 1:4] + jnp.fft.irfft(jnp.fft.rfft(x), 3)
    y = y[:, jnp.array([2, 0, 1])].at[:, 1].set(2.0j).at[:, :2].add(jnp.conj(y[:, 1:]))
    y = jax.lax.scan(lambda c, w: (c * w + y, c.real), y, jnp.array([1.0j, 2.0]))[0]
    return y.real - 2 * jnp.tile(y, (1, 2))[:, 2:5].imag


NEW = (roundings, angles, orders, windows, cases, loops, waves)
OPERATIONS = {
    f.__name__: f
    for f in (elementwise, logical, functions, shapes, reductions, products, rows, *NEW)
} | {"calls": jax.checkpoint(lambda x: jax.jit(jax.nn.relu6)(x) + jnp.sin(x))}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", OPERATIONS)
def test_primitives(name):
    cell = user_cell(
        lambda p, h, x: ((h := OPERATIONS[name](x @ p["w"] + 0.1 * h)), (h, x[:, :2] > h[:, 1:]))
    )
    for evaluate in (by_runtime, by_reference):
        # onnxruntime has Erf, Atan and Asinh in float32 alone, and onnx's own Erf has its digits
        rough = name in ("roundings", "angles")
        dtype, tolerance = (F32 if rough else float), (1e-5 if rough else 1e-12)
        params = drawn(cell.init(None, 3), dtype)
        xs = drawn(jnp.zeros((T, B, 3)), dtype, 1)
        model = to_onnx(cell, params, xs)
        (last, (ys, flags)) = rnnjax.unroll(cell, params, xs)
        got = evaluate(model, {"xs": np.asarray(xs)})
        for value, want in zip(got.values(), (ys, flags, last), strict=True):
            np.testing.assert_allclose(value, want, rtol=tolerance, atol=tolerance)


def refusal(cell, message, **options):
    params = options.pop("params", None)
    if params is None:
        params = params_of(cell, F32, 3)
    with pytest.raises((TypeError, ValueError), match=message):
        to_onnx(cell, params, options.pop("xs", np.ones((1, 1, 3), F32)), **options)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda p, h, x: (h, jnp.cumprod(x, -1)), r"uses the primitive cumprod, for which"),
        (lambda p, h, x: (h, jnp.lexsort((x, h))), r"sort by several keys"),
        (lambda p, h, x: (h, x - x.mean(0)[None]), r"reduce_sum across the examples of a batch"),
        (lambda p, h, x: (h, x / x.shape[0]), "computes with the number of examples"),
        (lambda p, h, x: (h[:0], x), r"slice across the examples"),
        (lambda p, h, x: (h, jax.lax.bitwise_and(x.astype(int), 1)), r"and of integers"),
        (lambda p, h, x: (h, p["w"][(jnp.argmax(x, -1),) * 2]), "gather of other parts"),
        (lambda p, h, x: (h, x[jnp.array([0, 1])]), "gather across the examples"),
        (lambda p, h, x: (h, jnp.fft.fft2(x[:, None]).real), "fft along several axes"),
        (lambda p, h, x: (h, x.at[:, jnp.array([0, 2])].set(1.0)), "scatter at several places"),
        (lambda p, h, x: (h, jax.lax.fori_loop(0, 99, lambda k, y: y * x, x)), "scan of 99 steps"),
        (lambda p, h, x: (h, jax.lax.while_loop(lambda y: y.sum() > 1, jnp.sin, x)), "while"),
    ],
)
def test_steps_without_an_operator_are_refused_by_its_name(step, message):
    refusal(user_cell(step), message)


def test_arguments_that_do_not_fit_are_refused():
    cell = rnnjax.lstm(H)
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), params_of(cell, F32))
    refusal(cell, "bfloat16.*export", params=half)
    refusal(user_cell(lambda p, h, x: (h, x)), "do not say what it reads: pass xs", xs=None)
    refusal(cell, r"xs must be \[T, B, \.\.\.\]", xs=np.ones(3))
    refusal(
        cell,
        r"shape \(1, 3\) but the cell's weights expect \[\.\.\., 2\]",
        params=params_of(cell, F32),
        xs=np.ones((1, 1, 3), F32),
    )
    layer = rnnjax.serial(cell, cell)
    refusal(layer, "params has 1 entries, expected 2", params=(half,))
    refusal(layer, "has directions of its own", params=(half, half), reverse=True)
    refusal(layer._replace(call=None), "made by rnnjax.recurrent", params=(half, half))
    with pytest.raises(TypeError, match=r"must be a Cell .*, or a Layer, got 3"):
        to_onnx(3, half)


def test_the_page_runs():
    onnxruntime()
    page = Path(__file__).parents[2] / "docs" / "onnx.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    exec("\n".join(blocks), {"__name__": "page"})


@pytest.mark.parametrize("function", [jnp.expm1, jnp.log1p])
def test_small_numbers_keep_their_digits(function):
    cell = rnnjax.Cell(
        lambda key, size: {"w": jnp.ones(1, F32)},
        lambda params, batch_shape: jnp.zeros((*batch_shape, D), F32),
        lambda params, h, x: (h, function(x)),
    )
    xs = np.zeros((T, B, D), F32)
    xs.flat[:] = 0.9 ** np.arange(xs.size) * np.resize([1e-7, 1e-3, 0.5, 3.0, -1e-5, -0.7], xs.size)
    exported = to_onnx(cell, {"w": jnp.ones(1, F32)}, xs)
    ys, *_ = by_runtime(exported, {exported.graph.input[0].name: xs}).values()
    want = {jnp.expm1: np.expm1, jnp.log1p: np.log1p}[function](xs.astype(np.float64))
    np.testing.assert_allclose(ys, want, rtol=1e-6)
