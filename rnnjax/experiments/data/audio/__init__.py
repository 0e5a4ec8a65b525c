"""Recordings of spoken words: WAV files, synthetic speakers, log-mel features and batches."""

from rnnjax.experiments.data.audio._examples import (
    HOP,
    FrontEnd,
    StringBatch,
    StringSource,
    WordBatch,
    word_loader,
)
from rnnjax.experiments.data.audio._formants import speak, voice
from rnnjax.experiments.data.audio._mel import log_mel, standardise
from rnnjax.experiments.data.audio._recordings import (
    Recording,
    Recordings,
    open_recordings,
    split_recordings,
    synthetic_recordings,
)
from rnnjax.experiments.data.audio._wav import WavHeader, read_wav, wav_header, write_wav

__all__ = [
    "HOP",
    "FrontEnd",
    "Recording",
    "Recordings",
    "StringBatch",
    "StringSource",
    "WavHeader",
    "WordBatch",
    "log_mel",
    "open_recordings",
    "read_wav",
    "speak",
    "split_recordings",
    "standardise",
    "synthetic_recordings",
    "voice",
    "wav_header",
    "word_loader",
    "write_wav",
]
