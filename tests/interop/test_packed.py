"""Sequences without padding: packed as in PyTorch, or one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import Packed, from_cu_seqlens, from_packed, to_cu_seqlens, to_packed

LENGTHS = np.array([2, 4, 1])
VALID = np.arange(4)[:, None] < LENGTHS
XS = np.where(VALID[..., None], np.random.default_rng(0).standard_normal((4, 3, 2)), 0)
# The second is the longest, then the first, then the third.
ROWS = [XS[0, [1, 0, 2]], XS[1, [1, 0]], XS[2, [1]], XS[3, [1]]]
PACKED = Packed(
    np.concatenate(ROWS), np.array([3, 2, 1, 1]), np.array([1, 0, 2]), np.array([1, 0, 2])
)
FLAT, ENDS = np.concatenate([XS[: LENGTHS[b], b] for b in range(3)]), np.array([0, 2, 6, 7])


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_both_ways(eager):
    assert_same(to_packed(np.where(VALID[..., None], XS, np.nan), LENGTHS), PACKED)
    assert_same(from_packed(PACKED), (XS, LENGTHS))
    in_order = PACKED._replace(sorted_indices=None, unsorted_indices=None)
    assert_same(from_packed(in_order), (XS[:, [1, 0, 2]], LENGTHS[[1, 0, 2]]))
    assert_same(to_cu_seqlens(XS, LENGTHS), (FLAT, ENDS))
    assert_same(from_cu_seqlens(FLAT, ENDS), (XS, LENGTHS))
    assert_same(from_cu_seqlens(FLAT, [0, 0, 7])[1:], [[0, 7]])
    assert from_cu_seqlens(FLAT[:0], [0, 0], max_length=2)[0].shape == (2, 1, 2)
    assert to_cu_seqlens(XS, [0, 0, 0])[0].shape == (0, 2)


def test_under_jit_with_sizes_that_are_given():
    cell = rnnjax.vanilla(2)
    params = cell.init(jax.random.key(0), 2)

    def run(data, ends):
        xs, lengths = from_cu_seqlens(data, ends, max_length=4)
        return to_cu_seqlens(rnnjax.unroll(cell, params, xs, lengths=lengths)[1], lengths, total=7)[
            0
        ]

    down = jax.jit(jax.grad(lambda data, ends: run(data, ends).sum()))(FLAT, ENDS)
    loss = lambda xs: rnnjax.unroll(cell, params, xs, lengths=LENGTHS)[1].sum()  # noqa: E731
    want = to_cu_seqlens(jax.grad(loss)(XS), LENGTHS)[0]
    np.testing.assert_allclose(down, want, rtol=1e-12)
    packed = jax.jit(lambda xs: to_packed(xs, LENGTHS).data)(XS)
    np.testing.assert_array_equal(packed, PACKED.data)
    for function, message in (
        (lambda n: to_packed(XS, n), "lengths is traced, and the shape of the result"),
        (lambda n: to_cu_seqlens(XS, n), "lengths is traced, and total has to be given"),
        (lambda n: from_cu_seqlens(FLAT, n), "cu_seqlens is traced, and max_length has"),
    ):
        with pytest.raises(TypeError, match=message):
            jax.make_jaxpr(function)(LENGTHS)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: from_packed(XS.tolist()), TypeError, "PackedSequence, or have its fields"),
        (
            lambda: from_packed(PACKED._replace(batch_sizes=[3, 1, 2, 1])),
            ValueError,
            r"must not grow, .* 7 steps of packed\.data, got \[3, 1, 2, 1\]",
        ),
        (lambda: from_packed(PACKED._replace(batch_sizes=[3, 2])), ValueError, "sum to the 7"),
        (
            lambda: from_packed(PACKED._replace(unsorted_indices=[0, 0, 1])),
            ValueError,
            r"numbers 0\.\.2, one for each sequence, got \[0, 0, 1\]",
        ),
        (lambda: to_packed(XS, [2, 0, 1]), ValueError, "at least 1 in a packed sequence"),
        (lambda: to_packed(XS[0, 0], [2]), ValueError, r"xs must be \[T, B, \.\.\.\]"),
        (lambda: to_packed(XS, [2.0, 4.0, 1.0]), TypeError, "lengths must be integers"),
        (lambda: from_cu_seqlens(FLAT, [0, 3, 6]), ValueError, r"grow from 0 to 7.*\[0, 3, 6\]"),
        (lambda: from_cu_seqlens(FLAT, [0, 6, 2, 7]), ValueError, "grow from 0 to 7"),
        (lambda: from_cu_seqlens(FLAT, ENDS, max_length=3), ValueError, "one of 4 steps"),
        (lambda: from_cu_seqlens(FLAT, ENDS + 0.5), TypeError, "cu_seqlens must be integers"),
        (lambda: to_cu_seqlens(XS, LENGTHS, total=8), ValueError, "total=8, and lengths sum to 7"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    theirs = rnn.pack_padded_sequence(
        torch.as_tensor(XS), torch.as_tensor(LENGTHS), enforce_sorted=False
    )
    assert_same(to_packed(XS, LENGTHS), [part.numpy() for part in theirs])
    assert_same(from_packed(theirs), (XS, LENGTHS))
    assert from_packed(theirs.to(torch.bfloat16))[0].dtype == jnp.bfloat16
    ours = rnn.PackedSequence(*(torch.as_tensor(np.asarray(part)) for part in PACKED))
    assert_same(rnn.pad_packed_sequence(ours), (XS, LENGTHS))
    assert jnp.asarray(from_packed(theirs)[1]).dtype == jnp.int32


def test_a_total_that_is_larger_leaves_zeros():
    def laid(lengths, xs=XS):
        return to_cu_seqlens(xs, lengths, total=9)

    data, ends = jax.jit(laid)(LENGTHS)
    assert_same((data[:7], ends), (FLAT, ENDS))
    assert not np.any(data[7:])
    slope = jax.jit(jax.grad(lambda xs, lengths: jnp.sum(laid(lengths, xs)[0])))(XS, LENGTHS)
    np.testing.assert_array_equal(slope, np.broadcast_to(XS != 0, XS.shape))


def test_sizes_may_be_unsigned():
    unsigned = PACKED._replace(batch_sizes=PACKED.batch_sizes.astype(np.uint8))
    assert_same(from_packed(unsigned), from_packed(PACKED))
    assert_same(from_cu_seqlens(FLAT, ENDS.astype(np.uint32)), from_cu_seqlens(FLAT, ENDS))
    with pytest.raises(ValueError, match="must grow from 0 to 7"):
        from_cu_seqlens(FLAT, np.array([0, 6, 2, 7], np.uint32))
