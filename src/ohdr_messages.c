/* SPDX-License-Identifier: MIT */
/*
 * What the messages of an object header say; see ohdr.h.  The bodies are given in the HDF5 File
 * Format Specification, version 3, IV.A.2.  Called by ohdr.c for each message of a header whose
 * checksums are right; a body that contradicts itself is refused all the same.
 */
#include "ohdr_impl.h"

/* Version 1 or 2.  *count: how many elements. */
static bool
ohdr_dataspace(struct ohdr_span *span, uint64_t *dims, int *rank, uint64_t *count)
{
    const uint8_t *head, *skipped;

    if (!ohdr_take(span, 4, &head) || head[1] > OHDR_MOST_RANK)
        return false;
    if (head[0] == 1 ? !ohdr_take(span, 4, &skipped) : head[0] != 2)
        return false;
    *rank = head[1];
    *count = head[0] == 2 && head[3] == 2 ? 0 : 1; /* the "null" space has no element */
    for (int i = 0; i < *rank; i++)
        if (!ohdr_number(span, 8, &dims[i]) || !hs_mul(*count, dims[i], count))
            return false;
    return true;
}

static bool
ohdr_datatype(struct ohdr_span *span, int *type_class, size_t *size)
{
    const uint8_t *head;

    if (!ohdr_take(span, 8, &head))
        return false;
    *type_class = head[0] & 0x0F;
    *size = hs_get_le32(head + 4);
    return true;
}

static bool
ohdr_attribute(struct ohdr_span *span, hs_ohdr *header)
{
    hs_ohdr_attribute *attribute = &header->attributes[header->attribute_count];
    const uint8_t *head, *name, *type, *space;
    uint64_t dims[OHDR_MOST_RANK + 1], size;
    struct ohdr_span part;
    size_t lengths[3];
    int rank;

    if (!ohdr_take(span, 9, &head) || head[0] != 3)
        return false;
    if (head[1] != 0)
        return true; /* type or space are shared: passed over */
    for (int i = 0; i < 3; i++)
        lengths[i] = (size_t)head[2 + 2 * i] | (size_t)head[3 + 2 * i] << 8;
    if (!ohdr_take(span, lengths[0], &name) || !ohdr_take(span, lengths[1], &type) ||
        !ohdr_take(span, lengths[2], &space) || lengths[0] == 0 || name[lengths[0] - 1] != '\0')
        return false;
    part = (struct ohdr_span){type, type + lengths[1]};
    if (!ohdr_datatype(&part, &attribute->type_class, &attribute->type_size))
        return false;
    part = (struct ohdr_span){space, space + lengths[2]};
    if (!ohdr_dataspace(&part, dims, &rank, &attribute->count) ||
        !hs_mul(attribute->count, attribute->type_size, &size) ||
        !ohdr_take(span, size, &attribute->value))
        return false;
    attribute->name = (const char *)name;
    attribute->size = (size_t)size;
    header->attribute_count++;
    return true;
}

/* *hard: it is a hard link; others have no address, and are passed over. */
static bool
ohdr_parse_link(struct ohdr_span *span, hs_ohdr_link *link, bool *hard)
{
    const uint8_t *head, *name;
    uint64_t kind = 0, ignored, length;
    unsigned flags;

    if (!ohdr_take(span, 2, &head) || head[0] != 1)
        return false;
    flags = head[1];
    if (((flags & 0x08) && !ohdr_number(span, 1, &kind)) ||
        ((flags & 0x04) && !ohdr_number(span, 8, &ignored)) ||
        ((flags & 0x10) && !ohdr_number(span, 1, &ignored)) ||
        !ohdr_number(span, 1u << (flags & 0x03), &length) || !ohdr_take(span, length, &name))
        return false;
    *hard = kind == 0;
    link->name = (const char *)name;
    link->name_length = (size_t)length;
    return !*hard || ohdr_number(span, 8, &link->address);
}

static bool
ohdr_link(struct ohdr_span *span, hs_ohdr *header)
{
    bool hard;

    if (!ohdr_parse_link(span, &header->links[header->link_count], &hard))
        return false;
    header->link_count += hard;
    header->links_elsewhere = header->links_elsewhere || !hard;
    return true;
}

size_t
hs_ohdr_parse_link(const uint8_t *bytes, size_t size, hs_ohdr_link *link)
{
    struct ohdr_span span = {bytes, bytes + size};
    hs_ohdr_link parsed;
    bool hard;

    if (!ohdr_parse_link(&span, &parsed, &hard) || !hard)
        return 0;
    *link = parsed;
    return (size_t)(span.at - bytes);
}

static bool
ohdr_link_info(struct ohdr_span *span, hs_ohdr *header)
{
    const uint8_t *head;
    uint64_t ignored;

    if (!ohdr_take(span, 2, &head) || head[0] != 0 ||
        ((head[1] & 0x01) && !ohdr_number(span, 8, &ignored)) ||
        !ohdr_number(span, 8, &header->heap) || !ohdr_number(span, 8, &header->name_index))
        return false;
    header->is_group = true;
    header->links_ordered = (head[1] & 0x01) != 0;
    header->links_dense = header->heap != UINT64_MAX;
    return true;
}

