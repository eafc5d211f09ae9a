/* SPDX-License-Identifier: MIT */
/*
 * What the torture, fault and corruption programs share: a folder that goes with the
 * program, child processes with a time limit, and a failure that says where it was.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Print and end the process with status 1 unless the condition holds. */
#define PROVE(condition, ...) \
    do { \
        if (!(condition)) \
            scratch_fail(__FILE__, __LINE__, #condition, __VA_ARGS__); \
    } while (0)

void scratch_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

/* A new folder below $TMPDIR (or /tmp).  It is removed when the process that made it ends,
 * unless a check failed and H5STORE_KEEP is set in the environment. */
const char *scratch_folder(void);

/* "<folder>/<name>", in one of a few buffers that are used in turn. */
const char *scratch_path(const char *folder, const char *name);

/* Make a folder in the scratch folder; the path is malloc'ed. */
char *scratch_subfolder(const char *name);

/* Remove the files in a folder, and give it copies of those in another. */
void scratch_clear(const char *folder);
void scratch_copy(const char *from, const char *to);
size_t scratch_count(const char *folder);

/* Run a function in a child, which ends with its result; the wait status is returned.  After
 * so many seconds it is killed by SIGALRM. */
int scratch_run(int (*function)(void *), void *context, unsigned seconds);

/* Memory that children share with their parent; never released. */
void *scratch_shared(size_t size);

/* xorshift64*: the same numbers for the same seed on every machine. */
typedef struct scratch_random {
    uint64_t state;
} scratch_random;
uint64_t scratch_draw(scratch_random *random, uint64_t below);

double scratch_seconds(void);

#endif
