/* SPDX-License-Identifier: MIT */
/*
 * See scratch.h.  Owns the scratch folder, and nothing else.
 */
#include "scratch.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SCRATCH_PATH 4096
#define SCRATCH_PATHS 8

static char scratch_root[SCRATCH_PATH];
static pid_t scratch_owner;
static volatile bool scratch_failed;

void
scratch_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list arguments;

    scratch_failed = true;
    fflush(stdout);
    fprintf(stderr, "%s:%d: not true: %s\n    ", file, line, condition);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void
scratch_remove(const char *folder)
{
    DIR *stream = opendir(folder);
    struct dirent *entry;
    char path[SCRATCH_PATH + 300];

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (unlink(path) != 0 && (errno == EISDIR || errno == EPERM))
            scratch_remove(path);
    }
    if (stream != NULL)
        closedir(stream);
    (void)rmdir(folder);
}

static void
scratch_end(void)
{
    if (scratch_owner != getpid())
        return; /* a forked child */
    if (scratch_failed && getenv("H5STORE_KEEP") != NULL)
        fprintf(stderr, "kept: %s\n", scratch_root);
    else
        scratch_remove(scratch_root);
}

const char *
scratch_folder(void)
{
    const char *parent = getenv("TMPDIR");

    if (scratch_root[0] != '\0')
        return scratch_root;
    snprintf(scratch_root, sizeof scratch_root, "%s/h5store-XXXXXX",
             parent != NULL && parent[0] == '/' ? parent : "/tmp");
    PROVE(mkdtemp(scratch_root) != NULL, "%s: %s", scratch_root, strerror(errno));
    scratch_owner = getpid();
    atexit(scratch_end);
    return scratch_root;
}

const char *
scratch_path(const char *folder, const char *name)
{
    static char paths[SCRATCH_PATHS][SCRATCH_PATH + 300];
    static unsigned turn;
    char *path = paths[turn++ % SCRATCH_PATHS];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

char *
scratch_subfolder(const char *name)
{
    char *path = strdup(scratch_path(scratch_folder(), name));

    PROVE(path != NULL && (mkdir(path, 0777) == 0 || errno == EEXIST), "%s: %s", name,
          strerror(errno));
    return path;
}

/* Call a function for each file of a folder. */
static size_t
scratch_each(const char *folder, void (*function)(const char *, const char *, void *),
             void *context)
{
    DIR *stream = opendir(folder);
    struct dirent *entry;
    size_t count = 0;

    PROVE(stream != NULL, "%s: %s", folder, strerror(errno));
    while ((entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        if (function != NULL)
            function(scratch_path(folder, entry->d_name), entry->d_name, context);
    }
    closedir(stream);
    return count;
}

static void
scratch_unlink(const char *path, const char *name, void *context)
{
    (void)name;
    (void)context;
    PROVE(unlink(path) == 0, "%s: %s", path, strerror(errno));
}

void
scratch_clear(const char *folder)
{
    scratch_each(folder, scratch_unlink, NULL);
}

size_t
scratch_count(const char *folder)
{
    return scratch_each(folder, NULL, NULL);
}

static void
scratch_copy_file(const char *path, const char *name, void *context)
{
    char *buffer = malloc(1 << 20);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = open(scratch_path(context, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    ssize_t count;

    PROVE(from >= 0 && to >= 0 && buffer != NULL, "%s: %s", path, strerror(errno));
    while ((count = read(from, buffer, 1 << 20)) > 0)
        PROVE(write(to, buffer, (size_t)count) == count, "%s: %s", name, strerror(errno));
    PROVE(count == 0, "%s: %s", path, strerror(errno));
    close(from);
    close(to);
    free(buffer);
}

void
scratch_copy(const char *from, const char *to)
{
    char target[SCRATCH_PATH];

    snprintf(target, sizeof target, "%s", to);
    scratch_clear(target);
    scratch_each(from, scratch_copy_file, target);
}

int
scratch_run(int (*function)(void *), void *context, unsigned seconds)
{
    int status;
    pid_t child;

    fflush(stdout);
    child = fork();
    PROVE(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        int result;

        alarm(seconds);
        result = function(context);
        fflush(stdout);
        fflush(stderr);
        _exit(result);
    }
    while (waitpid(child, &status, 0) < 0)
        PROVE(errno == EINTR, "waitpid: %s", strerror(errno));
    return status;
}

void *
scratch_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    PROVE(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    return memory;
}

uint64_t
scratch_draw(scratch_random *random, uint64_t below)
{
    uint64_t x = random->state != 0 ? random->state : UINT64_C(0x9E3779B97F4A7C15);

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return below > 0 ? (x * UINT64_C(0x2545F4914F6CDD1D) >> 16) % below : 0;
}

double
scratch_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
