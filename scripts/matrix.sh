#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs the tests of the joblib backend with other versions of Python, NumPy and joblib, each
# set in a virtual environment of its own under build/matrix.  Every joblib from 1.2 to 1.6
# calls a store backend in its own way.
#
#   scripts/matrix.sh           the oldest and the newest set that the machine has a Python for
#   scripts/matrix.sh --all     every set that the machine has a Python for
#
# One wheel is built for each Python that needs one of its own: 3.10, and 3.11 for all later.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# Python, NumPy, joblib: pairs that were current together.
SETS="3.10/1.24/1.2 3.10/1.26/1.3 3.11/1.24/1.2 3.11/1.26/1.4 3.12/1.26/1.3 3.12/2.0/1.4
    3.12/2.2/1.5 3.13/2.1/1.5 3.13/2.5/1.6"

wheel_of()
{
    local python=$1 folder=build/matrix/wheel-$2

    if [ ! -e "$folder"/.done ] || [ -n "$(find src python h5store setup.py Makefile.am \
        -newer "$folder"/.done -type f ! -path '*/__pycache__/*' -print -quit)" ]; then
        rm -rf "$folder" build/pip
        "$python" -m pip wheel --no-deps -q -w "$folder" . >build/matrix/wheel-"$2".log 2>&1 ||
            die "the wheel failed: build/matrix/wheel-$2.log"
        touch "$folder"/.done
    fi
    echo "$folder"/*.whl
}

mkdir -p build/matrix
available=
for set in $SETS; do
    find_python "${set%%/*}" >/dev/null && available+=" $set"
done
[ -n "$available" ] || die "none of the Pythons of the sets is here: $SETS"
if [ "${1:-}" != --all ]; then
    # shellcheck disable=SC2086 # words on purpose
    set -- $available
    available="$1"
    [ $# -gt 1 ] && available+=" ${*: -1}"
fi

passed=0 failed=0
for set in $available; do
    IFS=/ read -r python numpy joblib <<<"$set"
    name=py$python-numpy$numpy-joblib$joblib
    venv=build/matrix/$name
    interpreter=$(find_python "$python")
    abi=3.11
    [ "$python" = 3.10 ] && abi=3.10
    say "$name"
    [ -x "$venv"/bin/python ] || "$interpreter" -m venv "$venv"
    "$venv"/bin/python -m pip install -q --prefer-binary "numpy==$numpy.*" "joblib==$joblib.*" \
        "h5py<4" "pytest>=8" >build/matrix/"$name".pip.log 2>&1 ||
        die "installing failed: build/matrix/$name.pip.log"
    "$venv"/bin/python -m pip install -q --force-reinstall --no-deps \
        "$(wheel_of "$(find_python $abi || echo "$interpreter")" $abi)"
    if (cd tests/python && "../../$venv"/bin/python -m pytest -q -p no:cacheprovider \
        test_backend*.py test_pickler*.py test_store*.py) >build/matrix/"$name".log 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        grep -E '^(FAILED|ERROR)' build/matrix/"$name".log | head -20 || true
    fi
    tail -n 1 build/matrix/"$name".log
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
