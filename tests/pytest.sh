#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/python, on the package in the build tree: all but the tests of commands, which are
# another test program (pytest_commands.sh), so that the two can run side by side.
# PYTEST_ADDOPTS may choose some.
set -eu

commands='test_bench.py test_cli*.py test_migrate.py test_repair.py test_tool.py'

case $SANITIZER_CFLAGS in
*=thread* | *,thread*) runtime=libtsan.so ;;
*address*) runtime=libasan.so ;;
*) runtime= ;;
esac
if [ -n "$runtime" ]; then
    # The interpreter was not built with the sanitizer, and keeps what it has until it ends.
    LD_PRELOAD=$($CC -print-file-name="$runtime")
    ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
    export LD_PRELOAD ASAN_OPTIONS
fi

# Tests skip what cannot be imported; that our own package can be is not theirs to doubt.
"$PYTHON" -c 'import decache, os, sys
stage = os.path.realpath(os.environ["top_builddir"] + "/stage/decache")
if os.path.realpath(os.path.dirname(decache.__file__)) != stage:
    sys.exit("the tests would use another decache: " + decache.__file__)'

cd "$top_srcdir"
chosen=
for pattern in $commands; do
    if [ "${PYTEST_PART:-}" = commands ]; then
        chosen="$chosen $(ls tests/python/$pattern)"
    else
        chosen="$chosen --ignore-glob=tests/python/$pattern"
    fi
done
[ "${PYTEST_PART:-}" = commands ] || chosen="$chosen tests/python"

status=0
# shellcheck disable=SC2086
"$PYTHON" -m pytest -p no:cacheprovider $chosen || status=$?
if [ $status = 5 ] && [ -n "${PYTEST_ADDOPTS:-}" ]; then
    exit 77 # what was asked for is in the other program
fi
exit $status
