/* SPDX-License-Identifier: MIT */
/*
 * The HDF5 virtual file driver: HDF5 reads and writes through the pager, and gets its
 * space from the space table.  The essay is in vfd.c.
 */
#ifndef HS_VFD_H
#define HS_VFD_H

#include "pager.h"
#include "space.h"
#include <hdf5.h>

/*
 * What a driver file works on; owned by container.c and alive as long as any HDF5 id
 * of the file.
 */
typedef struct hs_vfd_host {
    hs_pager *pager;
    hs_space *space;
    hs_extent raw;       /* handed to HDF5's next allocation of raw data of raw_size bytes */
    uint64_t raw_size;   /* 0: no such allocation is expected */
    uint64_t raw_given;  /* how many bytes of it HDF5 got: what it writes there, we have written */
    bool blank;          /* being created: HDF5 makes a superblock only in a file of no bytes */
    bool closing;        /* a file that has changes: what fails is noted, and HDF5 is not told;
                            it would keep the file half-closed, and crash when the program ends */
    h5store_err failure; /* the first failure inside a callback, of which HDF5 tells nothing */
} hs_vfd_host;

/*
 * A file access list that selects the driver and all that goes with it (close degree,
 * library version bounds, metadata cache size).  Inside HDF5.  HDF5 on failure.
 */
int hs_vfd_access_list(hs_vfd_host *host, hid_t *fapl, h5store_err *err);

/* A file creation list: no free-space managers, no page buffering.  Same conditions. */
int hs_vfd_creation_list(hid_t *fcpl, h5store_err *err);

#endif
