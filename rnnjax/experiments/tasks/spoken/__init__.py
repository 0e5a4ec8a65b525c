"""Speech recognition from log-mel features: single words, or strings of words by CTC."""

from rnnjax.experiments.tasks.spoken._ctc import ctc_greedy, edit_distance, label_error_rate
from rnnjax.experiments.tasks.spoken._speech import restore_speech, speech

__all__ = ["ctc_greedy", "edit_distance", "label_error_rate", "restore_speech", "speech"]
