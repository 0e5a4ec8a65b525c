"""Options that tasks have in common, each with the text that the command line shows."""

from typing import Annotated

Hidden = Annotated[int, "Hidden units of every layer."]
Layers = Annotated[int, "Recurrent layers, one on top of the other."]
BatchSize = Annotated[int, "Sequences in a training batch."]
TestSize = Annotated[int, "Sequences to test on."]
ClipInLoop = Annotated[
    float | None, "Limit of each part of the error inside the backward loop; none if not given."
]
Context = Annotated[int, "Steps that are read before a forecast."]
Horizon = Annotated[int, "Steps that are forecast."]
Noise = Annotated[float, "Standard deviation of what is added to the inputs in training."]
