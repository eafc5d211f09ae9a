/* SPDX-License-Identifier: MIT */
/*
 * The two halves of the kill torture: kill.c for h5store, kill_stock.c for plain HDF5.
 */
#ifndef KILL_H
#define KILL_H

#include "../support/scratch.h"
#include "../support/witness.h"

int kill_stock(uint64_t kills, uint64_t seed, bool latest);

#endif
