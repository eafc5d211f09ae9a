/* SPDX-License-Identifier: MIT */
/*
 * Digests of arrays.  Called by put.c, reader.c, extent_bytes.c, and (hs_sum64) by whoever
 * writes a header or a log record.
 *
 * An hs_tree owns room for the digests of all pieces of one array, nothing of OpenSSL's:
 * since OpenSSL 3 each use of EVP_sha256() looks the algorithm up again, which costs about
 * 0.25 us of the 170 us that a piece takes (measured, 3.0.19, SHA instructions), and a
 * tree that needs XXH3 alone never pays it.
 *
 * XXH3 of a piece that is in cache takes 9 us with AVX2 and 34 us with the SSE2 of which alone
 * the plain functions of distributions' libxxhash make use.  Where the library has the
 * variants that choose by the CPU, they are called; they are a weak reference, since not
 * every build of the library has them.  Those return with the upper halves of the vector
 * registers in use (0.8.1), which on a Zen 4 makes the SHA instructions, ours and OpenSSL's,
 * a third slower until somebody clears them; so that is done at once.
 *
 * Always holds: a piece's digests are written by one thread, to a place that no other
 * piece shares, so pieces need no lock.  The caller's join orders them before hs_tree_id
 * and hs_tree_sum.
 */
#include "digest.h"
#include "parallel.h"
#include "sha_pair.h"
#include <assert.h>
#include <openssl/evp.h>
#include <xxhash.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define DIGEST_SHA_SIZE ((size_t)32)
#define DIGEST_SUM_SIZE ((size_t)8)

struct hs_tree {
    uint64_t nbytes, pieces;
    uint8_t *shas; /* a SHA-256 for each piece: what hs_tree_id digests */
    uint8_t *sums; /* an le64 for each piece: what hs_tree_sum digests */
    uint8_t digests[];
};

extern XXH64_hash_t XXH3_64bits_dispatch(const void *, size_t) __attribute__((weak));

#ifdef __x86_64__
__attribute__((target("avx"))) static void
digest_clear_upper_halves(void)
{
    _mm256_zeroupper();
}
#endif

uint64_t
hs_sum64(const void *data, size_t size)
{
    uint64_t sum;

    if (XXH3_64bits_dispatch == NULL)
        return XXH3_64bits(data, size);
    sum = XXH3_64bits_dispatch(data, size);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx"))
        digest_clear_upper_halves();
#endif
    return sum;
}

static uint64_t
digest_pieces(uint64_t nbytes)
{
    return nbytes / HS_PIECE_SIZE + (nbytes % HS_PIECE_SIZE != 0);
}

int
hs_tree_new(uint64_t nbytes, hs_tree **tree, h5store_err *err)
{
    uint64_t pieces = digest_pieces(nbytes);
    uint64_t size = sizeof(hs_tree) + pieces * (DIGEST_SHA_SIZE + DIGEST_SUM_SIZE);
    hs_tree *made;

    /* The length may come from a damaged file; no file has 2^63 bytes. */
    if (nbytes > INT64_MAX || size > SIZE_MAX)
        return hs_fail_nomem(err, size, "digests");
    made = malloc((size_t)size);
    if (made == NULL)
        return hs_fail_nomem(err, size, "digests");
    made->nbytes = nbytes;
    made->pieces = pieces;
    made->shas = made->digests;
    made->sums = made->digests + pieces * DIGEST_SHA_SIZE;
    *tree = made;
    return H5STORE_OK;
}

void
hs_tree_freep(hs_tree **tree)
{
    free(*tree);
    *tree = NULL;
}

uint64_t
hs_tree_pieces(const hs_tree *tree)
{
    return tree->pieces;
}

static int
digest_fail(h5store_err *err)
{
    return hs_fail(err, H5STORE_E_IO, 0,
                   "OpenSSL's libcrypto could not compute a SHA-256; check its configuration "
                   "(openssl.cnf, providers)");
}

int
hs_tree_piece(hs_tree *tree, uint64_t index, const void *data, bool sha, bool sum, h5store_err *err)
{
    size_t size;

    assert(index < tree->pieces);
    size = (size_t)hs_min(tree->nbytes - index * HS_PIECE_SIZE, HS_PIECE_SIZE);
    if (sum)
        hs_put_le64(tree->sums + index * DIGEST_SUM_SIZE, hs_sum64(data, size));
    if (sha &&
        EVP_Digest(data, size, tree->shas + index * DIGEST_SHA_SIZE, NULL, EVP_sha256(), NULL) != 1)
        return digest_fail(err);
    return H5STORE_OK;
}

/* SHA-256 of two whole pieces that follow each other. */
static void
digest_pair(hs_tree *tree, uint64_t index, const uint8_t *data)
{
    uint8_t *place = tree->shas + index * DIGEST_SHA_SIZE;

    hs_sha_pair(data, data + HS_PIECE_SIZE, HS_PIECE_SIZE, place, place + DIGEST_SHA_SIZE);
}

