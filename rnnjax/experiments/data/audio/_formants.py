"""A small formant synthesiser: the ten digits, spoken by synthetic speakers."""

from typing import NamedTuple

import numpy as np

RATE = 8000  # Hz
_BLOCK = 160  # samples over which the filters are constant


class _Sound(NamedTuple):
    """Target parameters of one phoneme, for an average male voice."""

    formants: tuple[float, float, float]  # Hz
    voice: float  # gain of the glottal pulses
    hiss: float  # gain of the frication noise
    centre: float  # Hz, of that noise
    seconds: float


_SOUNDS = {
    "ee": _Sound((270, 2290, 3010), 1.0, 0.0, 3000, 0.14),
    "i": _Sound((390, 1990, 2550), 1.0, 0.0, 3000, 0.09),
    "e": _Sound((530, 1840, 2480), 1.0, 0.0, 3000, 0.10),
    "u": _Sound((640, 1190, 2390), 1.0, 0.0, 3000, 0.10),
    "ah": _Sound((730, 1090, 2440), 1.0, 0.0, 3000, 0.11),
    "aw": _Sound((570, 840, 2410), 1.0, 0.0, 3000, 0.12),
    "oh": _Sound((450, 880, 2400), 1.0, 0.0, 3000, 0.10),
    "oo": _Sound((300, 870, 2240), 0.9, 0.0, 3000, 0.13),
    "r": _Sound((310, 1060, 1380), 0.6, 0.0, 3000, 0.06),
    "w": _Sound((290, 610, 2150), 0.6, 0.0, 3000, 0.06),
    "n": _Sound((250, 1200, 2500), 0.3, 0.0, 3000, 0.09),
    "s": _Sound((320, 1400, 2600), 0.0, 0.8, 3700, 0.13),
    "z": _Sound((280, 1400, 2600), 0.3, 0.5, 3700, 0.09),
    "f": _Sound((340, 1100, 2100), 0.0, 0.25, 2400, 0.10),
    "v": _Sound((280, 1100, 2100), 0.3, 0.12, 2400, 0.06),
    "th": _Sound((320, 1300, 2500), 0.0, 0.2, 3000, 0.09),
    "t": _Sound((350, 1700, 2600), 0.0, 0.7, 3200, 0.03),
    "k": _Sound((350, 1600, 2300), 0.0, 0.6, 1900, 0.03),
    "-": _Sound((350, 1600, 2500), 0.0, 0.0, 3000, 0.05),  # the closure before a plosive
}
_WORDS = (
    "z ee r oh oo",
    "w u n",
    "- t oo",
    "th r ee",
    "f aw r",
    "f ah i v",
    "s i - k s",
    "s e v u n",
    "e i - t",
    "n ah i n",
)


class Voice(NamedTuple):
    pitch: float  # Hz
    tract: float  # factor of all formants: above 1 for a short vocal tract
    tempo: float
    hiss: float  # factor of every noise
    accent: np.ndarray  # [phonemes, 3] factors of individual formants
    noise: float  # background noise, relative to a voice of standard deviation 1


def voice(seed: int, speaker: int) -> Voice:
    """A random speaker, determined by the seed and the speaker's number."""
    random = np.random.default_rng((seed, speaker))
    height = random.uniform(-1, 1)  # high pitch goes with a short vocal tract
    return Voice(
        pitch=145 * 2 ** (0.8 * height + 0.1 * random.normal()),
        tract=1.02 + 0.13 * height + 0.02 * random.normal(),
        tempo=2 ** random.uniform(-0.4, 0.4),
        hiss=2 ** random.uniform(-1, 1),
        accent=1 + 0.08 * random.normal(size=(len(_SOUNDS), 3)),
        noise=10 ** random.uniform(-1.0, 0.0),
    )


def speak(digit: int, voice: Voice, seed: tuple[int, ...]) -> np.ndarray:
    """Synthesise one utterance of a digit.

    Glottal pulses and noise pass through resonators whose centre frequencies are interpolated
    between the formants of successive phonemes.

    Args:
      digit: 0 to 9.
      voice: the speaker.
      seed: of the pitch, tempo, loudness and noise of this utterance.

    Returns:
      Samples `[N]` float32 at `RATE`, in [-1, 1].

    References:
      Klatt (1980), Software for a cascade/parallel formant synthesizer, JASA 67. Formants of the
      vowels: Peterson & Barney (1952), Control methods used in a study of the vowels, JASA 24.
    """
    random = np.random.default_rng(seed)
    names = _WORDS[digit].split()
    sounds = [_SOUNDS[name] for name in names]
    places = [list(_SOUNDS).index(name) for name in names]
    spans = np.array([sound.seconds for sound in sounds]) / voice.tempo
    spans = spans * 2 ** (0.2 * random.normal(size=len(spans)) + 0.15 * random.normal())
    blocks = max(4, int(spans.sum() * RATE / _BLOCK))
    middles = (np.cumsum(spans) - spans / 2) / spans.sum() * blocks

    def track(values: np.ndarray) -> np.ndarray:
        return np.interp(np.arange(blocks) + 0.5, middles, values)

    formants = np.array([sound.formants for sound in sounds]) * voice.accent[places] * voice.tract
    formants = np.stack([track(f) for f in formants.T * 2 ** (0.03 * random.normal(size=(3, 1)))])
    voiced = np.repeat(track(np.array([sound.voice for sound in sounds])), _BLOCK)
    hissing = np.repeat(track(np.array([sound.hiss for sound in sounds])), _BLOCK)
    centres = track(np.array([sound.centre for sound in sounds]))
    pulses = _pulses(voice.pitch * 2 ** (0.1 * random.normal()), blocks * _BLOCK, random)
    samples = _resonated(voiced * pulses, formants, (80.0, 110.0, 160.0))
    noise = voice.hiss * hissing * random.normal(size=blocks * _BLOCK)
    samples = samples / samples.std() + 4 * _resonated(noise, centres[None], (900.0,))
    edge = np.minimum(1, np.minimum(np.arange(len(samples)), np.arange(len(samples))[::-1]) / 160)
    samples = np.pad(samples * edge, random.integers(200, 800, 2))
    samples = samples + voice.noise * random.normal(size=len(samples))
    return (samples / np.abs(samples).max() * random.uniform(0.3, 0.9)).astype(np.float32)


def _pulses(pitch: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Unit pulses at a falling pitch with slight jitter."""
    fall = np.linspace(1.08, 0.88, count)
    flutter = 1 + 0.02 * np.repeat(random.normal(size=count // _BLOCK), _BLOCK)
    turns = np.floor(np.cumsum(pitch * fall * flutter) / RATE)
    return np.diff(turns, prepend=-1.0)


def _resonated(samples: np.ndarray, centres: np.ndarray, widths: tuple[float, ...]) -> np.ndarray:
    """Filter samples by second-order resonators in series.

        y_t = a x_t + 2 r cos(2πf/R) y_{t-1} - r² y_{t-2},   r = exp(-π width / R)

    f is a row of `centres`, with one entry per block.
    """
    from scipy.signal import lfilter

    for row, width in zip(np.clip(centres, 50, 0.48 * RATE), widths, strict=True):
        r = np.exp(-np.pi * width / RATE)
        state, parts = np.zeros(2), []
        for k, f in enumerate(row):
            poles = [1, -2 * r * np.cos(2 * np.pi * f / RATE), r * r]
            block = samples[k * _BLOCK : (k + 1) * _BLOCK]
            part, state = lfilter([1 - r], poles, block, zi=state)
            parts.append(part)
        samples = np.concatenate(parts)
    return samples
