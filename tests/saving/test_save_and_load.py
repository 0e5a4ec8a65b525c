"""What `save` writes, `load` gives back, bit for bit, or it says what is wrong."""

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells import initializers
from rnnjax.saving import _safetensors
from rnnjax.saving._save import _checksum

MODELS = [
    (rnnjax.lstm(8, forget_bias=5.0, dtype=jnp.float32), 3),
    (rnnjax.lru(4), 3),  # complex
    (rnnjax.conv_lstm(2, (3, 4)), (3, 4, 2)),
    (rnnjax.vanilla(3, w_h_init=initializers.spectral_radius(0.9)), 2),
    (rnnjax.stack(rnnjax.residual(rnnjax.zoneout(rnnjax.lstm(3), h=0.1)), rnnjax.gru(2)), 3),
    (rnnjax.fixed_dt(rnnjax.ctrnn(2, tau=(1.0, 2.0)), 0.5), 3),
    (
        rnnjax.serial(
            rnnjax.bidirectional(rnnjax.lstm(2), rnnjax.gru(3, dtype=jnp.bfloat16)),
            rnnjax.recurrent(rnnjax.min_gru(2), reverse=True),
        ),
        3,
    ),
]
CELL = rnnjax.vanilla(2)
OWN = rnnjax.Cell(
    lambda key, inputs: {"w": jnp.zeros((inputs, 4)), "leak": jnp.zeros(())},
    lambda params, batch_shape, key=None: jnp.zeros((*batch_shape, 4)),
    lambda params, h, x_t: (h, h),
)


def unchanged(step):
    return lambda params, carry, x_t: step(params, carry, x_t)


def drawn(model, inputs) -> Any:
    """Params of the right form, without running `init`."""
    rng = np.random.default_rng(0)

    def draw(like):
        values = rng.standard_normal((2, *like.shape))
        imaginary = 1j if jnp.issubdtype(like.dtype, jnp.complexfloating) else 0
        return np.asarray(values[0] + imaginary * values[1]).astype(like.dtype)

    return jax.tree.map(
        draw, jax.eval_shape(lambda key: model.init(key, inputs), jax.random.key(0))
    )


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(("model", "inputs"), MODELS, ids=str)
def test_the_same_model_comes_back(path, model, inputs):
    params = drawn(model, inputs)
    rnnjax.save(path, model, params)
    loaded, same = rnnjax.load(path)
    assert loaded is model
    assert_same(same, params)
    assert_same(rnnjax.load(str(path), cell=model, like=params)[1], params)
    assert os.listdir(path.parent) == [path.name]


def test_another_process_loads_it(path):
    model, inputs = MODELS[4]
    params = drawn(model, inputs)
    rnnjax.save(path, model, params)
    code = f"""if True:
        import jax, rnnjax
        jax.config.update("jax_enable_x64", True)
        cell, params = rnnjax.load({str(path)!r})
        print(cell, float(params[1].w_h[1, 2]).hex())
    """
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == f"{model} {float(params[1].w_h[1, 2]).hex()}"


def test_the_format_is_safetensors(path):
    reference = pytest.importorskip("safetensors.numpy")
    params = drawn(*MODELS[0])
    rnnjax.save(path, MODELS[0][0], params)
    read = reference.load_file(path)
    assert sorted(read) == ["b", "w_h", "w_x"]
    assert_same(tuple(read[name] for name in params._fields), tuple(params))


def test_no_damage_goes_unnoticed(path):
    rnnjax.save(path, CELL, drawn(CELL, 1))
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        flipped = bytes([whole[at] ^ 0x11])
        for damaged in (whole[:at] + flipped + whole[at + 1 :], whole[:at]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"model\.safetensors"):
                rnnjax.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"announces .* bytes"):
        rnnjax.load(path)


def changed(path, arrays=lambda arrays: arrays, **metadata):
    """Rewrite a file with other content and a checksum that fits it."""
    file = _safetensors.read(path)
    said = {**file.metadata, **{f"rnnjax.{key}": value for key, value in metadata.items()}}
    new = arrays(dict(file.arrays))
    said["rnnjax.crc32"] = _checksum(new, said)
    _safetensors.write(path, _safetensors.File(new, said))


