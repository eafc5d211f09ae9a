# SPDX-License-Identifier: MIT
"""Libraries that take a joblib.Memory, unchanged, with ours: scikit-learn, nilearn, librosa.

Each is run without a cache, with an empty one, and with a full one: three times the same result,
bit by bit, and the third time nothing is stored and nothing is missed. What is not installed is
skipped (`scripts/engines.sh` installs it).
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import decache
import joblib
import numpy as np
import pytest
from decache import _shared
from joblib.externals.loky import get_reusable_executor

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed (scikit-learn)")

from sklearn.base import BaseEstimator, TransformerMixin, clone  # noqa: E402
from sklearn.cluster import OPTICS, AgglomerativeClustering, FeatureAgglomeration  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.datasets import (  # noqa: E402
    dump_svmlight_file, load_svmlight_file, make_classification,
)
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_predict  # noqa: E402
from sklearn.pipeline import FeatureUnion, Pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils import all_estimators  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

X, Y = make_classification(160, 30, n_informative=8, random_state=0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small are the arrays that threads of BLAS only wait for each other."""
    with threadpool_limits(1):
        yield


def usage(location: str) -> tuple[int, int, int]:
    """Hits, misses, and results of a cache, when all processes have told theirs."""
    get_reusable_executor().shutdown(wait=True)
    _shared._close_all()
    found = decache.statistics(location)
    return found.usage.hits, found.usage.misses, found.totals.items


def check(run: Callable[[Any], Any], memory: joblib.Memory, location: str) -> tuple[int, int]:
    """Run without a cache, with an empty and with a full one; how many hits and results then."""
    expected = run(None)
    same(run(memory), expected)
    hits, misses, items = usage(location)
    assert items > 0
    same(run(memory), expected)
    again = usage(location)
    assert again[1:] == (misses, items), "the second run missed"
    assert again[0] > hits
    assert all(one.damage is None for one in decache.results(location))
    return again[0] - hits, items


def same(left: Any, right: Any) -> None:
    """Are two results the same, bit by bit? An array may be mapped."""
    if isinstance(right, np.ndarray):
        assert isinstance(left, np.ndarray) and left.dtype == right.dtype
    else:
        assert type(left) is type(right)
    if isinstance(left, (list, tuple)):
        assert len(left) == len(right) > 0
        for one, other in zip(left, right, strict=True):
            same(one, other)
    elif hasattr(left, "toarray"):
        assert (left != right).nnz == 0 and left.shape == right.shape
    else:
        np.testing.assert_array_equal(left, right)


# -- scikit-learn ----------------------------------------------------------------------------------


