#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# From a fresh checkout to a cache in one HDF5 file, and a look inside it: sets everything up,
# installs decache into .venv and runs the examples.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# "pip install ." unless nothing that it takes has changed since the last time.
install_decache()
{
    local stamp=.venv/.decache

    if [ ! -e $stamp ] || [ -n "$(find configure.ac Makefile.am pyproject.toml setup.py h5store \
        src python -newer $stamp -type f ! -path '*/__pycache__/*' -print -quit)" ]; then
        say "installing decache into .venv"
        touch build/.install-begins
        rm -rf build/python
        run pip-install .venv/bin/python -m pip install --no-build-isolation --no-deps \
            --force-reinstall .
        mv build/.install-begins $stamp
    fi
}

build_all
install_decache
export PATH=$PWD/build/src:$PWD/.venv/bin:$PATH

cache=build/demo
rm -rf $cache
mkdir $cache

say "examples/dedup.py: two functions that return the same array"
python examples/dedup.py $cache/dedup

say "examples/pipeline.py: a grid search over a cached pipeline"
python examples/pipeline.py $cache/pipeline

container=$(find $cache/dedup -name blobs.h5)
say "inside $container, as h5ls shows it"
h5ls -r "$container"
say "the array itself: its head, as h5dump shows it"
h5dump -H -A 0 "$container" | sed -n '1,40p'
say "the same through h5py"
python - "$container" <<'END'
import sys
import h5py

with h5py.File(sys.argv[1]) as file:
    print(dict(file.attrs)["README"])
    for name, folder in file["blobs"].items():
        for blob in folder.values():
            print(blob.name[:20] + "...", blob.dtype, blob.shape, blob[(0,) * blob.ndim])
END
say "and as the h5store command shows it"
h5store ls "$container"
h5store stat "$container"
say "the caches are in $cache; run this again whenever you like"
