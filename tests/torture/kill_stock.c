/* SPDX-License-Identifier: MIT */
/*
 * The kill loop with plain HDF5: its own file driver, one writer, a dataset for each put and
 * H5Fflush before it is acknowledged.  More than one writer is not tried, since HDF5 refuses
 * a second one.  A file that was spoilt is set aside and a new one begun, and what it held
 * counts as lost once.
 */
#include "../support/sample.h"
#include "kill.h"
#include <errno.h>
#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *stock_path, *stock_witness;
static bool stock_latest;

static hid_t
stock_open(void)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file;

    if (stock_latest)
        H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    file = access(stock_path, F_OK) == 0 ? H5Fopen(stock_path, H5F_ACC_RDWR, fapl)
                                         : H5Fcreate(stock_path, H5F_ACC_EXCL, H5P_DEFAULT, fapl);
    H5Pclose(fapl);
    return file;
}

static int
stock_put(hid_t file, const char *name, uint64_t seed)
{
    size_t size = sample_size(seed);
    uint8_t buffer[SAMPLE_MOST];
    hsize_t dims = size / 8;
    hid_t space = H5Screate_simple(1, &dims, NULL), dataset;
    herr_t rc = -1;

    sample_fill(buffer, size, seed);
    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        H5Ldelete(file, name, H5P_DEFAULT);
    dataset = H5Dcreate2(file, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT,
                         H5P_DEFAULT);
    if (dataset >= 0) {
        hid_t attributes = H5Screate(H5S_SCALAR);
        hid_t attribute = H5Acreate2(dataset, "seed", H5T_NATIVE_UINT64, attributes, H5P_DEFAULT,
                                     H5P_DEFAULT);

        rc = H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer);
        if (rc >= 0)
            rc = H5Awrite(attribute, H5T_NATIVE_UINT64, &seed);
        H5Aclose(attribute);
        H5Sclose(attributes);
        H5Dclose(dataset);
    }
    H5Sclose(space);
    return rc < 0 ? -1 : H5Fflush(file, H5F_SCOPE_GLOBAL);
}

static void
stock_worker(uint64_t seed)
{
    scratch_random random = {seed};
    int notes = witness_open(stock_witness);
    char name[32];
    hid_t file;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    file = stock_open();
    if (file < 0)
        _exit(2);
    for (;;) {
        uint32_t key = (uint32_t)scratch_draw(&random, WITNESS_GROUP);
        uint64_t state = scratch_draw(&random, 4) == 0 ? 0 : 1 + scratch_draw(&random, 60);

        snprintf(name, sizeof name, "a%u", key);
        witness_note(notes, WITNESS_BEGIN, key, state);
        if (state > 0) {
            if (stock_put(file, name, state) < 0)
                _exit(3);
        } else if (H5Lexists(file, name, H5P_DEFAULT) > 0 &&
                   (H5Ldelete(file, name, H5P_DEFAULT) < 0 ||
                    H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)) {
            _exit(3);
        }
        witness_note(notes, WITNESS_ACK, key, state);
    }
}

struct stock_result {
    witness notes;
    uint64_t cannot_open, needs_h5clear, lost, wrong, unreadable, deaths_with_loss;
    bool spoilt;
};

static uint64_t
stock_look_at(hid_t file, uint32_t key)
{
    uint8_t buffer[SAMPLE_MOST];
    uint64_t state = UINT64_MAX;
    char name[32];
    hid_t dataset, attribute;
    htri_t exists;

    snprintf(name, sizeof name, "a%u", key);
    exists = H5Lexists(file, name, H5P_DEFAULT);
    if (exists <= 0)
        return exists < 0 ? UINT64_MAX : 0;
    dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0)
        return UINT64_MAX;
    attribute = H5Aopen(dataset, "seed", H5P_DEFAULT);
    if (attribute < 0 || H5Aread(attribute, H5T_NATIVE_UINT64, &state) < 0 || state > 1000 ||
        H5Dget_storage_size(dataset) != sample_size(state) ||
        H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) < 0)
        state = UINT64_MAX;
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Dclose(dataset);
    if (state != UINT64_MAX && !sample_is(buffer, sample_size(state), state))
        state = UINT64_MAX - 1;
    return state;
}

