/* SPDX-License-Identifier: MIT */
/*
 * A child is a process and a pair of connected sockets.
 */
#include "child.h"
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CHILD_ALONE 121 /* exit status of a child whose parent has gone */

struct child {
    pid_t pid; /* 0 on the child's side */
    int fd;
};

static void
child_run(child *self, int others_end, child_fn function, void *context)
{
    pid_t parent = getppid();

    close(others_end);
    /* The parent may have died before prctl was called. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(CHILD_ALONE);
    _exit(function(self, context)); /* no atexit, no Check, no flush of copied buffers */
}

child *
child_start(child_fn function, void *context)
{
    child *c = malloc(sizeof *c);
    int ends[2];

    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fflush(NULL);
    c->pid = fork();
    ck_assert_int_ge(c->pid, 0);
    c->fd = ends[c->pid == 0];
    if (c->pid == 0)
        child_run(c, ends[0], function, context);
    close(ends[1]);
    return c;
}

pid_t
child_pid(const child *c)
{
    return c->pid;
}

static void
child_give_up(const child *c)
{
    if (c->pid == 0)
        _exit(CHILD_ALONE);
    ck_abort_msg("child %d has ended early", (int)c->pid);
}

void
child_tell(child *c, uint64_t number)
{
    ssize_t count;

    do
        count = send(c->fd, &number, sizeof number, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    if (count != sizeof number)
        child_give_up(c);
}

uint64_t
child_hear(child *c)
{
    uint64_t number;
    ssize_t count;

    do
        count = recv(c->fd, &number, sizeof number, MSG_WAITALL);
    while (count < 0 && errno == EINTR);
    if (count != sizeof number)
        child_give_up(c);
    return number;
}

int
child_wait(child *c)
{
    int status;
    pid_t waited;

    close(c->fd);
    do
        waited = waitpid(c->pid, &status, 0);
    while (waited < 0 && errno == EINTR);
    ck_assert_int_eq(waited, c->pid);
    free(c);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void
child_kill(child *c)
{
    kill(c->pid, SIGKILL);
    ck_assert_int_eq(child_wait(c), -SIGKILL);
}

void *
child_shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}
