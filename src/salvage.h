/* SPDX-License-Identifier: MIT */
/*
 * Saving what is whole in a damaged container; the contract is h5store/repair.h.
 */
#ifndef HS_SALVAGE_H
#define HS_SALVAGE_H

#include "container.h"
#include <h5store/repair.h>

int hs_salvage(const char *source, hs_container *target, const h5store_salvage_options *options,
               h5store_salvaged *result, h5store_err *err);

#endif
