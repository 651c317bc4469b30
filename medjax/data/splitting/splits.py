"""Train/val/test splits and cross-validation folds, as index arrays.

Images of one group (a patient, a lesion, a scan, copies) are never drawn into two parts or folds. Parts that the
source fixes are kept as they are, even where a group lies in several of them.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from medjax.data.splitting.apportion import assign_parts, number_groups, require_enough, require_everywhere
from medjax.data.splitting.label_parts import assign_by_labels, require_enough_labels
from medjax.errors import Problem, RefusedError, refuse
from medjax.records import AnyLabels, Dataset, Indices, LabelMatrix, Names, Split, has_label

Seed = int | Sequence[int]
Fractions = tuple[float, float, float]


def split(
    dataset: Dataset,
    *,
    seed: int = 0,
    fractions: Fractions = (0.70, 0.15, 0.15),
    val_as_test: bool = False,
) -> Split:
    """Split a data set into train, val and test: the source's own parts, or a stratified random split by group.

    `fractions` are the shares of train, val and test. If the source fixes no val part, val is drawn from its train
    images: fractions[1] / (fractions[0] + fractions[1]) of them, stratified, groups whole; and if it fixes no test part,
    test in the same way, unless `val_as_test` takes its val part for test. Raises RefusedError for a class with too few
    images or groups (see `holdout`), for fractions or a seed out of range, and for `val_as_test` without need.
    """
    _require_fractions(fractions)
    if seed < 0:
        raise refuse("seed", f"{seed} is out of range", "0 or more")
    names = dataset.class_names
    if dataset.split is None and not val_as_test:
        return holdout(dataset.labels, fractions, seed=seed, groups=dataset.groups, class_names=names)
    fixed = official_parts(dataset, val_as_test=val_as_test)
    missing = [part for part in ("val", "test") if not len(getattr(fixed, part))]
    if not missing:
        return fixed
    wanted = dict(zip(Split._fields, fractions, strict=True))
    shares = [wanted[part] for part in missing]
    whole = wanted["train"] + sum(shares)
    drawn = draw_parts(
        fixed.train,
        dataset.labels[fixed.train],
        tuple(share / whole for share in shares),
        seed,
        _groups_of(dataset, fixed.train),
        names,
    )
    return fixed._replace(**dict(zip(["train", *missing], drawn, strict=True)))


def official_parts(dataset: Dataset, *, val_as_test: bool = False) -> Split:
    """The parts that the source fixes, some of them empty; with `val_as_test` its val part is the test part.

    Raises RefusedError where that makes no sense: without a val part, or beside a test part.
    """
    parts = np.full(len(dataset.labels), "") if dataset.split is None else dataset.split
    fixed = Split(*(np.flatnonzero(parts == part) for part in Split._fields))
    if not val_as_test:
        return fixed
    if len(fixed.test):
        raise refuse("--val-as-test", f"{dataset.name} has a test part of its own", "leave it out")
    if not len(fixed.val):
        raise refuse("--val-as-test", f"{dataset.name} has no val part of its own", "leave it out")
    return fixed._replace(val=fixed.test, test=fixed.val)


def holdout(
    labels: AnyLabels,
    fractions: Fractions = (0.70, 0.15, 0.15),
    *,
    seed: int = 0,
    groups: Names | None = None,
    class_names: Sequence[str] = (),
) -> Split:
    """Draw train, val and test at random, stratified by class.

    Val and test hold `fractions` of all images, rounded up. Each class's share of a part is its share of all images to
    within one image; with `groups`, as nearly so as a greedy search over whole groups gets. A class with fewer than
    three images, or groups, raises RefusedError, by its name if `class_names` is given. Of several labels an image each part
    gets its share of each label as nearly as iterative stratification does it.
    """
    return Split(*draw_parts(np.arange(len(labels)), labels, fractions[1:], seed, groups, class_names))


def k_fold(
    labels: AnyLabels,
    num_folds: int = 5,
    *,
    groups: Names | None = None,
    seed: int = 0,
    repeat: int = 0,
    class_names: Sequence[str] = (),
) -> list[Indices]:
    """The test images of each fold, stratified by class: disjoint, sorted, together all images.

    Without `groups`, folds differ by at most one image in each class and in total. With groups, no group lies in two
    folds, and class counts are as equal as a greedy search makes them: within one image again if there are enough
    single images to fill up with. A class with fewer images, or groups, than folds raises RefusedError, by its name if
    `class_names` is given. Repeats of one seed are independent draws.
    """
    if num_folds < 2:
        raise refuse("--folds", f"{num_folds} is out of range", "at least 2")
    numbers = None if groups is None else number_groups(groups)
    if labels.ndim == 2:
        shares = np.full(num_folds, 1 / num_folds)
        folds = _draw_by_labels(labels, numbers, shares, [seed, repeat], "folds", class_names)
        return [np.flatnonzero(folds == fold) for fold in range(num_folds)]
    require_enough(labels, numbers, num_folds, "folds", class_names)
    quotas = np.tile(np.bincount(labels) / num_folds, (num_folds, 1))
    folds = assign_parts(labels, numbers, quotas, np.random.default_rng([seed, repeat]))
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
    """Splits for cross-validation: element r * num_folds + f is fold f of repeat r, with that fold as its test part.

    Train is the rest and val is empty, unless `inner_share` draws that share of the rest as val, stratified. Groups
    stay whole throughout, unless the data set fixes the folds. `pool` restricts everything to these images; parts that the
    source fixes are ignored. Raises RefusedError as `k_fold` does, and for another number of folds or repeats than the data
    set fixes.
    """
    if repeats < 1:
        raise refuse("--repeats", f"{repeats} is out of range", "at least 1")
    if inner_share is not None and not 0 < inner_share < 1:
        raise refuse("the inner share", f"{inner_share} is out of range", "more than 0, less than 1")
    pool = np.arange(len(dataset.labels)) if pool is None else np.sort(pool)
    labels, groups, names = dataset.labels[pool], _groups_of(dataset, pool), dataset.class_names
    splits = []
    for repeat in range(repeats):
        folds = (
            k_fold(labels, num_folds, groups=groups, seed=seed, repeat=repeat, class_names=names)
            if dataset.folds is None
            else _fixed_folds(dataset.folds[pool], num_folds, repeats)
        )
        if dataset.folds is not None:
            _require_trained(labels, folds, names)
        for fold, test in enumerate(folds):
            rest = np.setdiff1d(np.arange(len(pool)), test, assume_unique=True)
            train, val = pool[rest], pool[:0]
            if inner_share is not None:
                # fold + 1: a trailing 0 would not change the seed and repeat the draw of the folds.
                inner_seed = [seed, repeat, fold + 1]
                train, val = draw_parts(
                    train,
                    dataset.labels[train],
                    (inner_share,),
                    inner_seed,
                    _groups_of(dataset, train),
                    names,
                )
            splits.append(Split(train, val, pool[test]))
    return splits


def _fixed_folds(folds: Names, num_folds: int, repeats: int) -> list[Indices]:
    """The test images of each fold that a data set fixes, in the order of their numbers."""
    numbers = sorted(set(folds.tolist()), key=int)
    other = "or draw others: --part-column none"
    if len(numbers) != num_folds:
        reason = f"is {num_folds}, but the table of labels fixes {len(numbers)}"
        raise refuse("--folds", reason, f"give --folds {len(numbers)}, {other}")
    if repeats > 1:
        raise refuse("--repeats", "the table of labels fixes the folds", f"leave it out, {other}")
    return [np.flatnonzero(folds == number) for number in numbers]


def _require_trained(labels: AnyLabels, folds: Sequence[Indices], names: Sequence[str]) -> None:
    """Raise RefusedError for every class or label whose images are all in one fold: no network of that fold has seen it."""
    kind = "class" if labels.ndim == 1 else "label"
    problems = []
    for label, name in enumerate(names):
        count = int(has_label(labels, label).sum())
        if count and any(has_label(labels[test], label).sum() == count for test in folds):
            reason = (
                "all images of it are in one fold of the table of labels, so that none is left to train on"
            )
            remedy = "spread them over several folds, or draw folds: --part-column none"
            problems.append(Problem(f"{kind} {name}", reason, remedy))
    if problems:
        raise RefusedError(problems)


def draw_parts(
    indices: Int[np.ndarray, "n"],
    labels: AnyLabels,
    shares: tuple[float, ...],
    seed: Seed,
    groups: Names | None = None,
    class_names: Sequence[str] = (),
) -> list[Int[np.ndarray, "part"]]:
    """Divide `indices` at random into one more part than `shares`; the first part is what the others leave.

    `labels` and `groups` are those of `indices`. Stratified, groups whole; every part holds every class, or
    RefusedError is raised.
    """
    numbers = None if groups is None else number_groups(groups)
    num_parts = len(shares) + 1
    if labels.ndim == 2:
        every = np.array([1 - sum(shares), *shares])
        assigned = _draw_by_labels(labels, numbers, every, seed, "parts", class_names)
        return [indices[assigned == part] for part in range(num_parts)]
    require_enough(labels, numbers, num_parts, "parts", class_names)
    counts = np.bincount(labels)
    quotas = np.array([_quotas(counts, share) for share in shares])
    # Rounding up may leave a tiny class without a training image; its largest quota then gives one back.
    while len(tiny := np.flatnonzero(counts <= quotas.sum(axis=0))):
        quotas[quotas[:, tiny[0]].argmax(), tiny[0]] -= 1
    quotas = np.array([counts - quotas.sum(axis=0), *quotas])
    generator = np.random.default_rng(seed)
    if numbers is not None:
        assigned = assign_parts(labels, numbers, quotas.astype(np.float64), generator)
        require_everywhere(labels, assigned, num_parts, "parts", class_names)
        return [indices[assigned == part] for part in range(num_parts)]
    # `assign_parts` would do as well, but published runs are repeated by seed, and theirs were drawn like this.
    parts: list[list[np.ndarray]] = [[] for _ in range(num_parts)]
    for label in range(len(counts)):
        members = generator.permutation(indices[labels == label])
        for part, chosen in zip(parts, np.split(members, np.cumsum(quotas[:-1, label])), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def _draw_by_labels(
    labels: LabelMatrix,
    groups: Int[np.ndarray, "n"] | None,
    shares: np.ndarray,
    seed: Seed,
    unit: str,
    class_names: Sequence[str],
) -> Int[np.ndarray, "n"]:
    """The part of each image of several labels; `unit` is "parts" or "folds"."""
    require_enough_labels(labels, groups, len(shares), unit, class_names)
    parts = assign_by_labels(labels, groups, shares, np.random.default_rng(seed))
    require_everywhere(labels, parts, len(shares), unit, class_names)
    return parts


def _require_fractions(fractions: Fractions) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        limit = "three numbers above 0 that sum to 1, such as (0.8, 0.1, 0.1)"
        raise refuse("fractions", f"{fractions} is out of range", limit)


def _quotas(counts: Int[np.ndarray, "class"], fraction: float) -> Int[np.ndarray, "class"]:
    """How many images of each class make up `fraction` of all: rounded up, largest remainders, at least one each."""
    # The subtraction keeps a product such as 0.15 * 20 = 3.0000000000000004 from being rounded up.
    total = math.ceil(fraction * counts.sum() - 1e-9)
    exact = total * counts / counts.sum()
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")[: total - quotas.sum()]
    quotas[largest] += 1
    return np.maximum(quotas, 1)


def _groups_of(dataset: Dataset, indices: Indices) -> Names | None:
    return None if dataset.groups is None else dataset.groups[indices]
