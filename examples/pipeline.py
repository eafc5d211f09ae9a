# SPDX-License-Identifier: MIT
"""A grid search over a scikit-learn pipeline whose fitted steps are cached.

The search tries 8 settings of the last step for each of 2 settings of the step before. With
``memory=`` the earlier steps are fitted once for each of these and each part of the data, and
not at all in the second run. The fitted steps hold the data that they were fitted on; equal data
are stored once.

Run it with the folder for the cache as argument (default: a temporary one, removed at the end).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

import decache
import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

GRID = {
    "features__gamma": [0.005, 0.01],
    "classify__alpha": list(np.logspace(-4, 3, 8)),
}


def search(memory: joblib.Memory | None) -> tuple[float, GridSearchCV]:
    """Run the search, and return the seconds it took and its result."""
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("features", KernelPCA(60, kernel="rbf", random_state=0)),
            ("classify", RidgeClassifier()),
        ],
        memory=memory,
    )
    x, y = load_digits(n_class=6, return_X_y=True)
    start = time.perf_counter()
    with threadpool_limits(1):  # small matrices: more threads would only vary the times
        result = GridSearchCV(pipeline, GRID, cv=3).fit(x, y)
    return time.perf_counter() - start, result


def main(folder: str) -> None:
    memory = joblib.Memory(folder, backend="cas", verbose=0)
    print("\nA grid search on scikit-learn's digits 0 to 5: 16 settings x 3 parts of the data")
    print("=" * 80)
    runs = [
        ("without a cache", search(None)),
        ("first run with the cache", search(memory)),
        ("second run", search(memory)),
    ]
    print()
    for name, (seconds, result) in runs:
        print(f"  {name:26}{seconds:8.2f} s    best accuracy {result.best_score_:.6f}")

    scores = [result.cv_results_["mean_test_score"] for _, (_, result) in runs]
    assert all(np.array_equal(scores[0], other) for other in scores[1:])
    print("\n  All 16 scores are equal, bit for bit, in the three runs.\n")

    with decache.Store(os.path.join(memory.store_backend.location, "blobs.h5")) as store:
        stat = store.stat()
    print(f"  The cache holds {stat.items} fitted steps with {stat.links} arrays, "
          f"{stat.blobs} of them distinct:")
    print(f"  {stat.linked_bytes / 1e6:.1f} MB in results, {stat.blob_bytes / 1e6:.1f} MB stored, "
          f"in one file.\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory(prefix="decache-pipeline-") as temporary:
            main(temporary)
