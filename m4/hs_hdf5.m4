# SPDX-License-Identifier: MIT

# HS_CHECK_HDF5(VERSION)
#
# Finds HDF5 >= VERSION: what HDF5_CFLAGS and HDF5_LIBS say, else the first of pkg-config's
# hdf5 (also the user's own, through PKG_CONFIG_PATH), pkg-config's hdf5-serial (Debian's,
# where hdf5 may be the one for MPI), and the wrapper compiler h5cc that can be used.
#
# Substitutes HDF5_CFLAGS, HDF5_LIBS and HDF5_VERSION; sets hdf5_threads to "thread-safe" or
# "not thread-safe".
AC_DEFUN([HS_CHECK_HDF5], [
AC_ARG_VAR([HDF5_CFLAGS], [C compiler flags for HDF5, instead of those found])
AC_ARG_VAR([HDF5_LIBS], [linker flags for HDF5, instead of those found])
AC_MSG_CHECKING([for HDF5 >= $1])
HDF5_VERSION=
hdf5_threads=unknown
hs_saved_cppflags=$CPPFLAGS
hs_saved_libs=$LIBS
AS_IF([test -n "$HDF5_LIBS"], [hs_sources=user], [hs_sources="hdf5 hdf5-serial h5cc"])
for hs_source in $hs_sources; do
    AS_CASE([$hs_source],
        [user], [],
        [h5cc], [hs_show=`h5cc -show -shlib 2>/dev/null` || continue
            HDF5_CFLAGS= HDF5_LIBS=
            for hs_word in $hs_show; do
                AS_CASE([$hs_word],
                    [-I*|-D*], [HDF5_CFLAGS="$HDF5_CFLAGS $hs_word"],
                    [-L*|-l*|*.a], [HDF5_LIBS="$HDF5_LIBS $hs_word"])
            done],
        [HDF5_CFLAGS=`$PKG_CONFIG --cflags $hs_source 2>/dev/null` || continue
         HDF5_LIBS=`$PKG_CONFIG --libs $hs_source`])
    CPPFLAGS="$hs_saved_cppflags $HDF5_CFLAGS"
    LIBS="$HDF5_LIBS $hs_saved_libs"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[
#include <hdf5.h>
#if !H5_VERSION_GE(]m4_translit([$1], [.], [,])[)
#error "too old"
#endif
]], [[return H5open() < 0;]])], [
        AC_COMPUTE_INT([hs_major], [H5_VERS_MAJOR], [#include <hdf5.h>])
        AC_COMPUTE_INT([hs_minor], [H5_VERS_MINOR], [#include <hdf5.h>])
        AC_COMPUTE_INT([hs_release], [H5_VERS_RELEASE], [#include <hdf5.h>])
        HDF5_VERSION=$hs_major.$hs_minor.$hs_release
        AC_PREPROC_IFELSE([AC_LANG_SOURCE([[
#include <hdf5.h>
#ifndef H5_HAVE_THREADSAFE
#error "no"
#endif
]])], [hdf5_threads=thread-safe], [hdf5_threads="not thread-safe"])
        break])
done
CPPFLAGS=$hs_saved_cppflags
LIBS=$hs_saved_libs
AS_IF([test -n "$HDF5_VERSION"],
    [AC_MSG_RESULT([$HDF5_VERSION, $hdf5_threads])],
    [AC_MSG_RESULT([no])
     HS_MISSING([HDF5 >= $1, with its headers], [libhdf5-dev])])
AC_SUBST([HDF5_VERSION])
])
