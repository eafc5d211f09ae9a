#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Sets everything up and runs all tests: those in C, those of the Python package, the
# examples, and the rules of the source.  Arguments go to ./configure.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# File systems to try, and an h5py that shares the system's libhdf5 with decache.
SYSTEM_PACKAGES+=" bindfs btrfs-progs xfsprogs python3-h5py python3-joblib"

build_all --enable-tests "$@"
say "compiling the tests"
run make-tests make -C build -j"$(nproc)" check TESTS=

say "running all tests (build/*.log as they go)"
status=0
make -C build -j"$(nproc)" check >build/check.log 2>&1 </dev/null || status=$?

# The closing lines of each test, then the number of them.
passed=0 failed=0 skipped=0
while IFS= read -r result; do
    name=${result%.trs}
    case $(sed -n 's/^:test-result: \([A-Z]*\).*/\1/p' "$result") in
    PASS) passed=$((passed + 1)) word=passed ;;
    SKIP) skipped=$((skipped + 1)) word=skipped ;;
    *) failed=$((failed + 1)) word=FAILED ;;
    esac
    say "${name#build/} $word"
    if [ $word = passed ]; then
        tail -n 2 "$name.log" | head -n 1 # the test's own closing line; automake's is the last
    else
        tail -n 60 "$name.log"
    fi
done < <(find build -name '*.trs' | sort)

if [ $status != 0 ] && [ $failed = 0 ]; then
    tail -n 40 build/check.log >&2
fi
say "logs: build/check.log and build/tests/"
echo "$passed passed, $failed failed, $skipped skipped"
[ $status = 0 ] && [ $failed = 0 ] && [ $passed -gt 0 ]
