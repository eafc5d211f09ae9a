# SPDX-License-Identifier: MIT

# HS_CHECK_PYTHON_EXTENSION
#
# Flags for an extension module of $PYTHON that uses NumPy: PYTHON_CPPFLAGS, and
# PYTHON_SUFFIX, the end of its file name.  From 3.11 on the module keeps to the limited API
# of 3.11, so that one build serves all later versions; a free-threaded build has none.
AC_DEFUN([HS_CHECK_PYTHON_EXTENSION], [
PYTHON_CPPFLAGS=
PYTHON_SUFFIX=
python_summary=
AS_IF([test "$PYTHON" = :],
    [HS_MISSING([Python >= 3.10, with NumPy (or use --without-python)],
        [python3-dev python3-numpy])],
    [AC_MSG_CHECKING([for the headers of $PYTHON])
    hs_include=`$PYTHON -c 'import sysconfig; print(sysconfig.get_path("include"))'`
    AS_IF([test -f "$hs_include/Python.h"],
        [AC_MSG_RESULT([$hs_include])],
        [AC_MSG_RESULT([no])
         HS_MISSING([headers of $PYTHON (or use --without-python)], [python3-dev])])

    AC_MSG_CHECKING([for the headers of NumPy])
    hs_numpy=`$PYTHON -c 'import numpy; print(numpy.get_include())' 2>/dev/null`
    AS_IF([test -f "$hs_numpy/numpy/arrayobject.h"],
        [AC_MSG_RESULT([$hs_numpy])],
        [AC_MSG_RESULT([no])
         HS_MISSING([NumPy for $PYTHON, with its headers (from Debian 13 on: python3-numpy-dev)],
            [python3-numpy])])

    # NumPy first: Debian puts a link to its own NumPy, of another version perhaps than the one
    # that $PYTHON has, among the headers of Python.
    PYTHON_CPPFLAGS="-isystem $hs_numpy -isystem $hs_include"
    AC_MSG_CHECKING([for the limited API of Python])
    AS_IF([$PYTHON -c 'import sys, sysconfig
sys.exit(sys.version_info < (3, 11) or bool(sysconfig.get_config_var("Py_GIL_DISABLED")))'],
        [AC_MSG_RESULT([3.11])
         PYTHON_CPPFLAGS="$PYTHON_CPPFLAGS -DPy_LIMITED_API=0x030b0000"
         PYTHON_SUFFIX=.abi3.so],
        [AC_MSG_RESULT([no])
         PYTHON_SUFFIX=`$PYTHON -c 'import sysconfig
print(sysconfig.get_config_var("EXT_SUFFIX"))'`])
    python_summary=", for $PYTHON ($PYTHON_VERSION)"])
AC_SUBST([PYTHON_CPPFLAGS])
AC_SUBST([PYTHON_SUFFIX])
])

# HS_CHECK_PYTHON_TESTS(MODULES)
# Sets have_pytest to yes if $PYTHON has all MODULES.
AC_DEFUN([HS_CHECK_PYTHON_TESTS], [
AC_MSG_CHECKING([for what the tests of the Python package need])
have_pytest=yes
hs_absent=
hs_debian=
for hs_module in $1; do
    AS_IF([$PYTHON -c "import $hs_module" 2>/dev/null], [],
        [have_pytest=no
         hs_absent="${hs_absent:+$hs_absent }$hs_module"
         hs_debian="${hs_debian:+$hs_debian }python3-$hs_module"])
done
AS_IF([test $have_pytest = yes], [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([missing: $hs_absent])
     HS_MISSING_TEST([Python modules for the tests: $hs_absent], [$hs_debian])])
])
