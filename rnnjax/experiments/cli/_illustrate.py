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
            help="lstm, gru, vanilla, irnn or lstm_1997.",
            show_default="lstm, or that of the weights",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page.",
            show_default="CELL.html, in the folder of the run or beside the weights",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Take the weights from a run of rnnjax train; else they are drawn.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take them from a file that rnnjax.save wrote."),
    ] = None,
    layer: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(1), help="Which recurrent layer of the model."),
    ] = 1,
    hidden: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Hidden units.",
            show_default="3, or as in the weights",
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
    member: Member = None,
) -> None:
    """Step through a cell's forward and backward pass, equation by equation, in a browser.

        rnnjax illustrate --cell gru --out gru.html
        rnnjax illustrate --run runs/parity
        rnnjax illustrate --weights net.safetensors --layer 2

    Writes one page that needs no network. It shows every equation with its numbers, beside a
    diagram of the cell; they are compared with what the library computes before it is written.
    """
    from rnnjax.experiments.cli._output import errors_of
    from rnnjax.experiments.cli._printing import say

    with errors_of("illustrate"):
        given = {"--run": run, "--weights": weights, "--cell": cell, "--hidden": hidden}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1 and named[0] in ("--run", "--weights"):
            raise ValueError(f"{named[0]} brings its own cell: it cannot be given with {named[1]}")
        if run is None and (best or member):
            raise ValueError(f"{'--best' if best else '--member'} needs --run")
        if run is None and weights is None and layer != 1:
            raise ValueError("--layer needs --run or --weights")
        if run is not None:
            chosen = _of_run(run, layer, best, member or 0)
            path = run / _page(chosen.name, layer, best, member or 0)
        elif weights is not None:
            chosen = _of_file(weights, layer)
            path = weights.with_name(_page(f"{weights.stem}_{chosen.name}", layer))
        else:
            chosen = _toy(cell or "lstm", hidden or 3)
            path = Path(_page(chosen.name))
        replaced = _write(chosen, out or path, steps, seed)
    if replaced and out is None:
        say(f"{path} held another page, which is replaced; --out keeps both", err=True)
    say(f"the page is in {out or path}")


def _page(name: str, layer: int = 1, best: bool = False, member: int = 0) -> str:
    """The name of a page: different for what is shown of one run."""
    parts = [name, f"layer_{layer}" * (layer > 1), "best" * best, f"member_{member}" * (member > 0)]
    return "_".join(filter(None, parts)) + ".html"


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


def _of_file(path: Path, layer: int) -> _Chosen:
    """A layer of a saved cell."""
    import jax

    from rnnjax._types import Cell, known
    from rnnjax.saving import load

    with jax.enable_x64(True):  # the file may hold float64
        cell, params = load(path)
    if not isinstance(cell, Cell):
        raise ValueError(f"{path} holds {cell}: expected a cell, such as rnnjax.lstm(3)")
    cells = known(cell).layers
    each = list(zip(cells, params, strict=True)) if cells else [(cell, params)]
    cell, params = _pick(each, layer, path)
    return _Chosen(str(cell).partition("(")[0], cell, params, _said(path, layer, len(each)))


def _of_run(folder: Path, layer: int, best: bool, member: int) -> _Chosen:
    """A recurrent layer of a trained model, found by the type of its params."""
    import jax

    from rnnjax.cells import FACTORIES, GRUParams, LSTM1997Params, LSTMParams, VanillaParams
    from rnnjax.experiments.cli._plan import full_options, read_plan
    from rnnjax.experiments.training import load_model

    names: dict[Any, str] = {LSTMParams: "lstm", GRUParams: "gru", VanillaParams: "vanilla"}
    names[LSTM1997Params] = "lstm_1997"
    trained = full_options(read_plan(folder)).get("cell")
    model = load_model(folder, which="best" if best else "last", member=member)
    nodes = jax.tree.leaves(model.params, is_leaf=lambda node: type(node) in names)
    layers = [node for node in nodes if type(node) in names]
    if not layers:
        raise ValueError(
            f"{folder}: there is no illustration of its cell, {trained or 'which is none'}: "
            "expected a run with lstm, gru, vanilla, irnn or lstm_1997"
        )
    params = _pick(layers, layer, folder)
    name = "irnn" if trained == "irnn" else names[type(params)]
    options: dict[str, Any] = {"reset": "before"} if getattr(params, "b_hn", 0) is None else {}
    cell = FACTORIES[name](params.w_h.shape[0], **options)
    return _Chosen(name, cell, params, _said(folder, layer, len(layers)))


def _pick(layers: list[Any], layer: int, where: Path) -> Any:
    if layer > len(layers):
        raise ValueError(f"--layer must be at most {len(layers)} for {where}, got {layer}")
    return layers[layer - 1]


def _said(where: Path, layer: int, count: int) -> str:
    return where.resolve().name + (f", layer {layer} of {count}" if count > 1 else "")


def _write(chosen: _Chosen, path: Path, steps: int, seed: int) -> bool:
    """Write the page; whether another was there."""
    from rnnjax._files import replace_file
    from rnnjax.experiments.illustrate import illustrate as page_of

    page = page_of(
        chosen.cell,
        chosen.params,
        steps=steps,
        seed=seed,
        weights_from=chosen.weights_from,
    )
    replaced = path.is_file() and path.read_bytes() != page.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda partial: partial.write_text(page, "utf-8"))
    return replaced
