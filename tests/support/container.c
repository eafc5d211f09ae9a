/* SPDX-License-Identifier: MIT */
/*
 * See container.h.
 */
#include "container.h"
#include "fixture.h"
#include <fcntl.h>
#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOX_FINDINGS 1500

h5store_err box_err;

static char box_paths[2][4200];
static pid_t box_process; /* that runs the test */

void
box_setup(void)
{
    fixture_setup();
    snprintf(box_paths[0], sizeof box_paths[0], "%s/box.h5", fixture_folder());
    snprintf(box_paths[1], sizeof box_paths[1], "%s/box.h5-wal", fixture_folder());
    box_process = getpid();
}

void
box_teardown(void)
{
    fixture_teardown();
}

const char *
box_path(void)
{
    return box_paths[0];
}

const char *
box_log_path(void)
{
    return box_paths[1];
}

void
box_fail(const char *format, ...)
{
    char text[2048];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (getpid() == box_process)
        ck_abort_msg("%s", text);
    fprintf(stderr, "in a child: %s\n", text);
    _exit(CHILD_FAILED);
}

/* As ck_assert, in a child too. */
#define BOX_ASSERT(condition) \
    do { \
        if (!(condition)) \
            box_fail("%s:%d: '%s' does not hold", __FILE__, __LINE__, #condition); \
    } while (0)

int
box_ok_at(int code, const h5store_err *err, const char *call, const char *file, int line)
{
    if (code < 0)
        box_fail("%s:%d: %s: %s: %s", file, line, call, h5store_code_name(code), err->message);
    return code;
}

void
box_fails_at(int code, int expected, const char *call, const char *file, int line)
{
    if (code != expected)
        box_fail("%s:%d: %s gives %s, not %s (%s)", file, line, call, h5store_code_name(code),
                 h5store_code_name(expected), box_err.message);
    if (box_err.code != expected || strlen(box_err.message) < 10)
        box_fail("%s:%d: %s says %s in err: '%s'", file, line, call,
                 h5store_code_name(box_err.code), box_err.message);
}

h5store *
box_open(unsigned flags)
{
    h5store_options options;
    h5store *store = NULL;

    h5store_options_init(&options);
    options.flags = flags;
    options.timeout = 10;
    BOX_OK(h5store_open(box_path(), &options, &store, &box_err));
    BOX_ASSERT(store != NULL);
    return store;
}

int
box_try_open(const char *path, unsigned flags, double timeout, h5store **store)
{
    h5store_options options;

    h5store_options_init(&options);
    options.flags = flags;
    options.timeout = timeout;
    return h5store_open(path, &options, store, &box_err);
}

int
box_put_and_wait(child *parent, void *context)
{
    h5store *store = box_open(H5STORE_CREATE);
    /* An open stock reader keeps the log from being applied. */
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);

    (void)context;
    child_assert(file >= 0);
    box_set(store, "m/f", "key", 100000, 1);
    child_tell(parent, 1);
    child_hear(parent);
    return 0;
}

void
box_leave_log(void)
{
    child *c;

    box_make();
    c = child_start(box_put_and_wait, NULL);
    child_hear(c);
    child_kill(c);
    BOX_ASSERT(box_size(box_log_path()) > 4096);
}

bool
box_stock_sees(const char *path)
{
    return box_run("h5ls -r '%s' | grep -q '%s'", box_path(), path) == 0;
}

void
box_close(h5store *store)
{
    BOX_OK(h5store_close(store, &box_err));
}

void
box_make(void)
{
    box_close(box_open(H5STORE_CREATE));
}

h5store_array
box_array(size_t size, unsigned seed)
{
    unsigned char *data = malloc(size + 1);

    BOX_ASSERT(data != NULL);
    fixture_fill(data, size, seed);
    return (h5store_array){
        .dtype = "'|u1'", .rank = 1, .shape = {size}, .nbytes = size, .data = data};
}

void
box_free(h5store_array *array)
{
    free((void *)(uintptr_t)array->data);
    array->data = NULL;
}

h5store_id
box_put(h5store *store, size_t size, unsigned seed, int *code)
{
    h5store_array array = box_array(size, seed);
    h5store_id id;
    int rc = BOX_OK(h5store_put(store, &array, &id, &box_err));

    if (code != NULL)
        *code = rc;
    box_free(&array);
    return id;
}

void
box_set(h5store *store, const char *collection, const char *key, size_t size, unsigned seed)
{
    h5store_array array = box_array(size, seed);
    h5store_batch *batch;
    h5store_id id;
    h5store_item_spec spec = {collection, key, "pickle", 6, "{\"a\": 1}", &id, 1};

    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_put(batch, &array, &id, &box_err));
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_free(&array);
}

