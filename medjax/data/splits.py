"""From labels to index arrays: which images train, which choose, which are scored."""

import math

import numpy as np
from jaxtyping import Int

from medjax.errors import Problem, RefusedError
from medjax.records import Dataset, Labels, Split


def holdout(
    labels: Labels, fractions: tuple[float, float, float] = (0.70, 0.15, 0.15), *, seed: int = 0
) -> Split:
    """A random split into train, val and test, stratified.

    Val and test hold `fractions` of all images, rounded up, and in each the share of a class is its share of
    all images to within one image. Every part holds every class: one with fewer than three images raises
    RefusedError.
    """
    return Split(*_split_stratified(np.arange(len(labels)), labels, fractions[1:], seed))


def split_dataset(
    dataset: Dataset, fractions: tuple[float, float, float] = (0.70, 0.15, 0.15), *, seed: int = 0
) -> Split:
    """The parts that the source fixes, or a holdout where it fixes none.

    A source that fixes only train and test gives up a stratified share of its train images as val:
    fractions[1] / (fractions[0] + fractions[1]) of them.
    """
    if dataset.split is None:
        return holdout(dataset.labels, fractions, seed=seed)
    train, val, test = (np.flatnonzero(dataset.split == part) for part in Split._fields)
    if len(val) == 0:
        share = fractions[1] / (fractions[0] + fractions[1])
        train, val = _split_stratified(train, dataset.labels[train], (share,), seed)
    return Split(train, val, test)


def _split_stratified(
    indices: Int[np.ndarray, "n"], labels: Labels, fractions: tuple[float, ...], seed: int
) -> list[Int[np.ndarray, "part"]]:
    """`indices` parted in one more part than `fractions`; the first part is what the fractions leave."""
    counts = np.bincount(labels)
    _require_images(counts, len(fractions) + 1)
    quotas = np.array([_share_out(counts, fraction) for fraction in fractions])
    # Rounding up may leave a tiny class without a training image; its largest quota then gives one back.
    for tiny in np.flatnonzero(counts <= quotas.sum(axis=0)):
        quotas[quotas[:, tiny].argmax(), tiny] -= 1
    generator = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(len(fractions) + 1)]
    for label, count in enumerate(counts):
        members = generator.permutation(indices[labels == label])
        cuts = np.cumsum([count - quotas[:, label].sum(), *quotas[:-1, label]])
        for part, chosen in zip(parts, np.split(members, cuts), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def _share_out(counts: Int[np.ndarray, "class"], fraction: float) -> Int[np.ndarray, "class"]:
    """`fraction` of all images, rounded up, shared among the classes by largest remainder; at least one each."""
    # The subtraction keeps a product such as 0.15 * 20 = 3.0000000000000004 from being rounded up.
    total = math.ceil(fraction * counts.sum() - 1e-9)
    exact = total * counts / counts.sum()
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")[: total - quotas.sum()]
    quotas[largest] += 1
    return np.maximum(quotas, 1)


def _require_images(counts: Int[np.ndarray, "class"], num_parts: int) -> None:
    small = np.flatnonzero(counts < num_parts)
    if len(small):
        raise RefusedError(
            Problem(
                f"class {label}",
                f"{counts[label]} images cannot be split into {num_parts} parts",
                f"each class needs at least {num_parts}",
            )
            for label in small
        )
