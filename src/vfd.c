/* SPDX-License-Identifier: MIT */
/*
 * The driver.
 *
 * WHAT HDF5 SEES.  A file of EOA bytes that is always long enough, whose reads and writes
 * succeed at once.  What it writes inside a transaction is held in the pager's pending
 * pages; what it writes outside (it rewrites the superblock when a file that could have
 * been written is closed) is dropped.  So HDF5 can never change the file itself; only
 * container.c can, by applying the log.
 *
 * WHAT GOES THROUGH HERE.  Metadata only.  Array bytes are written and read by extent_bytes.c,
 * past HDF5.  The datasets are made with early allocation and fill time "never", so that
 * HDF5 asks once for the space of all chunks and writes nothing: `raw` of the host is then
 * the extent where the bytes already are.  Compressed chunks HDF5 places one by one, and
 * writes: that write is dropped.  Large heap objects arrive as H5FD_MEM_DRAW too;
 * they are not of the announced size, and are metadata to us, like everything else.
 *
 * RULES LEARNT FROM HDF5 (1.10.8 to 2.x):
 *  - `lock` and `unlock` stay NULL: with them HDF5 would write "open for write" into the
 *    superblock, and a killed process would leave a file that needs h5clear.
 *  - Only H5FD_FEAT_DEFAULT_VFD_COMPATIBLE is announced, so that HDF5 neither aggregates
 *    nor accumulates: its allocations come one by one, ours are arenas (space.c).
 *  - `cmp` tells every open apart, else HDF5 would hand out its shared file object with a
 *    stale cache when a container is reopened after another process committed.
 *  - The first allocation, of type H5FD_MEM_SUPER, must be at 0.
 *  - `free` ignores: HDF5 calls it for blocks at the end only.  What it does not reuse is
 *    waste until a repack.
 *  - `set_eoa` ignores as well; the space table knows the end.  HDF5 sets it while it
 *    finds the superblock, with guesses.
 *  - A block that ends at the end of the file is made longer in place, by `set_eoa`: HDF5 would
 *    write over what is placed behind it next.  So only the superblock is told the end, and all
 *    else one byte more, where no block ends.
 *
 * Called by HDF5, inside hs_h5_enter and with the container's mutex held.
 */
#include "vfd.h"
#include "h5util.h"
#include "vfd_compat.h"
#include <stdatomic.h>

#define VFD_TEXT_OF(number) #number
#define VFD_TEXT(macro) VFD_TEXT_OF(macro)
#define VFD_METADATA_CACHE ((size_t)64 * 1024)

typedef struct vfd_file {
    H5FD_t pub; /* must be first: HDF5 casts */
    hs_vfd_host *host;
} vfd_file;

static _Atomic hid_t vfd_driver = H5I_INVALID_HID;

static void
vfd_note(vfd_file *file, const h5store_err *err)
{
    if (file->host->failure.code == H5STORE_OK)
        file->host->failure = *err;
}

static H5FD_t *
vfd_open(const char *name HS_UNUSED, unsigned flags HS_UNUSED, hid_t fapl,
         haddr_t maxaddr HS_UNUSED)
{
    hs_vfd_host *const *host = H5Pget_driver_info(fapl);
    vfd_file *file;

    if (host == NULL)
        return NULL;
    file = calloc(1, sizeof *file);
    if (file == NULL) {
        (void)hs_fail_nomem(&(*host)->failure, sizeof *file, "an HDF5 file");
        return NULL;
    }
    file->host = *host;
    return &file->pub;
}

static herr_t
vfd_close(H5FD_t *pub)
{
    free(pub);
    return 0;
}

static int
vfd_compare(const H5FD_t *a, const H5FD_t *b)
{
    return a < b ? -1 : a > b;
}

