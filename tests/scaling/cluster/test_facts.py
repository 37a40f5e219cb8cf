"""What the driver learns of the images, here as on a node; with Ray: test_faults.py."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ray.exceptions import RayTaskError

from scaling.cluster.facts import found, look
from scaling.data.image_source import image_source
from scaling.data.shown import heldout_stimuli
from scaling.errors import StudyError
from scaling.storage import Storage
from scaling.study import expand_study


def test_facts_are_those_of_the_images_and_cross_to_the_driver(make_study, tmp_path, digits_data):
    study = make_study(storage=str(tmp_path), data_sizes=[2, "all"])
    runs = expand_study(study)
    facts = pickle.loads(pickle.dumps(look(study, runs, runs, image_source(study.dataset, tmp_path))))
    assert facts.cost[runs[1].run_id] == pytest.approx(facts.cost[runs[0].run_id] * 1437 / 20)
    assert facts.source.digest == digits_data.digest()
    assert np.array_equal(facts.heldout.images, heldout_stimuli(digits_data).images)
    assert (facts.mapped, facts.others, facts.skipped) == (None, None, 0)
    mark = digits_data.mark()
    assert mark["sha256"].encode() in Storage(tmp_path).read_bytes("tiny/dataset.json")


def test_principal_components_get_their_images(make_study, tmp_path):
    study = make_study(storage=str(tmp_path), scoring={"reduction": "pca", "components": 4})
    facts = look(study, *[expand_study(study)] * 2, image_source(study.dataset, tmp_path))
    assert len(facts.others) == 8
    assert type(facts.scoring_options(study).reduction).__name__ == "PrincipalComponents"


def test_what_the_images_cannot_give_is_refused(make_study, tmp_path):
    study = make_study(storage=str(tmp_path), data_sizes=[5000])
    with pytest.raises(StudyError, match="5,000"):
        look(study, *[expand_study(study)] * 2, image_source(study.dataset, tmp_path))


def test_refusals_of_a_node_are_the_drivers():
    def raising(error):
        def get():
            raise RayTaskError("look", "Traceback ...", error).as_instanceof_cause()

        return get

    with pytest.raises(StudyError, match=r"^no such folder$"):
        found(raising(StudyError("no such folder")))
    with pytest.raises(StudyError, match=r"no node could open the images \(ModuleNotFoundError: No module named 'x'\)"):
        found(raising(ModuleNotFoundError("No module named 'x'")))
