#!/bin/sh
# SPDX-License-Identifier: MIT
#
# examples/store.c runs, checks itself, and leaves a container in which "h5store verify"
# finds nothing wrong.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$top_builddir/examples/store" "$work/example.h5"
"$H5STORE_TOOL" verify "$work/example.h5"
