/* SPDX-License-Identifier: MIT */
/*
 * The h5store command: a look into a container from the shell.
 *
 *   h5store COMMAND [OPTIONS] CONTAINER [ARGUMENT]
 *
 * main() reads the command line, finds the container, opens it (read-only, but for flush;
 * repair opens a new one instead), runs one command and turns its result into an exit status:
 * 0 fine, 1 the container is damaged in part, 2 wrong usage, 3 anything that failed.
 * h5store(1) is the reference; the help texts below say the same in short.
 */
#include "tool.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Letters of the options, those without a short form included. */
enum {
    OPTION_HELP = 'h',
    OPTION_TSV = 't',
    OPTION_JSON = 'j',
    OPTION_TIMEOUT = 'w',
    OPTION_COLLECTIONS = 'd',
    OPTION_UNCHECKED = 'u',
    OPTION_FULL = 'F',
    OPTION_FAST = 'f',
    OPTION_STRUCTURE = 's',
    OPTION_FRACTION = 'r'
};

static const struct option tool_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"tsv", no_argument, NULL, OPTION_TSV},
    {"json", no_argument, NULL, OPTION_JSON},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"collections", no_argument, NULL, OPTION_COLLECTIONS},
    {"unchecked", no_argument, NULL, OPTION_UNCHECKED},
    {"full", no_argument, NULL, OPTION_FULL},
    {"fast", no_argument, NULL, OPTION_FAST},
    {"structure", no_argument, NULL, OPTION_STRUCTURE},
    {"fraction", required_argument, NULL, OPTION_FRACTION},
    {NULL, 0, NULL, 0},
};

typedef struct tool_command {
    const char *name;
    int (*run)(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);
    const char *allowed; /* letters of its options, besides OPTION_HELP and OPTION_TIMEOUT */
    const char *operand; /* second operand; NULL: none */
    bool operand_needed;
    unsigned flags; /* for h5store_open; with H5STORE_CREATE the operand is opened, and is new */
    const char *help;
} tool_command;

#define HELP_CONTAINER \
    "\n" \
    "CONTAINER is the file, or a folder that holds blobs.h5 or joblib/blobs.h5.\n" \
    "\n"
#define HELP_FORMS \
    "      --tsv              one line a row, columns with names, tabs between\n" \
    "      --json             one JSON document\n"
#define HELP_COMMON \
    "      --timeout SECONDS  wait that long for a lock (default 30)\n" \
    "  -h, --help             show this\n"

static const tool_command tool_commands[] = {
    {"ls", tool_ls, "tj", NULL, false, H5STORE_READ_ONLY,
     "usage: h5store ls [OPTIONS] CONTAINER\n"
     "\n"
     "List the stored arrays: the beginning of the id, dtype, order of the bytes (C\n"
     "or F), size, links (how many references keep it), and shape.\n" HELP_CONTAINER HELP_FORMS
         HELP_COMMON},
    {"tree", tool_tree, "tjd", "COLLECTION", false, H5STORE_READ_ONLY,
     "usage: h5store tree [OPTIONS] CONTAINER [COLLECTION]\n"
     "\n"
     "Show collections (cached functions) and their items (results), or those below\n"
     "COLLECTION: results, arrays they refer to, bytes in all, and own bytes, which\n"
     "are those that no other item needs.\n" HELP_CONTAINER
     "  -d, --collections      only the collections\n" HELP_FORMS HELP_COMMON},
    {"stat", tool_stat, "tj", NULL, false, H5STORE_READ_ONLY,
     "usage: h5store stat [OPTIONS] CONTAINER\n"
     "\n"
     "Show totals: results, arrays, what sharing them saved, and space used.\n" HELP_CONTAINER
         HELP_FORMS HELP_COMMON},
    {"cat", tool_cat, "u", "ID", true, H5STORE_READ_ONLY,
     "usage: h5store cat [OPTIONS] CONTAINER ID > FILE.npy\n"
     "\n"
     "Write an array to standard output as a .npy file.  The first digits of an id\n"
     "do, if no other begins with them.  The bytes are checked before any is "
     "written.\n" HELP_CONTAINER
     "      --unchecked        write the bytes without checking them\n" HELP_COMMON},
    {"verify", tool_verify, "tjFfsr", NULL, false, H5STORE_READ_ONLY,
     "usage: h5store verify [OPTIONS] CONTAINER\n"
     "\n"
     "Check a container and list what is wrong.  The exit status is 1 if there is an\n"
     "error.  It may be in use meanwhile.\n" HELP_CONTAINER
     "      --fast             the arrays by their checksum (default)\n"
     "      --full             the arrays by SHA-256\n"
     "      --structure        without reading the arrays\n"
     "      --fraction F       read only that part of the arrays (0 to 1)\n" HELP_FORMS
         HELP_COMMON},
    {"repair", tool_repair, "tj", "TARGET", true, H5STORE_CREATE,
     "usage: h5store repair [OPTIONS] CONTAINER TARGET\n"
     "\n"
     "Save what is whole in a damaged container into TARGET, a new one, and list what\n"
     "was lost.  The damaged one is not changed.  The exit status is 1 if anything was\n"
     "lost.\n" HELP_CONTAINER HELP_FORMS HELP_COMMON},
    {"flush", tool_flush, "", NULL, false, 0,
     "usage: h5store flush [OPTIONS] CONTAINER\n"
     "\n"
     "Make all results safe from a power cut, and bring the file up to date for other\n"
     "HDF5 programs while it is in use.\n" HELP_CONTAINER HELP_COMMON},
};

