/* SPDX-License-Identifier: MIT */
/*
 * Tokens of Python literals: marks, words, numbers, strings.
 *
 * dtype_parse.c is the only caller.  Reads what repr() prints for strings and small
 * numbers; what repr() never prints (octal escapes, underscores in numbers) is refused,
 * since a description is part of a blob's name and one type should have one text.
 * Nothing looks past the terminating zero, and every function moves the cursor forward,
 * fails, or says no.
 */
#ifndef HS_LITERAL_H
#define HS_LITERAL_H

#include "error.h"

#define HS_LITERAL_MAX_NUMBER ((uint64_t)INT32_MAX) /* NumPy's item size is a C int */

typedef struct hs_literal {
    const char *start;
    const char *at;
    h5store_err *err;
} hs_literal;

typedef struct hs_literal_text {
    char *bytes; /* zero-terminated, UTF-8, a surrogate as three bytes; owned */
    size_t length;
    bool plain; /* valid UTF-8 without a zero byte, and not empty */
} hs_literal_text;

void hs_literal_text_release(hs_literal_text *text);

/* A failure at the cursor; @p what is the cause, in words.  Returns code. */
int hs_literal_fail(const hs_literal *in, enum h5store_code code, const char *what);

/* Spaces are skipped; is this mark, or word, next?  Then it is taken. */
bool hs_literal_take(hs_literal *in, char mark);
bool hs_literal_take_word(hs_literal *in, const char *word);

/* INVALID unless the mark is next. */
int hs_literal_expect(hs_literal *in, char mark);

/*
 * Called before each element of a bracket, with the number of those read: takes the
 * comma between them.  @p ended: the closing mark was there and is taken.
 */
int hs_literal_next(hs_literal *in, char end, int elements, bool *ended);

/* Digits at @p at; false for none, a leading zero, or a number of 2^31 and more. */
bool hs_literal_scan_number(const char **at, uint64_t *number);
int hs_literal_number(hs_literal *in, uint64_t *number);

/* @p text must be empty, and is to be released whatever is returned. */
int hs_literal_string(hs_literal *in, hs_literal_text *text);

#endif
