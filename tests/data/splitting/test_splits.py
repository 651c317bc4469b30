"""Splits by property: what holds for every data set, not for one example."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.splitting import splits
from medjax.data.splitting.splits import fold_splits, holdout, k_fold
from medjax.errors import RefusedError
from medjax.records import Dataset

class_sizes = st.lists(st.integers(3, 60), min_size=2, max_size=6)
fractions = st.sampled_from([(0.70, 0.15, 0.15), (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)])


def labels_of(sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    return np.random.default_rng(seed).permutation(labels)


def grouped(seed, n, num_classes, num_groups):
    """Labels and group names, of which a quarter are groups that span classes."""
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, num_groups, n)
    labels = generator.integers(0, num_classes, num_groups)[groups]
    is_mixed = groups % 4 == 0
    labels[is_mixed] = generator.integers(0, num_classes, is_mixed.sum())
    return labels.astype(np.int32), np.array([f"patient {group}" for group in groups])


grouped_sets = st.builds(
    grouped, st.integers(0, 10**6), st.integers(150, 400), st.integers(2, 4), st.integers(60, 300)
)


def digest_of(parts):
    return hashlib.sha256(b"|".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()


def assert_same_parts(first, second):
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def assert_whole(groups, parts):
    owner = {}
    for number, part in enumerate(parts):
        for group in groups[part].tolist():
            assert owner.setdefault(group, number) == number


def assert_partition(parts, n):
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert all(np.array_equal(part, np.sort(part)) for part in parts)


@given(class_sizes, fractions, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_every_image_is_in_exactly_one_part(sizes, shares, seed):
    split = holdout(labels_of(sizes), shares, seed=seed)
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(sum(sizes)))
    assert all(np.array_equal(part, np.sort(part)) for part in split)


@given(class_sizes, fractions, st.integers(0, 1000))
@settings(deadline=None)
def test_every_part_holds_every_class(sizes, shares, seed):
    labels = labels_of(sizes)
    for part in holdout(labels, shares, seed=seed):
        assert set(labels[part]) == set(range(len(sizes)))


@given(st.lists(st.integers(20, 300), min_size=2, max_size=6), fractions, st.integers(0, 1000))
@settings(deadline=None)
def test_each_class_keeps_its_share_to_within_one_image(sizes, shares, seed):
    labels = labels_of(sizes)
    split = holdout(labels, shares, seed=seed)
    for part in (split.val, split.test):
        counts = np.bincount(labels[part], minlength=len(sizes))
        assert np.abs(counts - len(part) * np.array(sizes) / sum(sizes)).max() < 1


@given(class_sizes, st.integers(0, 1000))
@settings(deadline=None)
def test_the_seed_alone_decides(sizes, seed):
    labels = labels_of(sizes)
    first, again = holdout(labels, seed=seed), holdout(labels, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_another_seed_gives_another_split():
    labels = labels_of([100, 100])
    assert not np.array_equal(holdout(labels, seed=0).test, holdout(labels, seed=1).test)


def test_val_and_test_are_rounded_up():
    sizes = [10_000] * 5 + [8_954]  # Medical MNIST: 0.15 of 58,954 is 8,843.1
    split = holdout(labels_of(sizes))
    assert [len(part) for part in split] == [41_266, 8_844, 8_844]


def test_rounding_is_not_fooled_by_binary_fractions():
    split = holdout(labels_of([10, 10]), (0.70, 0.15, 0.15))  # 0.15 * 20 is 3.0000000000000004 or 3
    assert len(split.test) == len(split.val) == 3


def test_a_class_with_two_images_is_refused():
    with pytest.raises(RefusedError, match="class 1: 2 images cannot be split into 3 parts"):
        holdout(np.array([0, 0, 0, 1, 1], np.int32))


def dataset_with_parts(parts):
    n = len(parts)
    return Dataset(
        images=np.zeros((n, 4, 4, 1), np.uint8),
        labels=(np.arange(n) % 2).astype(np.int32),
        class_names=("a", "b"),
        ids=np.array([str(i) for i in range(n)]),
        digests=np.zeros((n, 32), np.uint8),
        name="parts",
        split=np.array(parts),
    )


def test_parts_that_the_source_fixes_are_kept():
    parts = ["train"] * 20 + ["val"] * 6 + ["test"] * 8
    split = splits.split(dataset_with_parts(parts))
    assert [list(part) for part in split] == [list(range(20)), list(range(20, 26)), list(range(26, 34))]


def test_val_is_taken_from_train_where_the_source_has_none():
    split = splits.split(dataset_with_parts(["train"] * 40 + ["test"] * 10))
    assert list(split.test) == list(range(40, 50))
    assert sorted([*split.train, *split.val]) == list(range(40))
    assert len(split.val) == 8  # 0.15 / 0.85 of 40 is 7.06


def test_test_is_taken_from_train_where_the_source_has_none():
    dataset = dataset_with_parts(["train"] * 40 + ["val"] * 10)
    split = splits.split(dataset)
    assert list(split.val) == list(range(40, 50))
    assert sorted([*split.train, *split.test]) == list(range(40))
    assert len(split.test) == 8  # 0.15 / 0.85 of 40 is 7.06
    together = dataset._replace(groups=np.array([f"p{number // 4}" for number in range(50)]))
    assert_whole(together.groups, [(grouped := splits.split(together)).train, grouped.test])


def test_val_is_the_test_part_if_asked():
    dataset = dataset_with_parts(["train"] * 40 + ["val"] * 10)
    split = splits.split(dataset, val_as_test=True)
    assert list(split.test) == list(range(40, 50))
    assert sorted([*split.train, *split.val]) == list(range(40))
    as_test = dataset_with_parts(["train"] * 40 + ["test"] * 10)
    assert_same_parts(split, splits.split(as_test))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (["train"] * 20 + ["val"] * 6 + ["test"] * 6, "a test part of its own"),
        (["train"] * 20 + ["test"] * 6, "a test part of its own"),
        (None, "no val part of its own"),
    ],
)
def test_val_as_test_without_need_is_refused(parts, reason):
    dataset = dataset_with_parts(parts or ["train"] * 26)
    dataset = dataset if parts else dataset._replace(split=None)
    with pytest.raises(RefusedError, match=f"--val-as-test: parts has {reason}"):
        splits.split(dataset, val_as_test=True)


def test_splits_stay_what_published_runs_were_made_on():
    labels = np.random.default_rng(5).integers(0, 6, 1000).astype(np.int32)
    assert digest_of(holdout(labels, seed=0)).startswith("a055b25d1a266a3b")
    assert digest_of(holdout(labels, (0.8, 0.1, 0.1), seed=1)).startswith("10741289fea2644d")
    sizes = [10_000] * 5 + [8_954]
    assert digest_of(holdout(np.repeat(np.arange(6, dtype=np.int32), sizes))).startswith("218955f8117697fe")
    drawn = splits.split(dataset_with_parts(["train"] * 40 + ["test"] * 10))
    assert digest_of(drawn).startswith("4afa3acda8f1003f")


def test_a_tiny_class_keeps_a_training_image_however_small_the_share():
    labels = labels_of([3, 10])
    split = holdout(labels, (0.02, 0.49, 0.49))
    assert [np.bincount(labels[part])[0] for part in split] == [1, 1, 1]
    assert_partition(split, 13)


def test_a_refusal_names_the_class_where_its_name_is_known():
    dataset = dataset_with_parts([""] * 5)._replace(split=None)
    with pytest.raises(RefusedError, match=r"^class b: 2 images cannot be split into 3 parts"):
        splits.split(dataset)


@given(grouped_sets, fractions, st.integers(0, 1000))
@settings(deadline=None)
def test_a_holdout_breaks_no_group(labels_and_groups, shares, seed):
    labels, groups = labels_and_groups
    split = holdout(labels, shares, seed=seed, groups=groups)
    assert_partition(split, len(labels))
    assert_whole(groups, split)
    for part, share in zip(split, shares, strict=True):
        counts = np.bincount(labels[part])
        assert (counts > 0).all()
        assert np.abs(counts - share * np.bincount(labels)).max() <= 2 + len(labels) / 100


def test_a_holdout_of_groups_gives_each_part_its_share_of_the_large_ones():
    sizes = np.repeat([10, 2, 1], [40, 200, 1000])
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = (groups % 2).astype(np.int32)
    split = holdout(labels, groups=groups.astype(str))
    for part, share in zip(split, (0.70, 0.15, 0.15), strict=True):
        numbers = np.bincount(np.bincount(groups[part])[np.unique(groups[part])], minlength=11)
        np.testing.assert_allclose(numbers[[10, 2, 1]], share * np.array([40, 200, 1000]), atol=2)


def test_val_that_is_drawn_from_train_breaks_no_group():
    dataset = dataset_with_parts(["train"] * 40 + ["test"] * 10)
    dataset = dataset._replace(groups=np.array([str(number // 3) for number in range(50)]))
    split = splits.split(dataset)
    assert_whole(dataset.groups, split[:2])
    assert list(split.test) == list(range(40, 50))  # though image 39 is of the same group: the source says so
    assert 6 <= len(split.val) <= 10


@given(class_sizes, st.integers(2, 10), st.integers(0, 2**32 - 1), st.integers(0, 100))
@settings(deadline=None)
def test_folds_are_stratified_to_within_one_image(sizes, num_folds, seed, repeat):
    sizes = [max(size, num_folds) for size in sizes]
    labels = labels_of(sizes)
    folds = k_fold(labels, num_folds, seed=seed, repeat=repeat)
    assert_partition(folds, len(labels))
    counts = np.array([np.bincount(labels[fold], minlength=len(sizes)) for fold in folds])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


@given(grouped_sets, st.integers(2, 6), st.integers(0, 1000))
@settings(deadline=None)
def test_folds_break_no_group(labels_and_groups, num_folds, seed):
    labels, groups = labels_and_groups
    folds = k_fold(labels, num_folds, groups=groups, seed=seed)
    assert_partition(folds, len(labels))
    assert_whole(groups, folds)
    assert len(folds) == num_folds
    assert all(set(labels[fold]) == set(labels) for fold in folds)


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(deadline=None)
def test_single_images_fill_up_to_within_one_image(seed, num_folds):
    labels, groups = grouped(seed, 907, 3, 850)
    counts = np.unique(groups, return_counts=True)[1]
    folds = k_fold(labels, num_folds, groups=groups, seed=seed)
    assert (counts > 2).any()
    held = np.array([np.bincount(labels[fold], minlength=3) for fold in folds])
    assert np.ptp(held, axis=0).max() <= 1
    assert np.ptp(held.sum(axis=1)) <= 1


@pytest.mark.parametrize("seed", range(12))
def test_grouped_folds_are_as_alike_as_those_of_scikit_learn(seed):
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = grouped(seed, 300 + 40 * seed, 2 + seed % 3, 60 + 20 * seed)

    def worst(folds):
        held = np.array([np.bincount(labels[fold], minlength=labels.max() + 1) for fold in folds])
        return np.abs(held - np.bincount(labels) / 5).max()

    reference = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
    assert worst(k_fold(labels, 5, groups=groups, seed=seed)) <= worst([fold for _, fold in reference]) + 1


@pytest.mark.parametrize("groups", [None, np.array([str(number // 2) for number in range(200)])])
def test_seed_and_repeat_alone_decide_the_folds(groups):
    labels = np.repeat(np.arange(2, dtype=np.int32), 100)
    drawn = [
        digest_of(k_fold(labels, 5, groups=groups, seed=seed, repeat=repeat))
        for seed, repeat in [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


def test_a_class_smaller_than_the_folds_is_refused_by_name():
    labels = labels_of([4, 50, 3])
    with pytest.raises(RefusedError) as refusal:
        k_fold(labels, 5, class_names=("cat", "dog", "owl"))
    assert [problem.name for problem in refusal.value.problems] == ["class cat", "class owl"]
    assert (
        refusal.value.lines()[1]
        == "class owl: 3 images cannot be split into 5 folds (each class needs at least 5)"
    )


def test_a_class_with_fewer_groups_than_folds_is_refused():
    labels = np.repeat(np.arange(2, dtype=np.int32), 20)
    groups = np.array([str(number // 5 if number < 20 else number) for number in range(40)])
    with pytest.raises(RefusedError, match=r"^class 0: 4 groups cannot be split into 5 folds"):
        k_fold(labels, 5, groups=groups)
    assert len(k_fold(labels, 4, groups=groups)) == 4


@pytest.mark.parametrize("missing", ["", None, float("nan")])
def test_an_image_without_a_group_is_refused(missing):
    groups = np.array(["a", "b", missing, *"cdefghi"], object)
    with pytest.raises(RefusedError, match=r"^groups: 1 of 10 images has none, the first is image 2"):
        k_fold(labels_of([5, 5]), 2, groups=groups)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_folds": 1}, "--folds: 1 is out of range"),
        ({"repeats": 0}, "--repeats: 0 is out of range"),
        ({"inner_share": 0.0}, "the inner share: 0.0 is out of range"),
        ({"inner_share": 1.0}, "the inner share: 1.0 is out of range"),
    ],
)
def test_options_out_of_range_are_refused(options, line):
    with pytest.raises(RefusedError, match=f"^{line}"):
        fold_splits(dataset_with_parts(["train"] * 20), **options)


@pytest.mark.parametrize("with_groups", [False, True])
@pytest.mark.parametrize("inner_share", [None, 0.2])
def test_cross_validation_scores_every_image_once_a_repeat(with_groups, inner_share):
    dataset = dataset_with_parts(["train"] * 90 + ["test"] * 30)
    if with_groups:
        dataset = dataset._replace(groups=np.array([str(number // 3) for number in range(120)]))
    splits = fold_splits(dataset, 4, repeats=2, inner_share=inner_share, seed=3)
    assert len(splits) == 8
    for repeat in (0, 1):
        folds = k_fold(dataset.labels, 4, groups=dataset.groups, seed=3, repeat=repeat)
        for split, fold in zip(splits[4 * repeat : 4 * repeat + 4], folds, strict=True):
            assert np.array_equal(split.test, fold)
    for split in splits:
        assert_partition(split, 120)
        assert len(split.val) == pytest.approx(0 if inner_share is None else 18, abs=3 if with_groups else 0)
        if with_groups:
            assert_whole(dataset.groups, split)
    assert len({digest_of(split) for split in splits}) == 8


def test_a_pool_leaves_the_other_images_out():
    dataset = dataset_with_parts(["test"] * 20 + ["train"] * 60)
    pool = np.flatnonzero(dataset.split == "train")[::-1]
    splits = fold_splits(dataset, 3, inner_share=0.25, pool=pool)
    for split in splits:
        assert np.array_equal(np.sort(np.concatenate(split)), np.arange(20, 80))
    assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), np.arange(20, 80))
    with pytest.raises(RefusedError, match="class b: 0 images cannot be split into 3 folds"):
        fold_splits(dataset, 3, pool=np.arange(0, 60, 2))


@pytest.mark.parametrize("shares", [(0.5, 0.25, 0.2), (1.0, 0.0, 0.0), (0.5, 0.8, -0.3)])
def test_fractions_that_make_no_split_are_refused(shares):
    with pytest.raises(RefusedError, match=r"^fractions: .* \(three numbers above 0 that sum to 1"):
        splits.split(dataset_with_parts(["train"] * 20)._replace(split=None), fractions=shares)


def test_a_negative_seed_is_refused():
    with pytest.raises(RefusedError, match=r"^seed: -1 is out of range"):
        splits.split(dataset_with_parts(["train"] * 20)._replace(split=None), seed=-1)


def test_split_keeps_groups_whole():
    dataset = dataset_with_parts([""] * 60)._replace(split=None)
    dataset = dataset._replace(groups=np.array([str(number // 3) for number in range(60)]))
    drawn = splits.split(dataset, seed=4, fractions=(0.5, 0.25, 0.25))
    assert_partition(drawn, 60)
    assert_whole(dataset.groups, drawn)


def test_folds_that_a_table_fixes_are_kept():
    folds = np.array(["10", "2", "0"] * 8)
    dataset = dataset_with_parts([""] * 24)._replace(split=None, folds=folds)
    found = fold_splits(dataset, 3, seed=7)
    assert [set(folds[split.test].tolist()) for split in found] == [{"0"}, {"2"}, {"10"}]
    assert all(len(split.train) == 16 and not len(split.val) for split in found)
    inner = fold_splits(dataset, 3, inner_share=0.25)
    assert all(np.array_equal(one.test, other.test) for one, other in zip(found, inner, strict=True))
    assert all(len(split.val) for split in inner)
    with pytest.raises(
        RefusedError, match=r"--folds: is 5, but the table of labels fixes 3 \(give --folds 3"
    ):
        fold_splits(dataset, 5)
    with pytest.raises(RefusedError, match="--repeats: the table of labels fixes the folds"):
        fold_splits(dataset, 3, repeats=2)


@pytest.mark.parametrize("has_several", [False, True])
def test_fixed_folds_that_leave_a_class_or_label_untrained_are_refused(has_several):
    folds = np.array(["0", "1", "2"] * 8)
    dataset = dataset_with_parts([""] * 24)._replace(split=None, folds=folds)
    is_first = (folds == "0").astype(np.int32)
    labels = np.stack([1 - is_first, is_first], axis=1) if has_several else is_first
    kind = "label" if has_several else "class"
    with pytest.raises(RefusedError, match=f"^{kind} b: all images of it are in one fold of the table"):
        fold_splits(dataset._replace(labels=labels), 3)
    if has_several:
        labels[1, 1] = 1
        assert len(fold_splits(dataset._replace(labels=labels), 3)) == 3