static hid_t
stock_reopen(struct stock_result *r)
{
    hid_t file = H5Fopen(stock_path, H5F_ACC_RDONLY, H5P_DEFAULT);
    char command[5000];

    if (file >= 0)
        return file;
    r->cannot_open++;
    snprintf(command, sizeof command, "h5clear -s '%s' >/dev/null 2>&1", stock_path);
    if (system(command) == 0)
        file = H5Fopen(stock_path, H5F_ACC_RDONLY, H5P_DEFAULT);
    r->needs_h5clear += file >= 0;
    return file;
}

static int
stock_look(void *context)
{
    struct stock_result *r = context;
    uint64_t before = r->lost + r->wrong + r->unreadable;
    hid_t file;

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    r->spoilt = false;
    if (access(stock_path, F_OK) != 0)
        return 0;
    file = stock_reopen(r);
    for (uint32_t key = 0; key < WITNESS_GROUP; key++) {
        uint64_t state = file < 0 ? UINT64_MAX : stock_look_at(file, key);

        if (state == UINT64_MAX)
            r->unreadable += !witness_may_lack(&r->notes, key);
        else if (state == UINT64_MAX - 1)
            r->wrong++;
        else if (!witness_is(&r->notes, key, state))
            r->lost += state == 0, r->wrong += state != 0;
        r->spoilt = r->spoilt || state == UINT64_MAX;
    }
    if (file >= 0)
        H5Fclose(file);
    r->spoilt = r->spoilt || file < 0 || r->lost + r->wrong + r->unreadable > before;
    r->deaths_with_loss += r->lost + r->wrong + r->unreadable > before;
    return 0;
}

int
kill_stock(uint64_t kills, uint64_t seed, bool latest)
{
    struct stock_result *r = scratch_shared(sizeof *r);
    scratch_random random = {seed};
    uint64_t crashes = 0, failures = 0, acknowledged = 0;
    double began = scratch_seconds();

    stock_latest = latest;
    stock_path = strdup(scratch_path(scratch_subfolder("stock"), "c.h5"));
    stock_witness = strdup(scratch_path(scratch_folder(), "witness"));
    witness_init(&r->notes, stock_witness);
    for (uint64_t i = 0; i < kills; i++) {
        uint64_t child_seed = scratch_draw(&random, UINT64_MAX);
        pid_t child = fork();
        int status;

        PROVE(child >= 0, "fork: %s", strerror(errno));
        if (child == 0)
            stock_worker(child_seed);
        usleep((useconds_t)(10000 + scratch_draw(&random, 60000)));
        kill(child, SIGKILL);
        PROVE(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
        failures += WIFEXITED(status);
        witness_read(&r->notes);
        /* A file that makes HDF5 crash is as unreadable as one that it refuses. */
        if (scratch_run(stock_look, r, 20) != 0)
            crashes++, r->spoilt = true;
        if (r->spoilt) {
            int fd = r->notes.fd;

            acknowledged += r->notes.acknowledged;
            unlink(stock_path);
            unlink(stock_witness);
            close(fd);
            witness_init(&r->notes, stock_witness);
        }
    }
    acknowledged += r->notes.acknowledged;
    printf("plain HDF5 (%s format): %llu kills, %llu acknowledged, %llu lost, %llu unreadable, "
           "%llu wrong, after %llu kills something was gone, %llu could not be opened (%llu of "
           "them after h5clear), %llu crashed the reader, %llu writers gave up, %.0f s\n",
           latest ? "latest" : "default", (unsigned long long)kills,
           (unsigned long long)acknowledged, (unsigned long long)r->lost,
           (unsigned long long)r->unreadable, (unsigned long long)r->wrong,
           (unsigned long long)r->deaths_with_loss, (unsigned long long)r->cannot_open,
           (unsigned long long)r->needs_h5clear, (unsigned long long)crashes,
           (unsigned long long)failures, scratch_seconds() - began);
    return acknowledged > 0 ? 0 : 1;
}
