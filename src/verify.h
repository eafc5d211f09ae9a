/* SPDX-License-Identifier: MIT */
/*
 * Checking a container, clause by clause; the contract is h5store/verify.h.
 */
#ifndef HS_VERIFY_H
#define HS_VERIFY_H

#include "container.h"
#include <h5store/verify.h>

int hs_verify(hs_container *container, const h5store_verify_options *options, uint64_t *errors,
              h5store_err *err);

#endif
