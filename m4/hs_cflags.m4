# SPDX-License-Identifier: MIT

# HS_CFLAGS(VARIABLE, FLAGS)
# Sets VARIABLE to those of FLAGS that the C compiler takes, and substitutes it.
AC_DEFUN([HS_CFLAGS], [
$1=
hs_saved_cflags=$CFLAGS
for hs_flag in m4_normalize([$2]); do
    AC_MSG_CHECKING([whether $CC takes $hs_flag])
    CFLAGS="$hs_saved_cflags -Werror $hs_flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM()],
        [AC_MSG_RESULT([yes])
         $1="$$1 $hs_flag"],
        [AC_MSG_RESULT([no])])
done
CFLAGS=$hs_saved_cflags
AC_SUBST([$1])
])
