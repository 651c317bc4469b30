"""From labels to index arrays: which images train, which choose, which are scored.

Images of one group (a patient, a lesion, a scan) never lie in two parts or folds that are drawn here. Parts
that the source itself fixes are taken as they are, even where a group lies across them.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from medjax.data.splitting.apportion import number_groups, place, require_enough, require_everywhere
from medjax.errors import refuse
from medjax.records import Dataset, Indices, Labels, Names, Split

Seed = int | Sequence[int]


def holdout(
    labels: Labels,
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15),
    *,
    seed: int = 0,
    groups: Names | None = None,
    class_names: Sequence[str] = (),
) -> Split:
    """A random split into train, val and test, stratified.

    Val and test hold `fractions` of all images, rounded up, and in each the share of a class is its share of
    all images to within one image; with `groups`, as nearly so as a greedy search gets with whole groups.
    Every part holds every class: one with fewer than three images, or groups, raises RefusedError, by its
    name if `class_names` tells it.
    """
    return Split(*divide(np.arange(len(labels)), labels, fractions[1:], seed, groups, class_names))


def split_dataset(
    dataset: Dataset, fractions: tuple[float, float, float] = (0.70, 0.15, 0.15), *, seed: int = 0
) -> Split:
    """The parts that the source fixes, or a holdout where it fixes none.

    A source that fixes only train and test gives up a stratified share of its train images as val:
    fractions[1] / (fractions[0] + fractions[1]) of them. The data set's groups stay whole in what is drawn.
    """
    names = dataset.class_names
    if dataset.split is None:
        return holdout(dataset.labels, fractions, seed=seed, groups=dataset.groups, class_names=names)
    train, val, test = (np.flatnonzero(dataset.split == part) for part in Split._fields)
    if len(val) == 0:
        share = fractions[1] / (fractions[0] + fractions[1])
        train, val = divide(train, dataset.labels[train], (share,), seed, _among(dataset, train), names)
    return Split(train, val, test)


def k_fold(
    labels: Labels,
    num_folds: int = 5,
    *,
    groups: Names | None = None,
    seed: int = 0,
    repeat: int = 0,
    class_names: Sequence[str] = (),
) -> list[Indices]:
    """The images that each fold is scored on: disjoint, each sorted, every image in one of them; stratified.

    Without `groups`, folds differ by at most one image in each class, and by at most one in all. With them no
    group lies in two folds, and the folds are as alike as a greedy search makes them: within one image a
    class again where enough single images are there to fill up. Every fold holds every class: one with fewer
    images, or groups, than folds raises RefusedError, by its name if `class_names` tells it. Repeats of one
    seed are independent of one another.
    """
    if num_folds < 2:
        raise refuse("--folds", f"{num_folds} is out of range", "at least 2")
    numbers = None if groups is None else number_groups(groups)
    require_enough(labels, numbers, num_folds, "folds", class_names)
    quotas = np.tile(np.bincount(labels) / num_folds, (num_folds, 1))
    folds = place(labels, numbers, quotas, np.random.default_rng([seed, repeat]))
    require_everywhere(labels, folds, num_folds, "folds", class_names)
    return [np.flatnonzero(folds == fold) for fold in range(num_folds)]


def fold_splits(
    dataset: Dataset,
    num_folds: int = 5,
    *,
    repeats: int = 1,
    inner_share: float | None = None,
    seed: int = 0,
    pool: Indices | None = None,
) -> list[Split]:
    """Cross-validation: fold f of repeat r is element r * num_folds + f, and scored on its test part.

    Train is all the rest, and val is empty; with `inner_share`, val is a stratified share of the rest and
    taken out of train. Groups of the data set stay whole throughout. `pool` restricts everything to those
    images; parts that the source fixes do not matter here. Raises as `k_fold` does.
    """
    if repeats < 1:
        raise refuse("--repeats", f"{repeats} is out of range", "at least 1")
    if inner_share is not None and not 0 < inner_share < 1:
        raise refuse("the inner share", f"{inner_share} is out of range", "more than 0, less than 1")
    pool = np.arange(len(dataset.labels)) if pool is None else np.sort(pool)
    labels, groups, names = dataset.labels[pool], _among(dataset, pool), dataset.class_names
    splits = []
    for repeat in range(repeats):
        folds = k_fold(labels, num_folds, groups=groups, seed=seed, repeat=repeat, class_names=names)
        for fold, scored in enumerate(folds):
            rest = np.setdiff1d(np.arange(len(pool)), scored, assume_unique=True)
            train, val = pool[rest], pool[:0]
            if inner_share is not None:
                # Not the fold itself: a trailing zero changes no seed, and 0 would repeat the draw of the
                # folds.
                inner_seed = [seed, repeat, fold + 1]
                train, val = divide(
                    train, dataset.labels[train], (inner_share,), inner_seed, _among(dataset, train), names
                )
            splits.append(Split(train, val, pool[scored]))
    return splits


def divide(
    indices: Int[np.ndarray, "n"],
    labels: Labels,
    shares: tuple[float, ...],
    seed: Seed,
    groups: Names | None = None,
    class_names: Sequence[str] = (),
) -> list[Int[np.ndarray, "part"]]:
    """`indices`, of these labels and groups, in one more part than `shares`; the first is what they leave.

    Every part holds every class, groups stay whole; RefusedError where that cannot be.
    """
    numbers = None if groups is None else number_groups(groups)
    num_parts = len(shares) + 1
    require_enough(labels, numbers, num_parts, "parts", class_names)
    counts = np.bincount(labels)
    quotas = np.array([_share_out(counts, share) for share in shares])
    # Rounding up may leave a tiny class without a training image; its largest quota then gives one back.
    while len(tiny := np.flatnonzero(counts <= quotas.sum(axis=0))):
        quotas[quotas[:, tiny[0]].argmax(), tiny[0]] -= 1
    quotas = np.array([counts - quotas.sum(axis=0), *quotas])
    generator = np.random.default_rng(seed)
    if numbers is not None:
        placed = place(labels, numbers, quotas.astype(np.float64), generator)
        require_everywhere(labels, placed, num_parts, "parts", class_names)
        return [indices[placed == part] for part in range(num_parts)]
    # `place` would do as well. But runs are repeated by their seed, and their images were drawn like this.
    parts: list[list[np.ndarray]] = [[] for _ in range(num_parts)]
    for label in range(len(counts)):
        members = generator.permutation(indices[labels == label])
        for part, chosen in zip(parts, np.split(members, np.cumsum(quotas[:-1, label])), strict=True):
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


def _among(dataset: Dataset, indices: Indices) -> Names | None:
    """The groups of those images."""
    return None if dataset.groups is None else dataset.groups[indices]
