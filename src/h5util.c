/* SPDX-License-Identifier: MIT */
/*
 * See h5util.h.
 *
 * THE DOOR.  A thread-safe HDF5 has a lock of its own, so that any number of threads may go in
 * at once; into one that is not only one may.  A mutex of ours round a thread-safe HDF5 would
 * be worse than useless where it is shared with others, h5py say: a thread that is inside HDF5,
 * in a callback that uses a cache (h5py's visititems), would wait for the mutex, and who has
 * the mutex would wait for HDF5's lock.
 *
 * FORKS.  A fork while another thread is inside HDF5 would leave the child with a locked and
 * torn HDF5, so the fork waits until nobody is inside, and nobody goes in meanwhile.  It waits
 * for a while only, for the same reason; a child that does not use HDF5 is safe in any case.
 *
 * The door and the driver's id (vfd.c) are the library's only mutable globals.
 */
#include "h5util.h"
#include "ohdr_make.h"
#include "os.h"
#include "vfd_compat.h"
#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#define H5_FORK_PATIENCE UINT64_C(10000000000) /* nanoseconds */

static struct {
    pthread_mutex_t mutex; /* guards what follows; nothing is waited for with it */
    pthread_cond_t changed;
    unsigned inside; /* threads */
    bool shut;       /* by a fork that waits */
} h5_door = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static pthread_once_t h5_once = PTHREAD_ONCE_INIT;

/* What the program had set, of a thread that is inside. */
static _Thread_local H5E_auto2_t h5_saved_function;
static _Thread_local void *h5_saved_data;

static void
h5_before_fork(void)
{
    uint64_t deadline = hs_os_now() + H5_FORK_PATIENCE;
    struct timespec until = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};

    pthread_mutex_lock(&h5_door.mutex);
    h5_door.shut = true;
    while (h5_door.inside > 0 &&
           pthread_cond_clockwait(&h5_door.changed, &h5_door.mutex, CLOCK_MONOTONIC, &until) == 0) {
    }
}

static void
h5_after_fork_in_parent(void)
{
    h5_door.shut = false;
    pthread_cond_broadcast(&h5_door.changed);
    pthread_mutex_unlock(&h5_door.mutex);
}

static void
h5_after_fork_in_child(void)
{
    static const pthread_cond_t nobody_waits = PTHREAD_COND_INITIALIZER;

    h5_door.changed = nobody_waits;
    h5_door.inside = 0;
    h5_door.shut = false;
    pthread_mutex_unlock(&h5_door.mutex);
}

static void
h5_watch_forks(void)
{
    /* Without the handlers only a fork in the midst of an HDF5 call is unsafe. */
    (void)pthread_atfork(h5_before_fork, h5_after_fork_in_parent, h5_after_fork_in_child);
}

/* Asked of HDF5 once, and more than once if threads come at the same time: waiting for one
 * another here would be the mutex again. */
bool
hs_h5_is_thread_safe(void)
{
    static atomic_int answer = -1;
    int has = atomic_load_explicit(&answer, memory_order_relaxed);

    if (has < 0) {
        hbool_t safe = false;

        has = H5is_library_threadsafe(&safe) >= 0 && safe;
        atomic_store_explicit(&answer, has, memory_order_relaxed);
    }
    return has;
}

void
hs_h5_enter(void)
{
    bool alone = !hs_h5_is_thread_safe();

    pthread_once(&h5_once, h5_watch_forks);
    pthread_mutex_lock(&h5_door.mutex);
    while (h5_door.shut || (alone && h5_door.inside > 0))
        pthread_cond_wait(&h5_door.changed, &h5_door.mutex);
    h5_door.inside++;
    pthread_mutex_unlock(&h5_door.mutex);
    if (H5Eget_auto2(H5E_DEFAULT, &h5_saved_function, &h5_saved_data) < 0)
        h5_saved_function = NULL;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void
hs_h5_leave(void)
{
    (void)H5Eclear2(H5E_DEFAULT);
    (void)H5Eset_auto2(H5E_DEFAULT, h5_saved_function, h5_saved_data);
    pthread_mutex_lock(&h5_door.mutex);
    if (--h5_door.inside == 0)
        pthread_cond_broadcast(&h5_door.changed);
    pthread_mutex_unlock(&h5_door.mutex);
}

/* Opening a file takes 600 KiB at once for the table of its cache. */
#define H5_HEADROOM ((size_t)1 << 20)

int
hs_h5_need_memory(h5store_err *err)
{
    void *volatile headroom = malloc(H5_HEADROOM); /* volatile: or the pair is left out */

    if (headroom == NULL)
        return hs_fail_nomem(err, H5_HEADROOM, "HDF5");
    free(headroom);
    return H5STORE_OK;
}

struct h5_story {
    char inner[160];
    char outer[160];
};

static herr_t
h5_listen(unsigned n, const H5E_error2_t *entry, void *data)
{
    struct h5_story *story = data;
    char *place = n == 0 ? story->outer : story->inner;

    if (entry->desc != NULL)
        snprintf(place, sizeof story->inner, "%s", entry->desc);
    return 0;
}

int
hs_h5_fail(h5store_err *err, enum h5store_code code, const char *format, ...)
{
    struct h5_story story = {{0}, {0}};
    char what[H5STORE_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, h5_listen, &story);
    (void)H5Eclear2(H5E_DEFAULT);
    if (story.outer[0] == '\0')
        return hs_fail(err, code, 0, "%s", what);
    if (story.inner[0] == '\0')
        return hs_fail(err, code, 0, "%s; HDF5 says: %s", what, story.outer);
    return hs_fail(err, code, 0, "%s; HDF5 says: %s (%s)", what, story.outer, story.inner);
}

#define H5_CLOSER(name, call) \
    void hs_h5_close_##name(hid_t *id) \
    { \
        if (*id >= 0) \
            (void)call(*id); \
        *id = H5I_INVALID_HID; \
    }

H5_CLOSER(dataset, H5Dclose)
H5_CLOSER(group, H5Gclose)
H5_CLOSER(space, H5Sclose)
H5_CLOSER(type, H5Tclose)
H5_CLOSER(attribute, H5Aclose)
H5_CLOSER(plist, H5Pclose)

/* Create an attribute, in place of one of that name, and write it. */
static int
h5_write_attribute(hid_t object, const char *name, hid_t type, hid_t space, const void *data,
                   h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_attribute) hid_t attribute = H5I_INVALID_HID;

    attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 && H5Aexists(object, name) > 0 && H5Adelete(object, name) >= 0)
        attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || (data != NULL && H5Awrite(attribute, type, data) < 0))
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot write attribute '%s'", name);
    return H5STORE_OK;
}