#define COMMAND_COUNT (sizeof(tool_commands) / sizeof(tool_commands[0]))

static const char tool_help[] =
    "usage: h5store COMMAND [OPTIONS] CONTAINER [ARGUMENT]\n"
    "\n"
    "Look into a container of cached results.\n"
    "\n"
    "  ls       list the stored arrays\n"
    "  tree     show collections and the results in them\n"
    "  stat     show totals, and what sharing arrays saved\n"
    "  cat      write an array to standard output as a .npy file\n"
    "  verify   check the container\n"
    "  repair   save what is whole in a damaged one into a new one\n"
    "  flush    make it safe from a power cut and up to date for other programs\n"
    "\n"
    "  h5store COMMAND --help    says more about one of them\n"
    "  h5store --version         says which version this is\n"
    "\n"
    "Exit status: 0 fine, 1 the container is damaged in part, 2 wrong usage,\n"
    "3 anything else that failed.\n";

/* ---- command line --------------------------------------------------------- */

static const tool_command *
tool_find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(tool_commands[i].name, name) == 0)
            return &tool_commands[i];
    return NULL;
}

static int
tool_usage(const tool_command *command)
{
    tool_complain("'h5store %s%s--help' says how it is used", command != NULL ? command->name : "",
                  command != NULL ? " " : "");
    return TOOL_USAGE;
}

/* A number in [least, most]; the whole text must be one. */
static bool
tool_parse_number(const char *text, double least, double most, double *number)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(value) || value < least || value > most)
        return false;
    *number = value;
    return true;
}

/* "module/function/" is what a shell completes; the store knows it without the end. */
static void
tool_strip_slashes(char *text)
{
    size_t length = strlen(text);

    while (length > 1 && text[length - 1] == '/')
        text[--length] = '\0';
}

/* One option; TOOL_FINE, or TOOL_USAGE after a message. */
static int
tool_take_option(const tool_command *command, int letter, const char *given, tool_args *args)
{
    if (letter != OPTION_TIMEOUT && strchr(command->allowed, letter) == NULL) {
        tool_complain("%s is no option of %s", given, command->name);
        return tool_usage(command);
    }

    switch (letter) {
    case OPTION_TSV:
        args->form = TOOL_TSV;
        break;
    case OPTION_JSON:
        args->form = TOOL_JSON;
        break;
    case OPTION_COLLECTIONS:
        args->collections_only = true;
        break;
    case OPTION_UNCHECKED:
        args->unchecked = true;
        break;
    case OPTION_FULL:
        args->check = H5STORE_CHECK_FULL;
        break;
    case OPTION_FAST:
        args->check = H5STORE_CHECK_FAST;
        break;
    case OPTION_STRUCTURE:
        args->check = H5STORE_CHECK_NEVER;
        break;
    case OPTION_TIMEOUT:
        if (!tool_parse_number(optarg, 0, 1e9, &args->timeout)) {
            tool_complain("--timeout takes seconds from 0 to 1e9, not \"%s\"", optarg);
            return tool_usage(command);
        }
        break;
    case OPTION_FRACTION:
        if (!tool_parse_number(optarg, 0, 1, &args->fraction)) {
            tool_complain("--fraction takes a number from 0 to 1, not \"%s\"", optarg);
            return tool_usage(command);
        }
        break;
    }
    return TOOL_FINE;
}

