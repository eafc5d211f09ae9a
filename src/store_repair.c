/* SPDX-License-Identifier: MIT */
/*
 * The public face of salvage.c: arguments, and that source and target are two files.
 */
#include "os.h"
#include "salvage.h"
#include "store_impl.h"
#include <math.h>

static int
repair_check_source(const char *source, h5store *target, h5store_err *err)
{
    HS_CLEANUP(hs_os_closep) int fd = -1;
    struct stat there, here;
    int rc = hs_os_open(source, O_RDONLY | O_NONBLOCK, &fd, err);

    if (rc == H5STORE_OK)
        rc = hs_os_fstat(fd, source, &there, err);
    if (rc == H5STORE_OK)
        rc = hs_os_fstat(hs_container_fd(target->container), h5store_path(target), &here, err);
    if (rc == H5STORE_OK && there.st_dev == here.st_dev && there.st_ino == here.st_ino)
        rc = hs_fail(err, H5STORE_E_INVALID, 0,
                     "'%s' cannot be saved into itself; give the path of a new container", source);
    return rc;
}

int
h5store_salvage(const char *source, h5store *target, const h5store_salvage_options *options,
                h5store_salvaged *result, h5store_err *err)
{
    h5store_salvage_options plain = {0};
    h5store_salvaged ignored;
    h5store_options defaults;
    int rc = hs_store_need(source != NULL, "h5store_salvage", err);

    h5store_options_init(&defaults);
    plain.timeout = defaults.timeout;
    if (options == NULL)
        options = &plain;
    if (rc == H5STORE_OK &&
        (!isfinite(options->timeout) || options->timeout < 0 || options->timeout > 1e9))
        rc = hs_fail(err, H5STORE_E_INVALID, 0, "the timeout is %g seconds; give 0 to 1e9",
                     options->timeout);
    if (rc == H5STORE_OK)
        rc = hs_store_enter(target, err);
    if (rc < 0)
        return rc;
    rc = repair_check_source(source, target, err);
    if (rc == H5STORE_OK)
        rc = hs_salvage(source, target->container, options, result != NULL ? result : &ignored,
                        err);
    hs_store_leave(target);
    return rc;
}
