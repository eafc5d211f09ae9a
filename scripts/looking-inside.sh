#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Makes the pictures of documents/looking-inside.md: runs the page, which makes a cache, and
# photographs its container in H5Web in a browser without a window.  Needs node (18 or newer),
# npm and Chromium (Debian: nodejs npm chromium; or set CHROMIUM to the program); what it takes
# from npm goes into build/looking-inside.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

folder=build/looking-inside
packages="@h5web/app@16.0.1 @h5web/h5wasm@16.0.1 react@18.3.1 react-dom@18.3.1 esbuild@0.28.2
    playwright-core@1.65.1"

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
for program in node npm ${CHROMIUM:-chromium}; do
    command -v "$program" >/dev/null || die "there is no $program (Debian: nodejs npm chromium)"
done
export CHROMIUM

build_all
mkdir -p $folder
if [ "$(cat $folder/.packages 2>/dev/null)" != "$packages" ]; then
    say "installing H5Web into $folder"
    echo '{"private": true}' >$folder/package.json
    # shellcheck disable=SC2086 # words on purpose
    run npm npm --prefix $folder install --save-exact --no-fund --no-audit $packages
    echo "$packages" >$folder/.packages
fi

say "making the page"
cp scripts/looking-inside.jsx $folder/page.jsx
$folder/node_modules/.bin/esbuild $folder/page.jsx --bundle --minify --format=esm --target=es2022 \
    --jsx=automatic --log-level=warning --outfile=$folder/page.js
cat >$folder/index.html <<'END'
<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
<style>body { margin: 0 }</style>
<script type="module" src="page.js"></script>
END

say "making the cache"
rm -rf $folder/run
mkdir $folder/run
top_builddir=$PWD/build H5STORE_TOOL=$PWD/build/src/h5store PYTHONPATH=$PWD/build/stage \
    .venv/bin/python tests/python/_documents.py --in $folder/run documents/looking-inside.md

container=$folder/run/cache/joblib/blobs.h5
result=/items/experiments/$(h5ls -r "$container/items/experiments/analyse" |
    sed -n 's/^\(\/#[^ ]*\/[^ ]*\)  *Group$/analyse\1/p')
for picture in "Inspect $result result" "Display $result/0 array"; do
    read -r view path name <<<"$picture"
    say "documents/looking-inside-$name.png: $view $path"
    node scripts/looking-inside.mjs $folder "$container" "$path" "$view" \
        "documents/looking-inside-$name.png"
done
