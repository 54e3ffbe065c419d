"""Folds hold whole people out; weights count people, not clips."""

import numpy as np
import pytest

from mmdf_jax.stats import groups


def test_many_people_are_held_out_in_groups():
    people = np.repeat(np.arange(25), 2)
    folds = groups.folds(people)
    assert len(folds) == groups.FOLDS and (np.sum(folds, axis=0) == 1).all()
    assert all(len(set(people[fold]) & set(people[~fold])) == 0 for fold in folds)
    named = groups.folds([("set", f"{person:02d}") for person in people])
    assert all((a == b).all() for a, b in zip(folds, named, strict=True))
    with pytest.raises(ValueError, match="two identities or more on validation, found 1"):
        groups.folds(np.zeros(4))


def test_weights_count_each_person_once():
    np.testing.assert_allclose(groups.weights(["a", "b", "a", "c"]), [1 / 8, 1 / 4, 1 / 8, 1 / 4])
    assert not groups.weights([]).size
