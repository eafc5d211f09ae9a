#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Builds the Debian packages in a bare root, has lintian look at them, and uses them in another
# one: the examples with Debian's own HDF5, NumPy and joblib, and a C program with pkg-config.
#
#   scripts/deb.sh              on Debian 12; packages in build/deb/bookworm
#   scripts/deb.sh trixie       on another release
#
# All tests run while the packages are built; DEB_BUILD_OPTIONS=nocheck leaves them out.  The
# roots (scripts/root.sh; needs root) are kept in build/roots, or where ROOTS says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

suite=${1:-bookworm}
ROOTS=${ROOTS:-build/roots}
folder=build/deb/$suite

say()
{
    printf '==> %s\n' "$*"
}

# quietly NAME COMMAND...: with what it prints in /deb/NAME.log, of which the end is shown if it
# fails.
quietly()
{
    local log=/deb/$1.log

    shift
    "$@" >"$log" 2>&1 || { tail -n 60 "$log" >&2; exit 1; }
}

# inside KIND PACKAGES FUNCTION: run a function of this script in a root; build/deb/SUITE is /deb
# there.
inside()
{
    scripts/root.sh -p "$2" -b "$PWD/$folder:/deb" "$ROOTS/$1-$suite" "$suite" \
        env DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-}" bash -c \
        "set -euo pipefail; $(declare -f say quietly "$3"); $3" </dev/null
}

# The tarball of upstream, which Debian wants without debian/, and beside it the tree to build.
make_source()
{
    local version

    version=$(sed -n '1s/.*(\(.*\)-.*/\1/p' debian/changelog)
    grep -q "^AC_INIT(\[libh5store\], \[$version\]" configure.ac ||
        { echo "deb.sh: debian/changelog is of $version, configure.ac is not" >&2; exit 1; }
    rm -rf "$folder"
    mkdir -p "$folder"
    git ls-files -z -- ':!debian' ':!.ci' |
        tar --null -T - --owner=0 --group=0 --transform "s,^,h5store-$version/," \
            -czf "$folder/h5store_$version.orig.tar.gz"
    tar -C "$folder" -xzf "$folder/h5store_$version.orig.tar.gz"
    cp -r debian "$folder/h5store-$version/"
    chown -R root:root "$folder"
}

build_packages()
{
    cd /deb/h5store-*/
    quietly depends sh -c 'apt-get update && apt-get -y build-dep .'
    say "building${DEB_BUILD_OPTIONS:+ with DEB_BUILD_OPTIONS=$DEB_BUILD_OPTIONS}"
    quietly build dpkg-buildpackage -us -uc
    say "lintian"
    cd /deb
    lintian --fail-on error,warning -i ./*.changes
}

try_packages()
{
    say "installing"
    # shellcheck disable=SC2016 # expanded by that shell
    quietly install sh -c 'apt-get install -y --reinstall --no-install-recommends \
        $(ls /deb/*.deb | grep -v dbgsym)'
    rm -rf /var/tmp/try
    mkdir /var/tmp/try
    cd /var/tmp/try

    say "the C library: $(pkg-config --modversion h5store)"
    # shellcheck disable=SC2046 # words on purpose
    cc -Wall -Wextra -Werror -o store /usr/share/doc/libh5store-dev/examples/store.c \
        $(pkg-config --cflags --libs h5store)
    readelf -d store | grep NEEDED
    ./store example.h5
    h5store verify --full example.h5

    say "the examples"
    python3 -c 'import decache, joblib, numpy
print("decache", decache.__version__, decache.__file__, "HDF5", decache._h5store.hdf5_version)
print("joblib", joblib.__version__, "NumPy", numpy.__version__)'
    python3 /usr/share/doc/python3-decache/examples/dedup.py dedup
    python3 /usr/share/doc/python3-decache/examples/pipeline.py pipeline
    decache verify --full dedup
    h5ls "$(find dedup -name blobs.h5)"

    say "removing leaves nothing"
    quietly remove apt-get purge -y libh5store1 libh5store-dev h5store python3-decache
    ! find / -xdev \( -name '*h5store*' -o -name '*decache*' \) \
        -not -path '/deb/*' -not -path '/var/tmp/try/*' -not -path '/proc/*' | grep .
}

make_source
inside deb "dpkg-dev lintian" build_packages
inside use "gcc libc6-dev binutils pkg-config hdf5-tools python3-sklearn" try_packages
ls -l "$folder"/*.deb
