/* SPDX-License-Identifier: MIT */
/*
 * What opening does beyond reading the log.
 */
#ifndef HS_RECOVER_H
#define HS_RECOVER_H

#include "container.h"

/*
 * After an unclean stop of the machine: check the blobs that the log lists, whose bytes may
 * not have reached the disk, and drop those that are torn with the items that link to them;
 * the container's notice counts them.  In any case: apply a log that a killed process
 * left half-applied, and free what dead processes had reserved.
 */
int hs_recover(hs_container *container, bool unclean, h5store_err *err);

#endif
