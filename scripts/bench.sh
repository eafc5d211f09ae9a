#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Measures decache beside its peers and beside what the machine gives, and compares with the
# targets: tables on standard output; results.json, plots and report.html in build/bench-results.
#
#   scripts/bench.sh            ten minutes at most
#   scripts/bench.sh --quick    a minute or two: sees that everything runs
#   scripts/bench.sh --full     100,000 results; an hour, and 15 GB of disk for a while
#
# Other arguments are those of bench/run.py (--help tells them).  The peers are installed into
# build/bench-venv, with the newest Python that is there: decache 0.1.7 needs 3.12.  Ratios are
# what to look at, and only of a run during which the machine did nothing else.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# Make build/bench-venv with the peers.
setup_peers()
{
    local python="" version venv=build/bench-venv stamp=build/bench-venv/.requirements

    if ! $venv/bin/python -c 'import pip' 2>/dev/null; then
        for version in 3.13 3.12; do
            python=$(find_python $version) && break
        done
        python=${PYTHON:-${python:-.venv/bin/python}}
        say "making $venv with $("$python" --version)"
        rm -rf $venv
        run bench-venv "$python" -m venv $venv
    fi
    if ! cmp -s bench/requirements.txt $stamp; then
        say "installing the peers into $venv"
        run pip-peers $venv/bin/python -m pip install --prefer-binary -r bench/requirements.txt
        cp bench/requirements.txt $stamp
    fi
}

# The original decache, as decache_017: its name is ours.
setup_original()
{
    local site old=build/bench-original

    site=$(build/bench-venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    [ ! -d "$site"/decache_017 ] || return 0
    rm -rf $old
    if build/bench-venv/bin/python -m pip install --no-deps --target $old decache==0.1.7 \
        >build/pip-original.log 2>&1; then
        mv $old/decache "$site"/decache_017
        rm -rf $old
    else
        say "without decache 0.1.7: see build/pip-original.log"
    fi
}

build_all
say "compiling bench/micro"
run make-micro make -C build bench/micro
setup_peers
setup_original
install_decache build/bench-venv
exec build/bench-venv/bin/python bench/run.py --micro build/bench/micro \
    --out build/bench-results "$@"