int
hs_h5_write_text(hid_t object, const char *name, const char *text, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5Tcopy(H5T_C_S1);
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5Screate(H5S_SCALAR);
    size_t size = strlen(text);

    if (type < 0 || space < 0 || H5Tset_size(type, size ? size : 1) < 0 ||
        H5Tset_cset(type, H5T_CSET_UTF8) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe attribute '%s'", name);
    return h5_write_attribute(object, name, type, space, text, err);
}

int
hs_h5_write_u64(hid_t object, const char *name, const uint64_t *values, size_t count, bool scalar,
                h5store_err *err)
{
    hsize_t dims = count;
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5I_INVALID_HID;

    assert(!scalar || count == 1);
    space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dims, NULL);
    if (space < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe attribute '%s'", name);
    return h5_write_attribute(object, name, H5T_STD_U64LE, space, count ? values : NULL, err);
}

int
hs_h5_read_text(hid_t object, const char *name, size_t most, char **text, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_attribute) hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5I_INVALID_HID;
    HS_CLEANUP(hs_freep) char *copy = NULL;
    size_t size;

    if (attribute < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' is missing", name);
    type = H5Aget_type(attribute);
    space = H5Aget_space(attribute);
    if (type < 0 || space < 0 || H5Tget_class(type) != H5T_STRING ||
        H5Tis_variable_str(type) != 0 || H5Sget_simple_extent_npoints(space) != 1)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' is not a text", name);
    size = H5Tget_size(type);
    if (size == 0 || size > most)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' has %zu bytes", name, size);
    copy = calloc(size + 1, 1);
    if (copy == NULL)
        return hs_fail_nomem(err, size + 1, "an attribute");
    if (H5Aread(attribute, type, copy) < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' cannot be read", name);
    *text = hs_take(&copy);
    return H5STORE_OK;
}

int
hs_h5_read_u64(hid_t object, const char *name, uint64_t *values, size_t room, size_t *count,
               h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_attribute) hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5I_INVALID_HID;
    hssize_t points;

    if (attribute < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' is missing", name);
    type = H5Aget_type(attribute);
    space = H5Aget_space(attribute);
    points = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    if (type < 0 || H5Tget_class(type) != H5T_INTEGER || H5Tget_size(type) != 8 || points < 0 ||
        (uint64_t)points > room)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' is not a list of numbers", name);
    if (points > 0 && H5Aread(attribute, H5T_NATIVE_UINT64, values) < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "attribute '%s' cannot be read", name);
    *count = (size_t)points;
    return H5STORE_OK;
}

int
hs_h5_link_list(hid_t *list, h5store_err *err)
{
    *list = H5Pcreate(H5P_LINK_CREATE);
    if (*list < 0 || H5Pset_create_intermediate_group(*list, 1) < 0 ||
        H5Pset_char_encoding(*list, H5T_CSET_UTF8) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a link");
    return H5STORE_OK;
}

int
hs_h5_group_list(hid_t *list, h5store_err *err)
{
    *list = H5Pcreate(H5P_GROUP_CREATE);
    if (*list < 0 || H5Pset_link_phase_change(*list, HS_LINKS_FOR_HDF5, HS_LINKS_LEAST) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a group");
    return H5STORE_OK;
}

uint64_t
hs_h5_link_address(const hs_link_info *info)
{
    static_assert(sizeof hs_link_place(*info) >= sizeof(uint64_t), "no address of eight bytes");
    uint64_t address;

    memcpy(&address, &hs_link_place(*info), sizeof address);
    return address;
}

int
hs_h5_find(hid_t place, const char *path, uint64_t *address, h5store_err *err)
{
    hs_link_info info;

    if (hs_link_info_get(place, path, &info) < 0 || info.type != H5L_TYPE_HARD) {
        (void)H5Eclear2(H5E_DEFAULT);
        return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "there is no '%s'", path);
    }
    *address = hs_h5_link_address(&info);
    return H5STORE_OK;
}

int
hs_h5_has_link(hid_t group, const char *name, h5store_err *err)
{
    htri_t has = H5Lexists(group, name, H5P_DEFAULT);

    if (has < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "cannot look for '%s'", name);
    return has > 0;
}
