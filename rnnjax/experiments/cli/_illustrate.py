"""`rnnjax illustrate`: the forward and the backward pass of a cell, on one page."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from rnnjax.experiments.cli._inference_commands import Best, Member
from rnnjax.experiments.cli._numbers import LARGEST_SEED, whole


def illustrate(
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="lstm, gru, vanilla or lstm_1997.",
            show_default="lstm, or that of --run",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page.", show_default="CELL.html"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Take the weights from a run of rnnjax train; else they are drawn.",
        ),
    ] = None,
    layer: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(1), help="Which of the run's recurrent layers."),
    ] = 1,
    hidden: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole(1), help="Hidden units.", show_default="3, or those of --run"
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", parser=whole(1, 8), help="Time steps of the unfolded net.")
    ] = 4,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(0, LARGEST_SEED),
            help="Seed of inputs, targets and drawn weights.",
        ),
    ] = 0,
    best: Best = False,
    member: Member = 0,
) -> None:
    """Step through a cell's forward and backward pass, equation by equation, in a browser.

        rnnjax illustrate --cell gru --out gru.html
        rnnjax illustrate --run runs/parity

    Writes one page that needs no network. It shows every equation with its numbers, beside a
    diagram of the cell; they are compared with what the library computes before it is written.
    """
    from rnnjax.experiments.cli._output import errors_of
    from rnnjax.experiments.cli._printing import say

    with errors_of("illustrate"):
        if run is None:
            chosen = _toy(cell or "lstm", hidden or 3)
        elif cell or hidden:
            given = "--cell" if cell else "--hidden"
            raise ValueError(f"{given} cannot be given with --run, whose cell is shown as it is")
        else:
            chosen = _of_run(run, layer, best, member)
        path = out or Path(f"{chosen.name}.html")
        _write(chosen, path, steps, seed)
    say(f"the page is in {path}")


class _Chosen(NamedTuple):
    name: str
    cell: Any
    params: Any = None
    weights_from: str | None = None


def _toy(name: str, hidden: int) -> _Chosen:
    from rnnjax._checks import check_choice
    from rnnjax.cells import FACTORIES
    from rnnjax.experiments.illustrate import ILLUSTRATIONS

    return _Chosen(name, FACTORIES[check_choice("--cell", name, ILLUSTRATIONS)](hidden))


def _of_run(folder: Path, layer: int, best: bool, member: int) -> _Chosen:
    """A recurrent layer of a trained model, found by the type of its params."""
    import jax

    from rnnjax.cells import FACTORIES, GRUParams, LSTM1997Params, LSTMParams, VanillaParams
    from rnnjax.experiments.cli._plan import full_options, read_plan
    from rnnjax.experiments.training import load_model

    plan = read_plan(folder)
    name = full_options(plan).get("cell")
    model = load_model(folder, which="best" if best else "last", member=member)
    kinds = (LSTMParams, GRUParams, VanillaParams, LSTM1997Params)
    nodes = jax.tree.leaves(model.params, is_leaf=lambda node: isinstance(node, kinds))
    layers = [node for node in nodes if isinstance(node, kinds)]
    if name == "irnn" or not layers:
        what = f"cell {name!r}" if name else f"task {plan.task!r}"
        raise ValueError(
            f"{folder}: there is no illustration of the cells of its {what}: expected a run with "
            "lstm, gru, vanilla or lstm_1997"
        )
    if layer > len(layers):
        raise ValueError(f"--layer must be at most {len(layers)} for {folder}, got {layer}")
    params = layers[layer - 1]
    made = {LSTMParams: "lstm", GRUParams: "gru", VanillaParams: "vanilla"}
    factory = made.get(type(params), "lstm_1997")
    options = {"reset": "before"} if getattr(params, "b_hn", 0) is None else {}
    cell = FACTORIES[factory](params.w_h.shape[0], **options)
    of = f", layer {layer} of {len(layers)}" if len(layers) > 1 else ""
    return _Chosen(factory, cell, params, f"{folder.resolve().name}{of}")


def _write(chosen: _Chosen, path: Path, steps: int, seed: int) -> None:
    from rnnjax._files import replace_file
    from rnnjax.experiments.illustrate import illustrate as page_of

    page = page_of(
        chosen.cell,
        chosen.params,
        steps=steps,
        seed=seed,
        weights_from=chosen.weights_from,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda partial: partial.write_text(page, "utf-8"))
