"""Spoken words from WAV files: log-mel features, one word or strings of them."""

from rnnjax.experiments.tasks.spoken._ctc import ctc_greedy, edit_distance, label_error_rate
from rnnjax.experiments.tasks.spoken._examples import Strings, Words
from rnnjax.experiments.tasks.spoken._mel import log_mel
from rnnjax.experiments.tasks.spoken._speech import speech
from rnnjax.experiments.tasks.spoken._wav import read_wav, write_wav

__all__ = [
    "Strings",
    "Words",
    "ctc_greedy",
    "edit_distance",
    "label_error_rate",
    "log_mel",
    "read_wav",
    "speech",
    "write_wav",
]
