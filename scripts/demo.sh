#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# From a fresh checkout to a cache in one HDF5 file, and a look inside it: sets everything up,
# installs decache into .venv and runs the examples.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

build_all
install_decache .venv
export PATH=$PWD/build/src:$PWD/.venv/bin:$PATH

cache=build/demo
rm -rf $cache
mkdir $cache

say "examples/dedup.py: two functions that return the same array"
python examples/dedup.py $cache/dedup

say "examples/pipeline.py: a grid search over a cached pipeline"
python examples/pipeline.py $cache/pipeline

# Inside, by programs that know nothing of decache.
container=$(find $cache/pipeline -name blobs.h5)
item=$(h5ls -r "$container" | awk '!found && sub("/output .*", "") { print; found = 1 }')
id=$(h5store ls --tsv "$container" | sort -t "$(printf '\t')" -k6,6nr | sed -n '1s/\t.*//p')
blob=/blobs/${id:0:2}/$id

say "h5ls: one cached result of $container"
echo "    $item"
h5ls "$container$item"
say "h5dump: the array that most results share (type, shape, attributes)"
h5dump -A -d "$blob" "$container"
say "h5py: its type, shape, and first numbers"
python - "$container" "$blob" <<'END'
import sys
import h5py

with h5py.File(sys.argv[1]) as file:
    array = file[sys.argv[2]]
    print(f"    {array.dtype}, {array.shape}, {array[(0,) * (array.ndim - 1)][:5]}")
END
say "h5store: which functions use the space, and what was saved"
h5store tree -d "$container"
h5store stat "$container"
say "done; the caches are in $cache, for you to look around"
