"""The training settings of the tasks on real data, known before the data are read."""

from rnnjax.experiments.tasks._task import Recipe

CAPTION = Recipe(steps=5000, learning_rate=2e-3, evaluate_every=1000)
DIGITS = Recipe(steps=3000, learning_rate=1e-2)
LANGUAGE = Recipe(steps=6000, learning_rate=2e-3, average=0.995, evaluate_every=500)
MNIST = Recipe(steps=12_000, learning_rate=3e-3, evaluate_every=1000)
SERIES = Recipe(steps=2000, learning_rate=3e-3, average=0.995)
WORDS = Recipe(steps=800, learning_rate=5e-3, evaluate_every=100)
STRINGS = WORDS._replace(steps=1200, evaluate_every=200)
SENTIMENT_EPOCHS = 6
SENTIMENT = Recipe(steps=20_000, learning_rate=2e-3, average=0.98, evaluate_every=1000)  # at most

# What depends on an option or on the data: setting -> what the help says.
OF_SPEECH = {
    "steps": f"{WORDS.steps}, or {STRINGS.steps} with --mode ctc",
    "evaluate_every": f"{WORDS.evaluate_every}, or {STRINGS.evaluate_every} with --mode ctc",
}
OF_SENTIMENT = {
    "steps": f"{SENTIMENT_EPOCHS} epochs, at most {SENTIMENT.steps}",
    "evaluate_every": f"an epoch, at most {SENTIMENT.evaluate_every}",
}


def sentiment_recipe(epoch: int) -> Recipe:
    """The settings for sentiment with so many steps per epoch."""
    return SENTIMENT._replace(
        steps=min(SENTIMENT_EPOCHS * epoch, SENTIMENT.steps),
        evaluate_every=min(epoch, SENTIMENT.evaluate_every),
    )
