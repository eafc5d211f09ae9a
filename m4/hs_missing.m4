# SPDX-License-Identifier: MIT
#
# What is missing is collected and told at the end, all at once.

# HS_MISSING(WHAT, DEBIAN-PACKAGES)
AC_DEFUN([HS_MISSING], [AS_VAR_APPEND([hs_missing], ["
    $1"])
AS_VAR_APPEND([hs_packages], [" $2"])])

# HS_MISSING_TEST(WHAT, DEBIAN-PACKAGES)
# Missing only if --enable-tests was given; "make check" skips and says so otherwise.
AC_DEFUN([HS_MISSING_TEST],
    [AS_IF([test "x$enable_tests" = xyes], [HS_MISSING([$1], [$2])],
        [AC_MSG_WARN([missing: $1 (Debian: $2); "make check" will skip what needs it])])])

AC_DEFUN([HS_REPORT_MISSING], [AS_IF([test -n "$hs_missing"], [AC_MSG_ERROR([missing:
$hs_missing

On Debian and Ubuntu:  apt-get install$hs_packages
Libraries elsewhere:   set PKG_CONFIG_PATH, or the variables that ./configure --help lists])])])
