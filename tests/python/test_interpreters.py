# SPDX-License-Identifier: MIT
"""Interpreters other than the usual one: what the module declares is what happens.

It supports neither subinterpreters nor running without the GIL, and has to say so instead of
crashing.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable

import pytest

#: Tries to import in a subinterpreter, while the main one has the module or not.
_SUBINTERPRETER = """\
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def new():
    try:
        return interpreters.create(sys.argv[2])
    except TypeError:  # before 3.13 there is one kind
        return interpreters.create()

if sys.argv[1] == "after":
    from decache import _h5store

inner = new()
outcome = interpreters.run_string(inner, '''
import sys
sys.path[:] = %r
for again in range(2):
    try:
        import decache._h5store
    except ImportError as error:
        assert "subinterpreter" in str(error), error
        print("refused", flush=True)
    else:
        print("imported", flush=True)
''' % sys.path)
assert outcome is None, outcome
interpreters.destroy(inner)

import decache, os, tempfile
import numpy as np
with tempfile.TemporaryDirectory() as folder, decache.Store(os.path.join(folder, "a.h5")) as store:
    assert (store.get(store.put(np.arange(9.0))) == np.arange(9.0)).all()
print("works", flush=True)
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_subinterpreter_is_refused_and_the_main_one_goes_on(
    run_python: Callable[..., object], when: str, kind: str
):
    done = run_python(_SUBINTERPRETER, when, kind)
    assert done.stdout.split() == ["refused", "refused", "works"]


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not a free-threaded Python"
)
def test_a_free_threaded_interpreter_turns_the_gil_on_and_says_so(
    run_python: Callable[..., object],
):
    code = """\
    import sys, warnings
    import numpy
    assert not sys._is_gil_enabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import decache
    assert sys._is_gil_enabled()
    assert ["decache._h5store" in str(one.message) for one in caught].count(True) == 1, caught
    """
    run_python(code)