/* What getopt_long could not take. */
static void
tool_refuse_option(int letter, const char *given)
{
    if (letter == ':')
        tool_complain("%s lacks its value", given);
    else if (strncmp(given, "--", 2) != 0 && optopt != 0)
        tool_complain("-%c is no option", optopt);
    else if (optopt != 0)
        tool_complain("%s: this option takes no value", given);
    else
        tool_complain("%s is no option, or short for several", given);
}

/* Options and operands of a command; -1 when --help was asked for. */
static int
tool_parse(const tool_command *command, int argc, char **argv, tool_args *args)
{
    int letter;

    *args = (tool_args){.timeout = -1, .check = H5STORE_CHECK_FAST, .fraction = 1};
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":hd", tool_options, NULL)) != -1) {
        const char *given = argv[optind - 1];
        int status;

        if (letter == OPTION_HELP)
            return -1;
        if (letter == ':' || letter == '?') {
            tool_refuse_option(letter, given);
            return tool_usage(command);
        }
        status = tool_take_option(command, letter, given, args);
        if (status != TOOL_FINE)
            return status;
    }

    if (optind == argc) {
        tool_complain("%s needs a container", command->name);
        return tool_usage(command);
    }
    args->container = argv[optind++];
    if (command->operand != NULL && optind < argc) {
        tool_strip_slashes(argv[optind]);
        args->operand = argv[optind++];
    }
    if (command->operand_needed && args->operand == NULL) {
        tool_complain("%s needs %s %s behind the container", command->name,
                      strchr("AEIOU", command->operand[0]) != NULL ? "an" : "a", command->operand);
        return tool_usage(command);
    }
    if (optind < argc) {
        tool_complain("\"%s\" is one argument too many", argv[optind]);
        return tool_usage(command);
    }
    return TOOL_FINE;
}

/* ---- the container -------------------------------------------------------- */

/*
 * The container in a folder, in a new string; a copy of @p given if it is no folder (what
 * is wrong with it then is for h5store_open to say).
 */
static int
tool_resolve(const char *given, char **path, h5store_err *err)
{
    static const char *const inside[] = {"blobs.h5", "joblib/blobs.h5"};
    size_t length = strlen(given);
    char *candidate = malloc(length + sizeof("/joblib/blobs.h5"));
    struct stat status;

    if (candidate == NULL)
        return tool_fail(err, H5STORE_E_NOMEM, "out of memory for a path");
    strcpy(candidate, given);
    if (stat(given, &status) < 0 || !S_ISDIR(status.st_mode)) {
        *path = candidate;
        return H5STORE_OK;
    }

    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        sprintf(candidate + length, "%s%s", length > 0 && given[length - 1] == '/' ? "" : "/",
                inside[i]);
        if (stat(candidate, &status) == 0) {
            *path = candidate;
            return H5STORE_OK;
        }
    }
    free(candidate);
    return tool_fail(err, H5STORE_E_NOT_FOUND,
                     "the folder %s holds neither blobs.h5 nor joblib/blobs.h5; name the container "
                     "or the folder it is in",
                     given);
}

/* What is to be made must not be there. */
static int
tool_check_new(const char *path, h5store_err *err)
{
    struct stat status;

    if (lstat(path, &status) < 0 && errno == ENOENT)
        return H5STORE_OK;
    return tool_fail(err, H5STORE_E_INVALID, "%s is there already; give another name, or remove it",
                     path);
}

