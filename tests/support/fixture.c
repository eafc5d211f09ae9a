/* SPDX-License-Identifier: MIT */
/*
 * Owns the folder of the run and, inside it, that of the test in hand.  Without a folder
 * no test can say anything, so what fails here ends the program.
 */
#include "fixture.h"
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_PATHS 32

static char fixture_run[PATH_MAX / 4];
static char fixture_test[PATH_MAX / 2];
static char *fixture_paths[FIXTURE_PATHS];
static size_t fixture_path_count;

static void
fixture_give_up(const char *what, const char *path)
{
    fprintf(stderr, "fixture: cannot %s '%s': %s\n", what, path, strerror(errno));
    _exit(99);
}

void
fixture_begin(void)
{
    const char *parent = getenv("TMPDIR");

    if (parent == NULL || *parent == '\0')
        parent = "/tmp";
    snprintf(fixture_run, sizeof fixture_run, "%s/h5store-check-XXXXXX", parent);
    if (mkdtemp(fixture_run) == NULL)
        fixture_give_up("make", fixture_run);
}

static int
fixture_remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)walk;
    if (kind == FTW_DNR && chmod(path, 0700) != 0)
        return -1;
    return remove(path);
}

static void
fixture_remove(char *folder)
{
    if (nftw(folder, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fixture_give_up("remove", folder);
    *folder = '\0';
}

void
fixture_end(void)
{
    fixture_remove(fixture_run);
}

void
fixture_setup(void)
{
    snprintf(fixture_test, sizeof fixture_test, "%s/XXXXXX", fixture_run);
    if (mkdtemp(fixture_test) == NULL)
        fixture_give_up("make", fixture_test);
}

void
fixture_teardown(void)
{
    fixture_remove(fixture_test);
    while (fixture_path_count > 0)
        free(fixture_paths[--fixture_path_count]);
}

const char *
fixture_folder(void)
{
    return fixture_test;
}

const char *
fixture_path(const char *name)
{
    size_t size = strlen(fixture_test) + strlen(name) + 2;
    char *path = malloc(size);

    if (path == NULL || fixture_path_count == FIXTURE_PATHS)
        fixture_give_up("remember", name);
    snprintf(path, size, "%s/%s", fixture_test, name);
    return fixture_paths[fixture_path_count++] = path;
}

/* splitmix64 */
uint64_t
fixture_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

void
fixture_fill(void *buffer, size_t size, uint64_t seed)
{
    uint8_t *at = buffer;

    for (size_t done = 0; done < size; done += 8) {
        uint64_t value = fixture_random(&seed);

        memcpy(at + done, &value, size - done < 8 ? size - done : 8);
    }
}
