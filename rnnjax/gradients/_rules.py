"""What the four functions of a rule return, looked at while they are traced."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import described, is_array, is_inexact
from rnnjax._leaves import differentiable
from rnnjax._types import Carry, Clip, Params, PyTree, Rule, Tape


def checked_rule(rule: Rule) -> Rule:
    """The same rule; what one of its functions returns in another form is an error that says so.

    Raises:
      TypeError, ValueError: (when it runs) the function, what it returned and what was expected.
    """

    def forward(params: Params, carry: Carry, z_t: PyTree) -> Any:
        form = "((carry, y_t), tape_t)"
        out, tape = _pair("forward", form, rule.forward(params, carry, z_t))
        new, y_t = _pair("forward", form, out)
        _check_like("forward", f"the carry in {form}", new, carry)
        return (new, y_t), tape

    def backward(params: Params, tape_t: Tape, carry_ct: Carry, y_ct: PyTree, clip: Clip) -> Any:
        form = "(carry_ct, delta_t)"
        out = rule.backward(params, tape_t, carry_ct, y_ct, clip)
        new_ct, delta = _pair("backward", form, out)
        _check_like("backward", f"the carry_ct in {form}", new_ct, carry_ct)
        return new_ct, delta

    def gradients(params: Params, xs: PyTree, tapes: Tape, deltas: PyTree) -> Any:
        form = "(params_ct, xs_ct)"
        out = rule.gradients(params, xs, tapes, deltas)
        params_ct, xs_ct = _pair("gradients", form, out)
        _check_like("gradients", f"the params_ct in {form}", params_ct, differentiable(params))
        _check_like("gradients", f"the xs_ct in {form}", xs_ct, differentiable(xs))
        return params_ct, xs_ct

    return rule._replace(forward=forward, backward=backward, gradients=gradients)


def _pair(function: str, form: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"rule.{function} must return {form}, got {described(value)}")
    return value  # pyright: ignore


def _check_like(function: str, what: str, got: PyTree, want: PyTree) -> None:
    """Raise unless two trees have the same fields and shapes, where both have a leaf."""

    def is_leaf(x: Any) -> bool:
        return x is None

    got_leaves, got_tree = jax.tree.flatten(got, is_leaf)
    want_leaves, want_tree = jax.tree.flatten(want, is_leaf)
    pairs = zip(got_leaves, want_leaves, strict=got_tree == want_tree)
    if got_tree != want_tree or not all(_alike(a, b) for a, b in pairs):
        raise ValueError(
            f"rule.{function} returned {described(got)} for {what}, expected {described(want)}"
        )


def _alike(got: Any, want: Any) -> bool:
    if got is None or want is None:
        return want is None or not is_inexact(want)
    return is_array(got) and jnp.shape(got) == jnp.shape(want)