/* Leave no empty container behind when nothing could be done. */
static bool
tool_is_empty(h5store *store)
{
    h5store_totals totals;

    return h5store_stat(store, &totals, NULL) == H5STORE_OK && totals.items + totals.blobs == 0;
}

/* Open, run, close.  Returns an exit status, or a code < 0 with *err filled. */
static int
tool_run(const tool_command *command, tool_args *args, tool_out *out, h5store_err *err)
{
    TOOL_CLEANUP(tool_freep) char *path = NULL;
    bool fresh = (command->flags & H5STORE_CREATE) != 0, drop;
    h5store_options options;
    h5store_err close_err;
    h5store *store;
    const char *notice;
    int status, rc = tool_resolve(args->container, &path, err);

    if (rc == H5STORE_OK && fresh)
        rc = tool_check_new(args->operand, err);
    if (rc < 0)
        return rc;
    args->container = path;

    h5store_options_init(&options);
    options.flags = command->flags;
    if (args->timeout >= 0)
        options.timeout = args->timeout;
    rc = h5store_open(fresh ? args->operand : path, &options, &store, err);
    if (rc < 0)
        return rc;
    notice = h5store_notice(store);
    if (notice[0] != '\0')
        tool_complain("%s", notice);

    status = command->run(store, args, out, err);
    if (strcmp(h5store_notice(store), notice) != 0)
        tool_complain("%s", h5store_notice(store));
    drop = status < 0 && fresh && tool_is_empty(store);
    rc = h5store_close(store, &close_err);
    if (drop)
        (void)unlink(args->operand);
    if (status >= 0 && rc < 0) {
        *err = close_err;
        return rc;
    }
    return status;
}

/* ---- the process ---------------------------------------------------------- */

/* A container must never be opened as descriptor 1 or 2, where output would go into it:
 * descriptors that are closed are filled, so that using them fails as before. */
static void
tool_fill_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY) != fd)
            _exit(TOOL_FAILED);
}

/*
 * Whoever read our output is gone (head, a pager): no error of ours, and no success to
 * tell either.  Die as a program does that never ignored SIGPIPE; the container is closed.
 */
static void
tool_die_of_pipe(void)
{
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

/* Write out what is left, and say what went wrong; the exit status. */
static int
tool_finish(int status, tool_out *out, const h5store_err *err)
{
    h5store_err out_err;

    tool_out_flush(out);
    if (out->os_errno == EPIPE)
        tool_die_of_pipe();
    if (tool_out_failed(out)) {
        tool_fail_out(out, &out_err);
        tool_complain("%s", out_err.message);
        return TOOL_FAILED;
    }
    if (status < 0) {
        tool_complain("%s", err->message);
        return TOOL_FAILED;
    }
    return status;
}

static void
tool_show_version(tool_out *out)
{
    tool_printf(out, "h5store %s (container format %d, HDF5 %s)\n", h5store_version(),
                H5STORE_FORMAT_VERSION, h5store_hdf5_version());
}

int
main(int argc, char **argv)
{
    tool_out out = {.file = stdout};
    const tool_command *command;
    tool_args args;
    h5store_err err = {0};
    const char *word;
    int status;

    tool_fill_descriptors();
    signal(SIGPIPE, SIG_IGN);
    setlocale(LC_CTYPE, "");

    if (argc < 2) {
        tool_complain("no command was given");
        return tool_usage(NULL);
    }
    word = argv[1];
    if (strcmp(word, "--version") == 0) {
        tool_show_version(&out);
        return tool_finish(TOOL_FINE, &out, &err);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        command = argc > 2 ? tool_find_command(argv[2]) : NULL;
        tool_puts(&out, command != NULL ? command->help : tool_help);
        return tool_finish(TOOL_FINE, &out, &err);
    }
    command = tool_find_command(word);
    if (command == NULL) {
        tool_complain("there is no command \"%s\"", word);
        return tool_usage(NULL);
    }

    status = tool_parse(command, argc - 1, argv + 1, &args);
    if (status < 0) {
        tool_puts(&out, command->help);
        return tool_finish(TOOL_FINE, &out, &err);
    }
    if (status == TOOL_FINE)
        status = tool_run(command, &args, &out, &err);
    return tool_finish(status, &out, &err);
}
