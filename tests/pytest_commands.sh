#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tests of commands, on the package in the build tree; see pytest.sh.
set -eu

PYTEST_PART=commands
export PYTEST_PART
exec "$top_srcdir/tests/pytest.sh"
