/* SPDX-License-Identifier: MIT */
/*
 * A container to be damaged, of which everything is known, and a look at what was saved of it.
 *
 * What each result holds follows from its number, which stands in its output; so whatever is in
 * a target can be told from what was put.  Some results were removed again: nothing of them may
 * be seen.
 */
#ifndef TESTS_PATIENT_H
#define TESTS_PATIENT_H

#include "container.h"

#define PATIENT_ITEMS 80u   /* that are there */
#define PATIENT_REMOVED 16u /* numbers from PATIENT_ITEMS on */
#define PATIENT_KEPT 4u     /* arrays that were stored by themselves */

/* For tcase_add_checked_fixture, with box_teardown: the container of the test is made. */
void patient_setup(void);
void patient_setup_with_heaps(void); /* large groups are such as earlier versions made */
extern uint64_t patient_blobs;       /* how many there are */

/* Names and contents of a result.  An array has its own seed, or shares one with others. */
const char *patient_collection(unsigned n);
void patient_key(unsigned n, char key[64]);
size_t patient_links(unsigned n);
void patient_array(unsigned n, size_t link, size_t *size, unsigned *seed);

/* A copy of the container; its path. */
const char *patient_copy(void);

/* Zeros over bytes of a file; the address of an object header in the container. */
void patient_zero(const char *path, uint64_t offset, size_t size);
uint64_t patient_address(const char *path);

/* What was saved. */
typedef struct patient {
    h5store_salvaged done;
    unsigned losses, remarks;      /* findings */
    char text[16384];              /* all of them */
    unsigned named, unnamed, kept; /* what is in the target */
    bool there[PATIENT_ITEMS];
} patient;

/* Salvage a file into a fresh container, and look at everything in that: fails the test if
 * anything is wrong, was removed, or is there twice. */
void patient_salvage(const char *path, patient *found);

/* Everything was saved; or what was saved and what was lost are all there was. */
void patient_expect_all(const patient *found);
void patient_expect_sum(const patient *found);

#endif
