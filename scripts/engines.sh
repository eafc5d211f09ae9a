#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs cached functions in the workers of dask and ray, and nilearn and librosa on our backend:
# what "make check" skips where these are not installed.  They go into build/engines-venv, some
# hundreds of megabytes.
#
#   scripts/engines.sh          some minutes
#
# Arguments are passed on to pytest: -k ray.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

PACKAGES="distributed ray nilearn librosa pandas scikit-learn h5py pytest>=8"

venv=build/engines-venv
mkdir -p build
if ! $venv/bin/python -c 'import pip' 2>/dev/null; then
    say "making $venv"
    rm -rf $venv
    run engines-venv .venv/bin/python -m venv $venv
fi
if [ "$(cat $venv/.packages 2>/dev/null)" != "$PACKAGES" ]; then
    say "installing $PACKAGES into $venv"
    # Each by itself: one that has no wheel for this Python is skipped, and its tests say so.
    run pip-engines $venv/bin/python -m pip install "setuptools>=77" joblib numpy
    for package in $PACKAGES; do
        $venv/bin/python -m pip install --prefer-binary "$package" \
            >"build/pip-engines-${package%%>*}.log" 2>&1 ||
            say "without $package: see build/pip-engines-${package%%>*}.log"
    done
    echo "$PACKAGES" >$venv/.packages
fi
install_decache $venv
cd tests/python
exec "../../$venv/bin/python" -m pytest -p no:cacheprovider -c ../../pyproject.toml \
    test_engines.py test_libraries.py "$@"
