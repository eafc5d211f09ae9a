/* SPDX-License-Identifier: MIT */
/*
 * Creating a container, and the empty tree that each one begins with.
 *
 * The file is built under a temporary name, synced, and given its name with link(2), which fails
 * if somebody else was first.  So there is no moment when half a container is at the path.
 */
#include "container_impl.h"
#include "h5util.h"
#include "superblock.h"
#include <stdio.h>

static const char container_readme[] =
    "This is a container of h5store: arrays and cached results, each array stored once.\n"
    "/blobs/<2 hex>/<64 hex> are the arrays, named by the SHA-256 of their content.\n"
    "/items/<module>/<function>/#<2 hex>/<arguments> are the results; their members 0, 1, 2 ...\n"
    "are links to arrays.  /kept has links to arrays that were stored by themselves.\n"
    "Read it with any HDF5 program.  To change it use h5store or decache: another program\n"
    "that writes would bypass the log beside it (FORMAT.md and LOCKING.md say more).\n"
    "To look for single arrays, h5store ls and h5store cat are quicker.\n";

/*
 * The groups that are always there, and how long the names are of what goes into them.  HDF5 makes
 * a group's header large enough for four short names, and adds a block for each longer one.  So it
 * is told how many links of which length to expect.  Groups that are made on the way to a member
 * take these numbers over from their parents.
 */
static const struct container_group {
    const char *path;
    unsigned name_length;
} container_groups[] = {{"/blobs", 64}, {"/items", 32}, {"/kept", 64}};

static void
container_format_id(const uint8_t id[16], char text[37])
{
    static const int dashes[] = {4, 6, 8, 10};
    char *p = text;

    for (int i = 0; i < 16; i++) {
        for (size_t d = 0; d < sizeof dashes / sizeof *dashes; d++)
            if (dashes[d] == i)
                *p++ = '-';
        p += snprintf(p, 3, "%02x", id[i]);
    }
}

/* It says itself where it is: who salvages what is left may have lost the root. */
static int
container_create_group(hs_container *c, hid_t file, const struct container_group *made,
                       h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t list = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    int rc = hs_h5_group_list(&list, err);

    if (rc < 0)
        return rc;
    if (H5Pset_est_link_info(list, HS_LINKS_EXPECTED, made->name_length) >= 0)
        group = H5Gcreate2(file, made->path, H5P_DEFAULT, list, H5P_DEFAULT);
    if (group < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create group '%s'",
                                      made->path);
    return hs_h5_write_text(group, "path", made->path, err);
}

/* An empty tree, open; the superblock states it as the container's. */
int
container_create_tree(hs_container *c, hid_t *file, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t fapl = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_plist) hid_t fcpl = H5I_INVALID_HID;
    char id[37];
    uint64_t version = c->stamp.format_version;
    int rc;

    rc = hs_vfd_access_list(&c->host, &fapl, err);
    if (rc == H5STORE_OK)
        rc = hs_vfd_creation_list(&fcpl, err);
    if (rc < 0)
        return rc;
    c->host.blank = true;
    *file = H5Fcreate(c->path, H5F_ACC_TRUNC, fcpl, fapl);
    c->host.blank = false;
    if (*file < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create container '%s'",
                                      c->path);
    container_format_id(c->stamp.container_id, id);
    rc = hs_h5_write_text(*file, "README", container_readme, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_text(*file, "format", "h5store", err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_u64(*file, "format_version", &version, 1, true, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_text(*file, "container_id", id, err);
    for (size_t i = 0;
         rc == H5STORE_OK && i < sizeof container_groups / sizeof(struct container_group); i++)
        rc = container_create_group(c, *file, &container_groups[i], err);
    return rc;
}

/* What HDF5 puts into a new container.  Inside HDF5, in a transaction. */
static int
container_fill(hs_container *c, h5store_err *err)
{
    hid_t file = H5I_INVALID_HID;
    int rc = container_create_tree(c, &file, err);

    /* Closing flushes into the pending pages, of which the file is made. */
    c->host.closing = true;
    if (file >= 0 && (H5Fclose(file) < 0 || c->host.failure.code != H5STORE_OK) && rc == H5STORE_OK)
        rc = hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot complete container '%s'",
                                    c->path);
    c->host.closing = false;
    return rc;
}

static int
container_write_pages(hs_container *c, int fd, const char *name, h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_page **pages = NULL;
    uint8_t superblock[HS_SUPERBLOCK_SIZE];
    int rc = hs_overlay_sorted(&c->pager.pending, &pages, err);

    if (rc == H5STORE_OK)
        rc = hs_os_reserve(fd, name, 0, c->space.eoa, err);
    for (size_t i = 0; rc == H5STORE_OK && i < c->pager.pending.count; i++)
        rc = hs_os_pwrite(fd, name, pages[i]->bytes, HS_PAGE_SIZE, pages[i]->number * HS_PAGE_SIZE,
                          err);
    if (rc == H5STORE_OK)
        rc = hs_os_truncate(fd, name, c->space.eoa, err);
    if (rc < 0)
        return rc;
    memcpy(superblock, pages[0]->bytes, sizeof superblock);
    hs_superblock_set_eoa(superblock, c->space.eoa);
    rc = hs_os_pwrite(fd, name, superblock, sizeof superblock, 0, err);
    if (rc == H5STORE_OK)
        rc = hs_os_datasync(fd, name, err);
    return rc;
}

/*
 * WRITE held, and no file at the path a moment ago.  The pager reads an empty temporary
 * file meanwhile, so that nothing that exists can shine through.
 */
int
container_create_file(hs_container *c, h5store_err *err)
{
    HS_CLEANUP(hs_os_closep) int fd = -1;
    HS_CLEANUP(hs_freep) char *name = NULL;
    uint8_t nonce[16];
    bool taken;
    int rc;

    rc = hs_os_random(c->stamp.container_id, err);
    if (rc == H5STORE_OK)
        rc = hs_os_random(nonce, err);
    if (rc < 0)
        return rc;
    name = malloc(strlen(c->path) + 32);
    if (name == NULL)
        return hs_fail_nomem(err, strlen(c->path) + 32, "a file name");
    sprintf(name, "%s.new-%08x", c->path, hs_get_le32(nonce));
    rc = hs_os_open(name, O_RDWR | O_CREAT | O_EXCL, &fd, err);
    if (rc < 0)
        return rc;
    c->stamp.format_version = 1;
    c->pager.fd = fd;
    c->pager.in_transaction = true;
    rc = hs_space_init(&c->space, err);
    if (rc == H5STORE_OK)
        rc = hs_stamp_write(&c->pager, &c->stamp, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_need_memory(err);
    if (rc == H5STORE_OK) {
        hs_h5_enter();
        rc = container_fill(c, err);
        hs_h5_leave();
    }
    if (rc == H5STORE_OK)
        rc = hs_space_save(&c->space, &c->pager, 0, err);
    if (rc == H5STORE_OK)
        rc = container_write_pages(c, fd, name, err);
    c->pager.in_transaction = false;
    c->pager.fd = -1;
    hs_overlay_clear(&c->pager.pending);
    hs_space_forget(&c->space);
    if (rc == H5STORE_OK)
        rc = hs_os_publish(name, c->path, &taken, err);
    if (rc == H5STORE_OK)
        rc = hs_os_sync_parent(c->path, err);
    if (rc < 0)
        (void)hs_os_unlink(name, NULL);
    return rc;
}