def test_every_estimator_with_a_memory_is_tested_here() -> None:
    found = {
        name for name, estimator in all_estimators()
        if "memory" in inspect.signature(estimator.__init__).parameters
    }
    assert found == {"Pipeline", "FeatureAgglomeration", "AgglomerativeClustering", "OPTICS"}


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_pipeline(mmap_mode: str | None, make_memory: Callable, location: str) -> None:
    def run(memory: Any) -> list[np.ndarray]:
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("reduce", PCA(5, random_state=0)),
             ("classify", LogisticRegression())], memory=memory,
        ).fit(X, Y)
        return [pipeline.predict_proba(X), pipeline["reduce"].components_,
                pipeline["scale"].mean_, pipeline["classify"].coef_]

    assert check(run, make_memory(mmap_mode=mmap_mode), location) == (2, 2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_grid_search_fits_each_step_once(
    jobs: int, make_memory: Callable, location: str
) -> None:
    def run(memory: Any) -> list[Any]:
        pipeline = Pipeline(
            [("reduce", PCA(random_state=0)), ("classify", LogisticRegression())], memory=memory,
        )
        grid = {"reduce__n_components": [3, 6], "classify__C": [0.1, 1.0]}
        search = GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(X, Y)
        return [search.cv_results_["mean_test_score"], search.best_estimator_.predict_proba(X)]

    hits, items = check(run, make_memory(), location)
    # Of each fold, and of the whole for the best: PCA with 3 and 6, whatever C is.
    assert items == 2 * 2 + 1
    assert hits == 4 * 2 + 1


def test_columns_and_unions(make_memory: Callable, location: str) -> None:
    text = np.array([f"word{row % 7} and word{row % 11}" for row in range(len(X))], dtype=object)
    table = np.column_stack([X.astype(object), text])

    def run(memory: Any) -> list[np.ndarray]:
        numbers = Pipeline(
            [("scale", StandardScaler()),
             ("both", FeatureUnion([("pca", PCA(3, random_state=0)),
                                    ("clusters", FeatureAgglomeration(4, memory=memory))]))],
            memory=memory,
        )
        columns = ColumnTransformer(
            [("numbers", numbers, list(range(30))), ("text", TfidfVectorizer(), 30)],
            sparse_threshold=1.0,
        )
        pipeline = Pipeline(
            [("columns", columns), ("classify", LogisticRegression(max_iter=500))], memory=memory
        ).fit(table, Y)
        return [pipeline["columns"].transform(table), pipeline.predict_proba(table)]

    hits, items = check(run, make_memory(), location)
    assert items >= 3 and hits == 1  # what is within the outer step was not even asked for


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_clusterers(mmap_mode: str | None, make_memory: Callable, location: str) -> None:
    def run(memory: Any) -> list[np.ndarray]:
        features = FeatureAgglomeration(n_clusters=5, memory=memory).fit(X)
        samples = AgglomerativeClustering(n_clusters=6, memory=memory, linkage="average").fit(X)
        ordered = OPTICS(min_samples=10, memory=memory).fit(X[:80])
        return [features.transform(X), features.labels_, features.children_, samples.labels_,
                ordered.reachability_, ordered.labels_]

    assert check(run, make_memory(mmap_mode=mmap_mode), location) == (3, 3)


class Doubler(TransformerMixin, BaseEstimator):
    """A transformer of a user, with a fitted array."""

    def fit(self, x: np.ndarray, y: Any = None) -> Doubler:
        self.mean_ = x.mean(axis=0)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return 2 * (x - self.mean_)


def test_an_estimator_of_a_user(make_memory: Callable, location: str) -> None:
    def run(memory: Any) -> np.ndarray:
        pipeline = Pipeline([("double", Doubler()), ("scale", StandardScaler())], memory=memory)
        return clone(pipeline).fit(X).transform(X)

    assert check(run, make_memory(), location) == (1, 1)


def load(path: str) -> Any:
    return load_svmlight_file(path)


def forest(x: np.ndarray, y: np.ndarray) -> RandomForestClassifier:
    return RandomForestClassifier(5, random_state=0).fit(x, y)


def test_functions_of_scikit_learn_in_the_cache(
    make_memory: Callable, location: str, tmp_path: Path
) -> None:
    """Sparse matrices, forests, and predictions: what a user caches with a decorator."""
    path = str(tmp_path / "data.svm")
    dump_svmlight_file(X, Y, path)

    def run(memory: Any) -> list[Any]:
        cached = memory.cache if memory is not None else lambda function: function
        matrix, labels = cached(load)(path)
        trees = cached(forest)(X, Y)
        predicted = cached(cross_val_predict)(LogisticRegression(), X, Y)
        return [matrix, labels, trees.predict_proba(X), trees.feature_importances_, predicted]

    assert check(run, make_memory(), location) == (3, 3)


# -- nilearn ---------------------------------------------------------------------------------------


def images() -> tuple[Any, Any, Any]:
    """A small brain that never was: a run, a mask, and labels."""
    nibabel = pytest.importorskip("nibabel", reason="nilearn is not installed")
    generator = np.random.default_rng(0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    bold = generator.standard_normal((10, 10, 8, 40)).astype(np.float32) + 100
    mask = np.zeros((10, 10, 8), np.uint8)
    mask[2:8, 2:8, 2:6] = 1
    labels = np.zeros((10, 10, 8), np.uint8)
    labels[2:5, 2:8, 2:6], labels[5:8, 2:8, 2:6] = 1, 2
    return tuple(nibabel.Nifti1Image(one, affine) for one in (bold, mask, labels))


@pytest.fixture
def nilearn() -> Any:
    module = pytest.importorskip("nilearn", reason="nilearn is not installed")
    with warnings.catch_warnings():
        # nilearn caches functions that joblib cannot look into, and says so each time.
        warnings.simplefilter("ignore", joblib.memory.JobLibCollisionWarning)
        yield module


def test_maskers_of_nilearn(nilearn: Any, make_memory: Callable, location: str) -> None:
    from nilearn.maskers import NiftiLabelsMasker, NiftiMasker

    bold, mask, labels = images()

    def run(memory: Any) -> list[np.ndarray]:
        settings = {"standardize": "zscore_sample", "memory": memory,
                    "memory_level": 0 if memory is None else 5}
        voxels = NiftiMasker(mask_img=mask, smoothing_fwhm=4.0, **settings).fit_transform(bold)
        regions = NiftiLabelsMasker(labels_img=labels, **settings).fit_transform(bold)
        return [voxels, regions]

    hits, items = check(run, make_memory(), location)
    assert hits >= 2 and items >= 4


def test_a_first_level_model_of_nilearn(
    nilearn: Any, make_memory: Callable, location: str
) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    glm = pytest.importorskip("nilearn.glm.first_level", reason="nilearn.glm is not there")
    bold, mask, _ = images()
    events = pandas.DataFrame(
        {"onset": [4.0, 24.0, 44.0, 64.0], "duration": 8.0, "trial_type": ["a", "b", "a", "b"]}
    )

    def run(memory: Any) -> np.ndarray:
        model = glm.FirstLevelModel(
            t_r=2.0, mask_img=mask, memory=memory, memory_level=0 if memory is None else 3,
            minimize_memory=False,
        ).fit(bold, events=events)
        return np.asarray(model.compute_contrast("a - b", output_type="z_score").get_fdata())

    hits, items = check(run, make_memory(), location)
    assert hits >= 1 and items >= 1


# -- librosa ---------------------------------------------------------------------------------------

#: librosa caches its functions when they are imported, which it puts off until they are used.
_LIBROSA = """\
import sys, warnings
import numpy as np
import librosa
if sys.argv[1]:
    import decache, joblib
    warnings.simplefilter("always", decache.CacheWarning)
    librosa.cache.memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
    librosa.cache.level = 50
sound = np.sin(np.arange(22050) * 0.1).astype(np.float32)
made = [
    librosa.feature.melspectrogram(y=sound, sr=22050),
    librosa.feature.mfcc(y=sound, sr=22050),
    librosa.stft(sound),
    librosa.filters.mel(sr=22050, n_fft=1024),
]
np.savez(sys.argv[2], *made)
"""


def test_the_cache_of_librosa(location: str, tmp_path: Path) -> None:
    pytest.importorskip("librosa", reason="librosa is not installed")

    def run(where: str, name: str) -> list[np.ndarray]:
        path = tmp_path / f"{name}.npz"
        done = subprocess.run(
            [sys.executable, "-c", _LIBROSA, where, str(path)], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
        assert done.returncode == 0 and "CacheWarning" not in done.stderr, done.stderr
        with np.load(path) as file:
            return [file[one] for one in file.files]

    expected = run("", "without")
    same(run(location, "empty"), expected)
    _, misses, items = usage(location)
    assert items >= 3
    same(run(location, "full"), expected)
    assert usage(location)[1:] == (misses, items)
    assert usage(location)[0] >= 3
    assert any("librosa" in one.name for one in decache.functions(location))
