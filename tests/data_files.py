"""Small data files, for the tests of readers and for those of tasks on them."""

import gzip
import wave

import numpy as np

from rnnjax.experiments.data.captions import caption_vocabulary, picture


def pcm(path, samples, width=2, channels=1, rate=8000):
    """Samples `[N, channels]` in [-1, 1) as PCM, packed number by number."""
    top = 2 ** (8 * width - 1)
    numbers = [min(round(x * top), top - 1) for x in np.ravel(samples)]
    if width == 1:
        raw = bytes(n + 128 for n in numbers)
    else:
        raw = b"".join(n.to_bytes(width, "little", signed=True) for n in numbers)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(raw)
    return path


def flat(folder, takes=range(7)):
    """WAV files named by label, speaker and take: two digits by two speakers."""
    for digit in (3, 7):
        for speaker in ("theo", "de_wit"):
            for take in takes:
                samples = np.full(400 + take, 0.1 * digit)
                pcm(folder / f"{digit}_{speaker}_{take}.wav", samples)
    return folder


def table(path, captions):
    """A captions.txt with the columns image,caption."""
    quoted = [f'{name},"{text}"' for name, each in captions.items() for text in each]
    path.write_text("\n".join(["image,caption", *quoted]), "utf-8")
    return path


def words_of(pictures=24):
    """The sentences of the first pictures, and their vocabulary."""
    texts = [picture(k, side=8).scene.sentences for k in range(pictures)]
    return texts, caption_vocabulary(text for each in texts for text in each)


def idx(array):
    """An array of bytes in the IDX format."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write(folder, name, content, compressed=False):
    path = folder / (name + (".gz" if compressed else ""))
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


def fill(folder, arrays, compressed=False):
    """The four files of MNIST, from the images and labels of each part."""
    for name, (images, labels) in arrays.items():
        write(folder, f"{name}-images-idx3-ubyte", idx(images), compressed)
        write(folder, f"{name}-labels-idx1-ubyte", idx(labels), compressed)
    return folder


def write_reviews(folder, count=30):
    """Two files in which every text has a word of its own."""
    random = np.random.default_rng(0)
    for name, word in (("neg", "dull"), ("pos", "fun")):
        lines = [
            " ".join(["A", word, f"{name}{k}", *["film"] * int(random.integers(1, 9)), "."])
            for k in range(count)
        ]
        folder.joinpath(f"rt.{name}").write_text("\n".join(lines))
    return folder
