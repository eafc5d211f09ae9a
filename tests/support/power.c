/* SPDX-License-Identifier: MIT */
#include "power.h"
#include "digest.h"
#include <check.h>
#include <fcntl.h>
#include <unistd.h>

void
power_change_boot_id(const char *log_path)
{
    int fd = open(log_path, O_RDWR | O_CLOEXEC);
    uint8_t copy[256];
    unsigned changed = 0;

    ck_assert_int_ge(fd, 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pread(fd, copy, sizeof copy, i * 512), sizeof copy);
        if (hs_get_le64(copy + 248) != hs_sum64(copy, 248))
            continue;
        copy[32] ^= 0xff;
        hs_put_le64(copy + 248, hs_sum64(copy, 248));
        ck_assert_int_eq(pwrite(fd, copy, sizeof copy, i * 512), sizeof copy);
        changed++;
    }
    close(fd);
    ck_assert_uint_ge(changed, 1);
}
