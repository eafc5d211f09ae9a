# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts beside it share; they source it.  From a checkout on Debian or Ubuntu with
# git and python3 it makes: the system's packages, .venv with what is to build and test, and
# build/ with everything configured and compiled.  Each step looks first whether it was done
# already, so that running it again costs a second.  Logs are in build/*.log.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build
export LC_ALL=C.UTF-8

SYSTEM_PACKAGES="build-essential autoconf automake libtool pkg-config check hdf5-tools
    libhdf5-dev libssl-dev libxxhash-dev libdeflate-dev python3-dev python3-venv"

say()
{
    printf '==> %s\n' "$*"
}

die()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# run NAME COMMAND...: with everything it prints in build/NAME.log, of which the end is shown
# if it fails.
run()
{
    local log=build/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null && return
    printf -- '---- the last lines of %s ----\n' "$log" >&2
    tail -n 40 "$log" >&2
    die "failed: $* (all of it is in $PWD/$log)"
}

# Install those of SYSTEM_PACKAGES that are missing.
setup_system()
{
    local package missing="" root=""

    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "no apt-get here: ./configure will tell what is missing"
        return
    fi
    for package in $SYSTEM_PACKAGES; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=" $package"
    done
    [ -n "$missing" ] || return 0

    if [ "$(id -u)" != 0 ]; then
        root=sudo
        command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } ||
            die "packages are missing; install them as root, then run this again:
    apt-get update && apt-get install -y$missing"
        sudo -v || die "sudo does not allow it; as root: apt-get install -y$missing"
    fi
    say "installing with apt-get:$missing"
    run apt-update $root apt-get update
    # shellcheck disable=SC2086 # words on purpose
    run apt-install $root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing
}

# Whether an interpreter can build extensions and virtual environments.
usable_python()
{
    "$1" - 2>/dev/null <<'END'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(sys.version_info < (3, 10) or not os.path.exists(header))
END
}

# The interpreter of a version: on the path, or one that pyenv keeps.
find_python()
{
    local candidate

    for candidate in "$(command -v "python$1" || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        [ -x "$candidate" ] && usable_python "$candidate" && { echo "$candidate"; return; }
    done
    return 1
}

# Make .venv, from $PYTHON if that is set, else the system's Python or the first that will do.
setup_python()
{
    local python stamp=.venv/.requirements requirements=scripts/requirements-dev.txt

    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        for python in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11 \
            python3.10}; do
            usable_python "$python" && break
            python=
        done
        [ -n "$python" ] || die "no Python >= 3.10 with its headers and venv: set PYTHON to one,
    or on Debian and Ubuntu: apt-get install python3-dev python3-venv"
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        run venv "$python" -m venv .venv
    fi
    if ! cmp -s "$requirements" "$stamp"; then
        say "installing Python packages into .venv"
        run pip-requirements .venv/bin/python -m pip install --prefer-binary -r "$requirements"
        cp "$requirements" "$stamp"
    fi
}

# build_all [CONFIGURE-OPTION...]: configure and compile in build/.  Without options an
# existing configuration is kept.
build_all()
{
    local wanted=build/.options

    if [ ! -x configure ] || [ ! -f Makefile.in ]; then
        say "making ./configure"
        run bootstrap ./bootstrap
    fi
    if [ ! -f build/Makefile ] || { [ $# -gt 0 ] && [ "$(cat $wanted)" != "$*" ]; }; then
        say "configuring in build/"
        run configure env -C build ../configure PYTHON="$PWD/.venv/bin/python" "$@"
        echo "$*" >$wanted
    fi
    say "compiling in build/"
    run make make -C build -j"$(nproc)"
}

# install_decache VENV: "pip install ." unless nothing that it takes has changed since the last
# time.
install_decache()
{
    local venv=$1 stamp=$1/.decache

    if [ ! -e "$stamp" ] || [ -n "$(find configure.ac Makefile.am pyproject.toml setup.py h5store \
        src python -newer "$stamp" -type f ! -path '*/__pycache__/*' -print -quit)" ]; then
        say "installing decache into $venv"
        touch build/.install-begins
        rm -rf build/pip
        run pip-install "$venv"/bin/python -m pip install --no-build-isolation --no-deps \
            --force-reinstall .
        mv build/.install-begins "$stamp"
    fi
}

setup_system
setup_python
