/* SPDX-License-Identifier: MIT */
/*
 * Real processes for tests: fork one that runs a function, talk with it, kill it.
 *
 * Both sides talk with child_tell and child_hear, numbers in order, which is also how one
 * waits for the other to have come somewhere.  A side whose other side is gone does not
 * wait for ever: a child ends, and in the parent the test fails.
 *
 * A child never outlives the test program, even one that was killed.
 */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

typedef struct child child;

/* Runs in the child; its result (0 to 100) is the exit status. */
typedef int (*child_fn)(child *parent, void *context);

/* Fork.  Everything in memory is the child's too, as a copy. */
child *child_start(child_fn function, void *context);
pid_t child_pid(const child *c);

void child_tell(child *c, uint64_t number);
uint64_t child_hear(child *c);

/* Wait for its end and release it: the exit status, or minus the signal that ended it. */
int child_wait(child *c);

/* SIGKILL it, wait, release it.  The test fails if it had ended by itself before. */
void child_kill(child *c);

/* Memory that children share with the parent; zeros; for the life of the program. */
void *child_shared_memory(size_t size);

/*
 * ck_assert is for the parent: Check reports to a file that processes share.  In a child
 * this says where, and ends the child with CHILD_FAILED, which child_wait then returns.
 */
#define CHILD_FAILED 120
#define child_assert(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: in a child: '%s' does not hold\n", __FILE__, __LINE__, \
                    #condition); \
            _exit(CHILD_FAILED); \
        } \
    } while (0)

#endif
