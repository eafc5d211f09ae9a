/* SPDX-License-Identifier: MIT */
/*
 * See probe.h.  A direct-mapped cache: a newer fingerprint takes the place of an older one
 * that falls into the same slot.
 */
#include "probe.h"
#include "digest.h"

#define PROBE_SAMPLE 4096u
#define PROBE_SAMPLES 5u

uint64_t
hs_probe_of(const h5store_array *array)
{
    uint64_t words[PROBE_SAMPLES + 3] = {array->nbytes,
                                         hs_sum64(array->dtype, strlen(array->dtype)),
                                         hs_sum64(array->shape, 8 * (size_t)array->rank)};
    uint64_t size = hs_min(array->nbytes, PROBE_SAMPLE), span = array->nbytes - size;
    hs_source source = hs_source_of(array);
    uint8_t scratch[PROBE_SAMPLE];

    for (unsigned i = 0; i < PROBE_SAMPLES; i++)
        words[i + 3] = hs_sum64(
            hs_source_bytes(&source, span / (PROBE_SAMPLES - 1) * i, (size_t)size, scratch),
            (size_t)size);
    return hs_sum64(words, sizeof words) | 1; /* never the value of an empty slot */
}

static struct hs_probe_slot *
probe_slot(hs_probes *probes, uint64_t probe)
{
    return &probes->slots[probe / 2 % HS_PROBE_SLOTS];
}

bool
hs_probe_seen(hs_probes *probes, uint64_t probe, h5store_id *id)
{
    struct hs_probe_slot *slot = probe_slot(probes, probe);

    for (size_t i = 0; i < 4; i++)
        hs_put_le64(id->bytes + 8 * i, atomic_load_explicit(&slot->id[i], memory_order_relaxed));
    return atomic_load_explicit(&slot->probe, memory_order_relaxed) == probe;
}

void
hs_probe_note(hs_probes *probes, uint64_t probe, const h5store_id *id)
{
    struct hs_probe_slot *slot = probe_slot(probes, probe);

    for (size_t i = 0; i < 4; i++)
        atomic_store_explicit(&slot->id[i], id != NULL ? hs_get_le64(id->bytes + 8 * i) : 0,
                              memory_order_relaxed);
    atomic_store_explicit(&slot->probe, probe, memory_order_relaxed);
}