int
hs_tree_run(hs_tree *tree, uint64_t index, uint64_t count, const void *data, bool sha, bool sum,
            h5store_err *err)
{
    const uint8_t *bytes = data;
    bool pairs = sha && hs_sha_pair_available();
    int rc = H5STORE_OK;

    for (uint64_t i = 0; rc == H5STORE_OK && i < count;) {
        bool pair = pairs && i + 1 < count && (index + i + 2) * HS_PIECE_SIZE <= tree->nbytes;

        if (pair)
            digest_pair(tree, index + i, bytes + i * HS_PIECE_SIZE);
        for (int end = pair ? 2 : 1; rc == H5STORE_OK && end > 0; end--, i++)
            rc = hs_tree_piece(tree, index + i, bytes + i * HS_PIECE_SIZE, sha && !pair, sum, err);
    }
    return rc;
}

static void
digest_free_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

/* A field of variable length: its length, then itself, so that no two arrays can give
 * the same message. */
static bool
digest_add(EVP_MD_CTX *context, const void *bytes, size_t size)
{
    uint8_t length[8];

    hs_put_le64(length, size);
    return EVP_DigestUpdate(context, length, sizeof length) == 1 &&
           EVP_DigestUpdate(context, bytes, size) == 1;
}

static bool
digest_add_shape(EVP_MD_CTX *context, const h5store_array *array)
{
    uint8_t shape[8 * H5STORE_MAX_RANK];

    assert(array->rank >= 0 && array->rank <= H5STORE_MAX_RANK);
    for (int i = 0; i < array->rank; i++)
        hs_put_le64(shape + 8 * i, array->shape[i]);
    return digest_add(context, shape, 8 * (size_t)array->rank);
}

int
hs_tree_id(const hs_tree *tree, const h5store_array *array, h5store_id *id, h5store_err *err)
{
    HS_CLEANUP(digest_free_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t nbytes[8];
    h5store_id made;

    assert(array->nbytes == tree->nbytes);
    hs_put_le64(nbytes, array->nbytes);
    if (context == NULL)
        return hs_fail_nomem(err, 0, "a SHA-256");
    if (EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(context, "h5store1", 8) != 1 ||
        !digest_add(context, array->dtype, strlen(array->dtype)) ||
        !digest_add(context, array->order == H5STORE_ORDER_F ? "F" : "C", 1) ||
        !digest_add_shape(context, array) ||
        EVP_DigestUpdate(context, nbytes, sizeof nbytes) != 1 ||
        EVP_DigestUpdate(context, tree->shas, (size_t)tree->pieces * DIGEST_SHA_SIZE) != 1 ||
        EVP_DigestFinal_ex(context, made.bytes, NULL) != 1)
        return digest_fail(err);
    *id = made;
    return H5STORE_OK;
}

uint64_t
hs_tree_sum(const hs_tree *tree)
{
    return hs_sum64(tree->sums, (size_t)tree->pieces * DIGEST_SUM_SIZE);
}

struct digest_job {
    hs_tree *tree;
    uint64_t first; /* piece: where the source begins */
    hs_source source;
    bool sha, sum;
    uint64_t step; /* bytes */
};

static int
digest_step(void *context, uint64_t index, h5store_err *err)
{
    const struct digest_job *job = context;
    uint64_t from = index * job->step, end = hs_min(from + job->step, job->source.nbytes);
    HS_CLEANUP(hs_freep) void *scratch = NULL;
    int rc = H5STORE_OK;

    if (!hs_source_is_whole(&job->source)) {
        scratch = malloc(HS_RUN_SIZE);
        if (scratch == NULL)
            return hs_fail_nomem(err, HS_RUN_SIZE, "an array that does not lie in one piece");
    }
    for (size_t size; rc == H5STORE_OK && from < end; from += size) {
        size = (size_t)hs_min(end - from, HS_RUN_SIZE);
        rc = hs_tree_run(job->tree, job->first + from / HS_PIECE_SIZE, digest_pieces(size),
                         hs_source_bytes(&job->source, from, size, scratch), job->sha, job->sum,
                         err);
    }
    return rc;
}

static int
digest_run(struct digest_job *job, int threads, h5store_err *err)
{
    uint64_t size = job->source.nbytes;

    job->step = HS_RUN_SIZE;
    if (!hs_source_is_whole(&job->source))
        job->step *= HS_RUNS_WITH_SCRATCH;
    threads = hs_parallel_threads(threads, size, job->sha ? HS_GRAIN_HASH : HS_GRAIN_READ);
    return hs_parallel_for((size + job->step - 1) / job->step, threads, digest_step, job, err);
}

int
hs_tree_memory(hs_tree *tree, uint64_t index, const void *data, uint64_t size, int threads,
               bool sha, bool sum, h5store_err *err)
{
    struct digest_job job = {.tree = tree,
                             .first = index,
                             .sha = sha,
                             .sum = sum,
                             .source = {.data = data, .nbytes = size}};

    return digest_run(&job, threads, err);
}

int
hs_digest_array(const h5store_array *array, int threads, h5store_id *id, uint64_t *sum,
                h5store_err *err)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    struct digest_job job = {.source = hs_source_of(array), .sha = id != NULL, .sum = sum != NULL};
    int rc = hs_tree_new(array->nbytes, &tree, err);

    if (rc < 0)
        return rc;
    job.tree = tree;
    rc = digest_run(&job, threads, err);
    if (rc == H5STORE_OK && id != NULL)
        rc = hs_tree_id(tree, array, id, err);
    if (rc == H5STORE_OK && sum != NULL)
        *sum = hs_tree_sum(tree);
    return rc;
}