void
box_remove(h5store *store, const char *collection, const char *key)
{
    h5store_batch *batch;

    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_remove(batch, collection, key, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
}

h5store_batch *
box_begin(h5store *store)
{
    h5store_batch *batch;

    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    return batch;
}

h5store_id
box_put_in(h5store_batch *batch, size_t size, unsigned seed, int expected)
{
    h5store_array array = box_array(size, seed);
    h5store_id id;

    BOX_ASSERT(BOX_OK(h5store_batch_put(batch, &array, &id, &box_err)) == expected);
    box_free(&array);
    return id;
}

void
box_set_in(h5store_batch *batch, const char *collection, const char *key, const h5store_id *ids,
           size_t count)
{
    h5store_item_spec spec = {collection, key, "out", 3, "{}", ids, count};

    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
}

void
box_make_hole(h5store *store)
{
    static char text[16000000];
    h5store_batch *batch = box_begin(store);

    memset(text, 'x', sizeof text - 1);
    BOX_OK(h5store_batch_set_source(batch, "hole", text, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_remove(store, "hole", NULL);
}

bool
box_has_item(h5store *store, const char *collection, const char *key)
{
    int rc = h5store_item_has(store, collection, key, &box_err);

    BOX_ASSERT(rc == H5STORE_OK || rc == H5STORE_E_NOT_FOUND);
    return rc == H5STORE_OK;
}

void
box_expect_item(h5store *store, const char *collection, const char *key, const void *output,
                size_t size, const char *metadata, size_t links)
{
    h5store_item *item;
    const void *bytes;
    size_t length;
    char *text;

    BOX_OK(h5store_item_open(store, collection, key, &item, &box_err));
    bytes = h5store_item_output(item, &length);
    BOX_ASSERT(length == size && memcmp(bytes, output, size) == 0);
    BOX_ASSERT(strcmp(h5store_item_metadata(item), metadata) == 0);
    BOX_ASSERT(h5store_item_link_count(item) == links);
    BOX_ASSERT(h5store_item_blob(item, links) == NULL);
    BOX_ASSERT(h5store_item_blob(item, SIZE_MAX) == NULL);
    h5store_item_close(item);
    BOX_OK(h5store_item_get_metadata(store, collection, key, &text, &box_err));
    BOX_ASSERT(strcmp(text, metadata) == 0);
    free(text);
}

void
box_expect(h5store_blob *blob, size_t size, unsigned seed)
{
    h5store_array array = box_array(size, seed);
    unsigned char *bytes = malloc(size + 1);

    BOX_ASSERT(bytes != NULL);
    BOX_ASSERT(h5store_blob_get_info(blob)->array.nbytes == size);
    BOX_OK(h5store_blob_read(blob, bytes, size, H5STORE_CHECK_FULL, &box_err));
    BOX_ASSERT(memcmp(bytes, array.data, size) == 0);
    free(bytes);
    box_free(&array);
}

void
box_expect_put(h5store *store, const h5store_id *id, size_t size, unsigned seed)
{
    h5store_blob *blob;

    BOX_OK(h5store_blob_open(store, id, &blob, &box_err));
    box_expect(blob, size, seed);
    h5store_blob_close(blob);
}

h5store_totals
box_totals(h5store *store)
{
    h5store_totals totals;

    BOX_OK(h5store_stat(store, &totals, &box_err));
    return totals;
}

static int
box_note(const h5store_finding *finding, void *context)
{
    char *text = context;
    size_t used = strlen(text);

    if (finding->is_error)
        snprintf(text + used, BOX_FINDINGS - used, "\n  %d: %s: %s", (int)finding->clause,
                 finding->object, finding->text);
    return 0;
}

static uint64_t
box_verify_into(h5store *store, char text[BOX_FINDINGS])
{
    h5store_verify_options options = {H5STORE_CHECK_FULL, 1.0, box_note, NULL, text};
    uint64_t errors = UINT64_MAX;

    text[0] = '\0';
    BOX_OK(h5store_verify(store, &options, &errors, &box_err));
    return errors;
}

uint64_t
box_verify(h5store *store)
{
    char text[BOX_FINDINGS];

    return box_verify_into(store, text);
}

void
box_expect_verified(h5store *store)
{
    char text[BOX_FINDINGS];
    uint64_t errors = box_verify_into(store, text);

    if (errors != 0)
        box_fail("%llu errors:%s", (unsigned long long)errors, text);
}

void
box_expect_sound(void)
{
    h5store *store = box_open(0);

    box_expect_verified(store);
    box_close(store);
}

uint64_t
box_offset(h5store *store, const h5store_id *id)
{
    h5store_blob *blob;
    uint64_t offset;

    BOX_OK(h5store_blob_open(store, id, &blob, &box_err));
    offset = h5store_blob_get_info(blob)->offset;
    h5store_blob_close(blob);
    return offset;
}

void
box_flip(const char *path, uint64_t offset)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char byte;

    BOX_ASSERT(fd >= 0);
    BOX_ASSERT(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= 0xff;
    BOX_ASSERT(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

/* ---- the system ------------------------------------------------------------------- */

int
box_run(const char *format, ...)
{
    char command[8192], quiet[8300];
    va_list arguments;
    int status;

    va_start(arguments, format);
    BOX_ASSERT(vsnprintf(command, sizeof command, format, arguments) < (int)sizeof command);
    va_end(arguments);
    snprintf(quiet, sizeof quiet, "(%s) >/dev/null 2>&1", command);
    status = system(quiet);
    if (status == -1 || !WIFEXITED(status))
        box_fail("'%s' did not end", command);
    return WEXITSTATUS(status);
}

char *
box_output(const char *format, ...)
{
    char command[8192], *text = NULL;
    va_list arguments;
    size_t used = 0, got, room = 0;
    FILE *pipe;

    va_start(arguments, format);
    BOX_ASSERT(vsnprintf(command, sizeof command, format, arguments) < (int)sizeof command);
    va_end(arguments);
    pipe = popen(command, "r");
    BOX_ASSERT(pipe != NULL);
    do {
        if (room < used + 4096)
            text = realloc(text, (room = room * 2 + 8192));
        BOX_ASSERT(text != NULL);
        got = fread(text + used, 1, room - used - 1, pipe);
        used += got;
    } while (got > 0);
    text[used] = '\0';
    if (pclose(pipe) != 0)
        box_fail("'%s' failed: %s", command, text);
    return text;
}

long long
box_size(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (long long)status.st_size : -1;
}

void
box_copy(const char *from, const char *to)
{
    BOX_ASSERT(box_run("cp '%s' '%s'", from, to) == 0);
}

void
box_write(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    BOX_ASSERT(fd >= 0);
    BOX_ASSERT(write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}