static herr_t
vfd_query(const H5FD_t *pub HS_UNUSED, unsigned long *flags)
{
    *flags = H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t
vfd_alloc(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl HS_UNUSED, hsize_t size)
{
    vfd_file *file = (vfd_file *)pub;
    hs_vfd_host *host = file->host;
    h5store_err err;
    uint64_t address, end;

    if (type == H5FD_MEM_SUPER) {
        host->blank = false;
        return 0;
    }
    if (type == H5FD_MEM_DRAW && host->raw_size != 0 && size == host->raw_size) {
        host->raw_size = 0;
        host->raw_given = size;
        return host->raw.address;
    }
    if (!host->pager->in_transaction)
        return HADDR_UNDEF;
    if (hs_space_metadata(host->space, host->pager, size, &address, &err) == H5STORE_OK)
        return address;
    vfd_note(file, &err);
    if (!host->closing || !hs_add(host->space->eoa, size, &end) || end > INT64_MAX)
        return HADDR_UNDEF;
    address = host->space->eoa; /* the space table is forgotten with the rest */
    host->space->eoa = end;
    return address;
}

static herr_t
vfd_free(H5FD_t *pub HS_UNUSED, H5FD_mem_t type HS_UNUSED, hid_t dxpl HS_UNUSED,
         haddr_t address HS_UNUSED, hsize_t size HS_UNUSED)
{
    return 0;
}

/* Where the file ends for all but the superblock: no block does. */
static uint64_t
vfd_end(const hs_vfd_host *host)
{
    return host->space->eoa + 1;
}

static haddr_t
vfd_get_eoa(const H5FD_t *pub, H5FD_mem_t type)
{
    const hs_vfd_host *host = ((const vfd_file *)pub)->host;

    if (host->blank)
        return 0;
    return type == H5FD_MEM_SUPER ? host->space->eoa : vfd_end(host);
}

static herr_t
vfd_set_eoa(H5FD_t *pub HS_UNUSED, H5FD_mem_t type HS_UNUSED, haddr_t address HS_UNUSED)
{
    return 0;
}

/* HDF5 compares this with the end that the superblock states, to notice a file that was cut
 * short; container_open.c does that.  The superblock in the pages may state a longer file than
 * there is: giving space back does not touch it. */
static haddr_t
vfd_get_eof(const H5FD_t *pub, H5FD_mem_t type HS_UNUSED)
{
    return ((const vfd_file *)pub)->host->blank ? 0 : INT64_MAX;
}

static herr_t
vfd_get_handle(H5FD_t *pub, hid_t fapl HS_UNUSED, void **handle)
{
    *handle = &((vfd_file *)pub)->host->pager->fd;
    return 0;
}

static herr_t
vfd_read(H5FD_t *pub, H5FD_mem_t type HS_UNUSED, hid_t dxpl HS_UNUSED, haddr_t address, size_t size,
         void *buffer)
{
    vfd_file *file = (vfd_file *)pub;
    uint64_t end = vfd_end(file->host); /* HDF5 reads that far where it guesses a length */
    h5store_err err;

    if (address > end || size > end - address)
        return -1; /* a damaged file points there */
    if (hs_pager_read(file->host->pager, address, buffer, size, &err) < 0) {
        vfd_note(file, &err);
        return -1;
    }
    return 0;
}

static herr_t
vfd_write(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl HS_UNUSED, haddr_t address, size_t size,
          const void *buffer)
{
    vfd_file *file = (vfd_file *)pub;
    h5store_err err;

    if (address > file->host->space->eoa || size > file->host->space->eoa - address)
        return -1;
    if (type == H5FD_MEM_DRAW && file->host->raw_given > 0 && address == file->host->raw.address &&
        size == file->host->raw_given)
        return 0; /* a compressed chunk that HDF5 was only to take note of */
    if (hs_pager_write(file->host->pager, address, buffer, size, &err) == H5STORE_OK)
        return 0;
    vfd_note(file, &err);
    return file->host->closing ? 0 : -1;
}

static herr_t
vfd_flush(H5FD_t *pub HS_UNUSED, hid_t dxpl HS_UNUSED, hbool_t closing HS_UNUSED)
{
    return 0;
}

static const H5FD_class_t vfd_class = {
    .name = "h5store",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(hs_vfd_host *),
    .open = vfd_open,
    .close = vfd_close,
    .cmp = vfd_compare,
    .query = vfd_query,
    .alloc = vfd_alloc,
    .free = vfd_free,
    .get_eoa = vfd_get_eoa,
    .set_eoa = vfd_set_eoa,
    .get_eof = vfd_get_eof,
    .get_handle = vfd_get_handle,
    .read = vfd_read,
    .write = vfd_write,
    .flush = vfd_flush,
    .truncate = vfd_flush,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
    HS_VFD_CLASS_NEW,
};

/* The driver's id; registered again when the program has closed the HDF5 library.  Threads that
 * come here at the same time may register it twice, which does no harm. */
static hid_t
vfd_id(void)
{
    hid_t id = atomic_load(&vfd_driver);

    if (id < 0 || H5Iget_type(id) != H5I_VFL) {
        id = H5FDregister(&vfd_class);
        atomic_store(&vfd_driver, id);
    }
    return id;
}

/* The layout of the driver's class is that of the headers. */
static int
vfd_check_version(h5store_err *err)
{
    unsigned major = 0, minor = 0, release = 0;

    (void)H5get_libversion(&major, &minor, &release);
    if (major == H5_VERS_MAJOR && minor == H5_VERS_MINOR)
        return H5STORE_OK;
    return hs_fail(
        err, H5STORE_E_UNSUPPORTED, 0,
        "h5store was built with HDF5 " VFD_TEXT(H5_VERS_MAJOR) "." VFD_TEXT(
            H5_VERS_MINOR) " and finds HDF5 %u.%u.%u at run time; build it anew with that one",
        major, minor, release);
}

int
hs_vfd_access_list(hs_vfd_host *host, hid_t *fapl, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    H5AC_cache_config_t cache = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    hid_t driver;
    int rc = vfd_check_version(err);

    if (rc < 0)
        return rc;
    driver = vfd_id();
    if (list < 0 || driver < 0 || H5Pset_driver(list, driver, &host) < 0 ||
        H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) < 0 ||
        H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 ||
        H5Pget_mdc_config(list, &cache) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot set up the HDF5 file driver");
    /* A flush looks at every cache entry, wherever it lies in memory, and there are thousands of
     * them in a megabyte: with that, commits of 64 KiB took 2.3 times as long. */
    cache.set_initial_size = 1;
    cache.initial_size = VFD_METADATA_CACHE;
    cache.max_size = VFD_METADATA_CACHE;
    cache.min_size = VFD_METADATA_CACHE;
    if (H5Pset_mdc_config(list, &cache) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot set up the HDF5 metadata cache");
    *fapl = list;
    list = H5I_INVALID_HID;
    return H5STORE_OK;
}

int
hs_vfd_creation_list(hid_t *fcpl, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t list = H5Pcreate(H5P_FILE_CREATE);

    if (list < 0 || H5Pset_file_space_strategy(list, H5F_FSPACE_STRATEGY_NONE, false, 1) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot set up the creation of the container");
    *fcpl = list;
    list = H5I_INVALID_HID;
    return H5STORE_OK;
}
