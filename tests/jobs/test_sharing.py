"""What is made once, and for how long it is kept."""

from medjax.jobs.sharing import Same, once, sharing


def test_only_within_the_context_a_thing_is_made_once():
    assert once("a", object) is not once("a", object)
    with sharing():
        first = once("a", object)
        assert once("a", object) is first
        assert once("b", object) is not first
    with sharing():
        assert once("a", object) is not first


def test_things_that_cannot_be_hashed_are_told_apart_by_identity():
    one, other = [1], [1]
    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(other)
    assert Same(one) != one