WRONG = [
    ({"cell": "vanila(2)"}, r"no cell called 'vanila' here.*@rnnjax.cells.factory.*'vanilla'"),
    ({"cell": "vanilla(3)"}, r"params.w_x has shape \(1, 2\), expected \[1, 3\] for vanilla\(3\)"),
    ({"cell": "vanilla(2, depth=3)"}, r"vanilla\(2, depth=3\) cannot be made: .*depth"),
    ({"cell": "vanilla(-2)"}, r"vanilla\(-2\) cannot be made: hidden must be at least 1"),
    ({"cell": "__import__('os').getpid()"}, "is not the call of a cell's factory"),
    ({"cell": "vanilla(open('x'))"}, "no cell called 'open'"),
    ({"cell": "[lstm(2) for _ in 'ab']"}, "is no number, text, or call of a cell"),
    ({"cell": "orthogonal()"}, "not the call that makes a cell"),
    ({"cell": "lstm(2"}, "not the call that makes a cell"),
    ({"cell": "stack(" * 9000}, "not the call that makes a cell"),
    ({"cell": "gru(2)"}, r"params must be GRUParams.*got VanillaParams"),
    ({"params": '["VanillaParams", {"w_x": ["array", "w_x"]}]'}, "has the fields w_x, and the"),
    ({"params": '["array", "w_x"]'}, "arrays that belong to no params: b, w_h"),
    ({"params": '["os.system", {"w_x": ["array", "w_x"]}]'}, "a class of your own: pass like="),
    ({"params": '["complex64", "w_x"]'}, r"w_x is float64\[1, 2\], which is not complex64"),
    ({"params": '{"w_x": 3}'}, "described by .* describes none"),
    ({"params": "[" * 90000}, "cannot be loaded"),
    ({"format": "2", "version": "9.0"}, r"by rnnjax 9.0 in format 2, and .* upgrade rnnjax"),
    ({"format": ""}, "holds no cell that rnnjax.save wrote"),
    ({"arrays": lambda arrays: {"w_x": arrays["w_x"]}}, "it has no array w_h"),
    (
        {"arrays": lambda arrays: {**arrays, "w_h": arrays["w_h"].astype(np.float32)}},
        "one dtype for all of a cell's weights, but w_x is float64, w_h is float32",
    ),
    ({"arrays": lambda arrays: {**arrays, "b": arrays["b"][:1]}}, r"params.b has shape \(1,\)"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_does_not_fit_is_an_error(path, change, message):
    rnnjax.save(path, CELL, drawn(CELL, 1))
    changed(path, **change)
    with pytest.raises(ValueError, match=message):
        rnnjax.load(path)


def test_headers_that_lie(path):
    def written(header):
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))

    good = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}
    for wrong in (
        {"a": {**good, "dtype": "F65"}},
        {"a": {**good, "shape": [2]}},
        {"a": {**good, "shape": [-1]}},
        {"a": {**good, "data_offsets": [0, 2**63]}},
        {"a": good, "b": good},
        {"a": 3},
        {"__metadata__": {"a": 3}, "a": good},
        [good],
    ):
        written(wrong)
        with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
            rnnjax.load(path)
    with pytest.raises(FileNotFoundError):
        rnnjax.load(path.with_name("none"))


def test_folders_that_are_missing_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "model.safetensors"
    rnnjax.save(path, CELL, drawn(CELL, 1))
    assert rnnjax.load(path)[0] == CELL


class OwnParams(NamedTuple):
    w: Any


def test_a_cell_of_ones_own_has_to_be_given(path):
    params = {**drawn(OWN, 3), "c.d": np.ones(2), "c": {"d": np.zeros(2), "none": None}, "l": [1.5]}
    rnnjax.save(path, OWN, params)
    with pytest.raises(ValueError, match=r"is your own.*load\(path, cell=\.\.\.\)"):
        rnnjax.load(path)
    loaded, same = rnnjax.load(path, cell=OWN)
    assert loaded is OWN
    assert_same(same, {**params, "l": [np.asarray(1.5)]})

    wrapped = rnnjax.wrap(rnnjax.lstm(2), unchanged)
    rnnjax.save(path, wrapped, drawn(wrapped, 3))
    with pytest.raises(ValueError, match=r"wrap\(lstm\(2\), unchanged\).*function of"):
        rnnjax.load(path)
    assert rnnjax.load(path, cell=wrapped)[0] is wrapped

    rnnjax.save(path, OWN, OwnParams(np.ones(3)))
    with pytest.raises(ValueError, match="OwnParams, a class of your own: pass like="):
        rnnjax.load(path, cell=OWN)
    assert_same(rnnjax.load(path, cell=OWN, like=OwnParams(np.zeros(3)))[1], OwnParams(np.ones(3)))
    with pytest.raises(ValueError, match=r"\.w is float64\[3\], and like= has float64\[4\]"):
        rnnjax.load(path, cell=OWN, like=OwnParams(np.zeros(4)))


def test_what_cannot_be_saved_or_fits_not(path, monkeypatch):
    params = drawn(CELL, 1)
    rnnjax.save(path, CELL, params)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"holds params of vanilla\(2\), and cell= is vanilla\(3\)"
    ):
        rnnjax.load(path, cell=rnnjax.vanilla(3))
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"w_x is float64.*would round it"):
        rnnjax.load(path)
    for wrong, message in (
        (rnnjax.gru(2).init, "must be VanillaParams"),
        (params._replace(w_x=None), "w_x must be"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            rnnjax.save(path, CELL, wrong)
    for wrong, message in (
        ({"a": jax.random.key(0)}, r"a has the dtype key.*key_data"),
        ({"a": {"b": "words"}}, r"params\['a'\]\['b'\] is 'words', expected arrays"),
        ({1: np.ones(2)}, "keys that are no str"),
        ({"a": np.array(["x"])}, "a is"),
    ):
        with pytest.raises(TypeError, match=message):
            rnnjax.save(path, OWN, wrong)
    with pytest.raises(TypeError, match="traced: save params outside"):
        jax.make_jaxpr(lambda w: rnnjax.save(path, OWN, {"w": w}))(np.ones(2))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        rnnjax.save(path, CELL, jax.tree.map(np.zeros_like, params))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
