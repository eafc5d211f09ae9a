#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Builds and tests with each HDF5 that can be had, and lets each read what the others wrote.
#
#   scripts/hdf5.sh                      this machine's, Debian 13's (1.14) and Debian sid's (2.x)
#   scripts/hdf5.sh --prefix DIR ...     this machine's, and those installed in these folders
#
# For each: no call that HDF5 calls deprecated, the tests in C and those of the store, and a
# container with all element types, packed arrays, items, and results that are in the log alone.
# Every container is read and verified with every HDF5, by this machine's h5dump, and by the h5py
# of .venv, which has an HDF5 of its own.  Debian's are in roots (scripts/root.sh; needs root),
# kept in build/roots or where ROOTS says; the builds are in build/hdf5.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

ROOTS=${ROOTS:-build/roots}
PACKAGES="gcc g++ make pkg-config libhdf5-dev libssl-dev libxxhash-dev libdeflate-dev check
    hdf5-tools python3-dev python3-setuptools python3-numpy python3-joblib python3-pytest
    python3-h5py"

# at NAME FUNCTION [ARGUMENT...]: call a function of this script where the HDF5 of that name is,
# with this folder under its name.
at()
{
    local name=$1 functions

    shift
    functions=$(declare -f build refuse_deprecated run_tests with_helper)
    set -- bash -euo pipefail -c "$functions; \"\$@\"" bash "$@"
    case $name in
    trixie | sid)
        scripts/root.sh -p "$PACKAGES" -b "$PWD:$PWD" "$ROOTS/hdf5-$name" "$name" \
            env -C "$PWD" "$@" </dev/null ;;
    *) "$@" </dev/null ;;
    esac
}

# build FOLDER PREFIX PYTHON: inside `at`.
build()
{
    local folder=$1 prefix=$2 python=$3

    mkdir -p "$folder"
    [ -z "$prefix" ] || export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" \
        LDFLAGS="-Wl,-rpath,$prefix/lib"
    [ -e "$folder"/Makefile ] || env -C "$folder" "$PWD"/configure PYTHON="$python"
    make -C "$folder" -j"$(nproc)"
    make -C "$folder" -j"$(nproc)" check TESTS=
}

# Is every call still there without the deprecated ones?  Debian's headers choose those of HDF5
# 1.8, so the compiler gets a copy of the headers that does not.  Inside `at`.
refuse_deprecated()
{
    local folder=$1 flags file

    flags=$(sed -n 's/^HDF5_CFLAGS = //p' "$folder"/Makefile)
    rm -rf "$folder"/headers
    mkdir "$folder"/headers
    # shellcheck disable=SC2086 # words on purpose
    file=$(echo '#include <hdf5.h>' | gcc $flags -M -x c - | tr ' ' '\n' | grep '/hdf5\.h$')
    cp "${file%/*}"/H5*.h "${file%/*}"/hdf5.h "$folder"/headers/
    sed -i '/define H5_USE_[0-9]*_API_DEFAULT/d' "$folder"/headers/H5pubconf.h
    for file in src/*.c tests/*.c tests/support/*.c; do
        gcc -fsyntax-only -Werror=implicit-function-declaration -D_GNU_SOURCE \
            -DH5_NO_DEPRECATED_SYMBOLS -I"$folder"/headers -I"$folder" -I. -Isrc -Itests "$file"
    done
}

run_tests()
{
    local folder=$1 python=$2

    CK_DEFAULT_TIMEOUT=60 "$folder"/tests/check_h5store
    PYTHONPATH=$folder/stage PATH=$folder/src:$PATH "$python" -m pytest -q -p no:cacheprovider \
        tests/python/test_store.py tests/python/test_dtypes.py tests/python/test_compress.py \
        tests/python/test_backend.py tests/python/test_neighbours.py
}

# folder_of NAME: where it is built.   python_of NAME: with which Python.
folder_of()
{
    [ "$1" = here ] && echo "$PWD/build" || echo "$PWD/build/hdf5/$1"
}

python_of()
{
    case $1 in trixie | sid) echo /usr/bin/python3 ;; *) echo "$PWD/.venv/bin/python" ;; esac
}

# with_helper FOLDER PYTHON CALL: of tests/python/_hdf5_versions.py, inside `at`.
with_helper()
{
    PYTHONPATH=$1/stage:tests/python "$2" -c "import _hdf5_versions as v; $3"
}

build_all
mkdir -p build/hdf5
if [ "${1:-}" = --prefix ]; then
    names=here
    declare -A prefixes=()
    while [ "${1:-}" = --prefix ]; do
        name=$(realpath "$2" | tr -c '[:alnum:].\n' - | sed 's,^-*,,')
        names+=" $name"
        prefixes[$name]=$(realpath "$2")
        shift 2
    done
else
    names="here trixie sid"
    declare -A prefixes=()
fi
[ $# = 0 ] || die "what is '$1'?"

containers=
for name in $names; do
    folder=$(folder_of "$name") python=$(python_of "$name")
    run "hdf5/$name.build" at "$name" build "$folder" "${prefixes[$name]:-}" "$python"
    say "$name: HDF5 $(sed -n 's/^HDF5_VERSION = //p' "$folder"/Makefile)"
    run "hdf5/$name.deprecated" at "$name" refuse_deprecated "$folder"
    run "hdf5/$name.tests" at "$name" run_tests "$folder" "$python"
    grep -hE '^[0-9]+%: Checks|passed' "build/hdf5/$name.tests.log"
    container=build/hdf5/$name.container
    rm -rf "$container"
    at "$name" with_helper "$folder" "$python" "v.write('$container')"
    containers+="${containers:+, }'$container'"
done
for name in $names; do
    folder=$(folder_of "$name") python=$(python_of "$name")
    at "$name" with_helper "$folder" "$python" "v.read($containers)"
    h5dump "build/hdf5/$name.container/blobs.h5" >/dev/null
done
with_helper "$PWD/build" "$PWD/.venv/bin/python" "v.read_with_h5py($containers)"
say "$(h5dump --version | sed 's/.*Version/h5dump/') read them all"
