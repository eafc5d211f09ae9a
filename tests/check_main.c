/* SPDX-License-Identifier: MIT */
/*
 * Runs the suites, or those named as arguments, and fails if there is none of a name.
 * What else can be chosen is Check's own: CK_FORK=no for a debugger, CK_RUN_CASE,
 * CK_VERBOSITY.
 */
#include "suites.h"
#include "support/fixture.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
#define SUITE_ENTRY(module) {#module, module##_suite},
    SUITES(SUITE_ENTRY)};

#define SUITE_COUNT (sizeof suites / sizeof suites[0])

static bool
is_known(const char *name)
{
    for (size_t i = 0; i < SUITE_COUNT; i++)
        if (strcmp(suites[i].name, name) == 0)
            return true;
    return false;
}

static bool
is_wanted(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

int
main(int argc, char **argv)
{
    SRunner *runner = srunner_create(NULL);
    int failed;

    for (int i = 1; i < argc; i++) {
        if (!is_known(argv[i])) {
            fprintf(stderr, "%s: there is no suite '%s'\n", argv[0], argv[i]);
            return EXIT_FAILURE;
        }
    }
    for (size_t i = 0; i < SUITE_COUNT; i++)
        if (is_wanted(suites[i].name, argc - 1, argv + 1))
            srunner_add_suite(runner, suites[i].make());
    fixture_begin();
    srunner_run_all(runner, CK_ENV);
    fixture_end();
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
