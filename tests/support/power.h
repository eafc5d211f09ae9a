/* SPDX-License-Identifier: MIT */
/*
 * A machine that went down.
 */
#ifndef HS_TEST_POWER_H
#define HS_TEST_POWER_H

/* Make a log one that another run of the machine left: there was a power cut. */
void power_change_boot_id(const char *log_path);

#endif
