#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The library as others meet it: "make install" into an empty folder, then only what lies
# there and pkg-config.  Run by "make check", which sets the variables used here.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
here=$top_srcdir/tests/consumer
strict="-Wall -Wextra -Werror -pedantic"

"$MAKE" -C "$top_builddir" install DESTDIR="$root" >"$work/install.log" 2>&1 ||
    { cat "$work/install.log"; exit 1; }

PKG_CONFIG_PATH=$root$libdir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
PKG_CONFIG_SYSROOT_DIR=$root
PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
LD_LIBRARY_PATH=$root$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_ALLOW_SYSTEM_CFLAGS \
    PKG_CONFIG_ALLOW_SYSTEM_LIBS LD_LIBRARY_PATH
cflags=$("$PKG_CONFIG" --cflags h5store)
libs=$("$PKG_CONFIG" --libs h5store)
include=$("$PKG_CONFIG" --variable=includedir h5store)
include=$root${include#"$root"}

echo "each header alone, as C11"
count=0
for header in "$include"/h5store/*.h; do
    name=h5store/${header##*/}
    printf '#include <%s>\n#include <%s>\nextern int used;\n' "$name" "$name" >"$work/alone.c"
    $CC -std=c11 $strict $cflags -fsyntax-only "$work/alone.c"
    count=$((count + 1))
done
test "$count" -ge 10 || { echo "only $count headers were installed"; exit 1; }

echo "the headers without the library"
$CC -std=c11 $strict -Wmissing-prototypes $cflags -c "$here/header_only.c" -o "$work/header.o"

echo "a program in C"
$CC -std=c11 $strict $SANITIZER_CFLAGS $cflags "$here/link.c" $libs -o "$work/link"
"$work/link" "$work/container.h5"

if command -v ${CXX%% *} >/dev/null; then
    echo "a program in C++"
    $CXX -std=c++11 $strict $SANITIZER_CFLAGS $cflags "$here/consumer.cc" $libs -o "$work/cc"
    "$work/cc"
else
    echo "no C++ compiler: the C++ program was left out"
fi

echo "the command and its page"
"$root$bindir/h5store" ls "$work/container.h5"
"$root$bindir/h5store" --version
test -s "$root$mandir/man1/h5store.1"

echo "$count headers, library, command and page work where they were installed"
