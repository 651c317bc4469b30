"""Faults as problems, and the limit on what may come out of an archive."""

from medjax.data.reading.listing import Fault, UnfitError, max_unpacked_bytes, problem_of


def test_a_problem_names_the_option_that_leaves_the_file_out():
    problem = problem_of("it's/a.png", Fault("is bad", "mend it"))
    assert problem.remedy == "mend it, or --ignore 'it'\"'\"'s/a.png'"
    assert problem_of("a", Fault("is bad", "mend it"), can_ignore=False).remedy == "mend it"


def test_an_unfit_error_carries_its_fault():
    assert UnfitError("is bad", "mend it").fault == Fault("is bad", "mend it")


def test_what_may_come_out_of_an_archive_grows_with_it(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    assert max_unpacked_bytes(tmp_path / "a", 30) == 32 * 2**20 + 30_000
