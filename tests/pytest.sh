#!/bin/sh
# SPDX-License-Identifier: MIT
#
# All of tests/python, on the package in the build tree; PYTEST_ADDOPTS may choose some.
set -eu

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
exec "$PYTHON" -m pytest -p no:cacheprovider tests/python
