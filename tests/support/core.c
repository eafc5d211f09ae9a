/* SPDX-License-Identifier: MIT */
/*
 * See core.h.
 */
#include "core.h"
#include "../../src/extent.h"
#include "container.h"

hs_container *
core_open(const char *path, unsigned flags, bool unclean)
{
    h5store_options options;
    hs_container *c;
    bool found_unclean;

    h5store_options_init(&options);
    options.flags = flags;
    options.timeout = 5;
    BOX_OK(hs_container_open(path, &options, &c, &found_unclean, &box_err));
    ck_assert_int_eq(found_unclean, unclean);
    return c;
}

uint64_t
core_used_bytes(hs_container *c)
{
    uint64_t bytes;

    BOX_OK(hs_container_read_begin(c, NULL, &box_err));
    bytes = hs_container_space(c)->eoa - hs_container_space(c)->free_bytes;
    hs_container_read_end(c);
    return bytes;
}

void
core_expect_gone_with_process(hs_container *c, child_fn reserve, uint64_t bytes)
{
    uint64_t used = core_used_bytes(c);
    child *other = child_start(reserve, NULL);

    ck_assert_uint_gt(child_hear(other), 0);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used + bytes); /* it lives */
    child_kill(other);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used);
}

uint64_t
core_commits(hs_container *c)
{
    uint64_t sequence;

    BOX_OK(hs_container_read_begin(c, NULL, &box_err));
    sequence = hs_container_sequence(c);
    hs_container_read_end(c);
    return sequence;
}