static bool
ohdr_attribute_info(struct ohdr_span *span, hs_ohdr *header)
{
    const uint8_t *head;
    uint64_t ignored, heap;

    if (!ohdr_take(span, 2, &head) || head[0] != 0 ||
        ((head[1] & 0x01) && !ohdr_number(span, 2, &ignored)) || !ohdr_number(span, 8, &heap))
        return false;
    header->attributes_dense = heap != UINT64_MAX;
    return true;
}

/* The part of a layout message of version 4 behind its class, for chunks.  *known: it is one
 * of the two whose chunks lie one behind the other, or a fixed array. */
static bool
ohdr_chunks(struct ohdr_span *span, hs_ohdr *header, int *rank, bool *known)
{
    uint64_t size = 1, dim = 0;
    const uint8_t *head, *index;

    *known = false;
    /* Flags, number of dimensions, bytes of each; the last dimension is the element's size. */
    if (!ohdr_take(span, 3, &head) || head[1] < 1 || head[1] > OHDR_MOST_RANK + 1)
        return false;
    *rank = head[1] - 1;
    for (int i = 0; i <= *rank; i++) {
        if (!ohdr_number(span, head[2], &dim) || dim == 0 || !hs_mul(size, dim, &size))
            return false;
        if (i < *rank)
            header->chunk_dims[i] = dim;
    }
    if (!ohdr_take(span, 1, &index))
        return false;
    header->chunk_size = size;
    *known = index[0] == 2 || (index[0] == 1 && (head[0] & 0x02) == 0) || index[0] == 3;
    header->layout = index[0] == 3 ? HS_OHDR_FIXED_ARRAY : HS_OHDR_IMPLICIT;
    return index[0] != 3 || ohdr_take(span, 1, &index); /* how many elements have a page */
}

/* *place: where in the message the address stands. */
static bool
ohdr_layout(struct ohdr_span *span, hs_ohdr *header, int *chunk_rank, const uint8_t **place)
{
    const uint8_t *head;
    bool known;

    header->layout = HS_OHDR_OTHER;
    if (!ohdr_take(span, 2, &head) || head[0] < 3 || head[0] > 4)
        return false;
    switch (head[1]) {
    case 0:
        header->layout = HS_OHDR_COMPACT;
        return ohdr_number(span, 2, &header->data_size) &&
               ohdr_take(span, header->data_size, &header->data);
    case 1:
        header->layout = HS_OHDR_CONTIGUOUS;
        *place = span->at;
        return ohdr_number(span, 8, &header->data_address) &&
               ohdr_number(span, 8, &header->data_size);
    case 2:
        if (head[0] == 3)
            return true; /* a B-tree of version 1 */
        if (!ohdr_chunks(span, header, chunk_rank, &known))
            return false;
        if (!known) {
            header->layout = HS_OHDR_OTHER;
            return true;
        }
        *place = span->at;
        return ohdr_number(span, 8, &header->data_address);
    default:
        return true;
    }
}

/* One filter; those that HDF5 does not number itself also have a name.  *known: it does. */
static bool
ohdr_filter(struct ohdr_span *span, hs_ohdr_filter *filter, bool *known)
{
    uint64_t id, flags, count, value;

    if (!ohdr_number(span, 2, &id))
        return false;
    *known = id < 256;
    if (!*known)
        return true;
    filter->id = (unsigned)id;
    if (!ohdr_number(span, 2, &flags) || !ohdr_number(span, 2, &count))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!ohdr_number(span, 4, &value))
            return false;
        if (i == 0)
            filter->value = (uint32_t)value;
    }
    return true;
}

static bool
ohdr_filters(struct ohdr_span *span, hs_ohdr *header)
{
    const uint8_t *head;
    bool known = true;

    if (!ohdr_take(span, 2, &head))
        return false;
    header->filtered = head[1] > 0;
    if (head[0] != 2 || head[1] > HS_OHDR_FILTERS)
        return true;
    for (int i = 0; known && i < head[1]; i++)
        if (!ohdr_filter(span, &header->filters[i], &known))
            return false;
    header->filter_count = known ? head[1] : 0;
    return true;
}

static bool
ohdr_references(struct ohdr_span *span, hs_ohdr *header)
{
    const uint8_t *head;

    if (!ohdr_take(span, 5, &head) || head[0] != 0)
        return false;
    header->references = hs_get_le32(head + 1);
    return true;
}

bool
ohdr_interpret(struct ohdr_message *message, hs_ohdr *header, int *chunk_rank,
               const uint8_t **place)
{
    struct ohdr_span *body = &message->body;
    uint64_t count;

    if (message->shared)
        return true;
    switch (message->kind) {
    case OHDR_DATASPACE:
        return ohdr_dataspace(body, header->dims, &header->rank, &count);
    case OHDR_LINK_INFO:
        return ohdr_link_info(body, header);
    case OHDR_DATATYPE:
        return ohdr_datatype(body, &header->type_class, &header->type_size);
    case OHDR_LINK:
        return ohdr_link(body, header);
    case OHDR_LAYOUT:
        return ohdr_layout(body, header, chunk_rank, place);
    case OHDR_FILTERS:
        return ohdr_filters(body, header);
    case OHDR_ATTRIBUTE:
        return ohdr_attribute(body, header);
    case OHDR_ATTRIBUTE_INFO:
        return ohdr_attribute_info(body, header);
    case OHDR_REFERENCES:
        return ohdr_references(body, header);
    default:
        return true;
    }
}
