/* SPDX-License-Identifier: MIT */
/*
 * Object headers read without HDF5, with HDF5 itself as the oracle: whatever it says of an
 * object of a real file must be what the header says, and what was moved it must find.
 */
#include "h5util.h"
#include "ohdr.h"
#include "os.h"
#include "support/container.h"
#include "support/fixture.h"
#include "support/zoo.h"
#include "vfd_compat.h"
#include <stdio.h>
#include <unistd.h>

Suite *ohdr_suite(void);

static hs_pager pager;
static h5store_err err;

static void
setup(void)
{
    box_setup();
    memset(&pager, 0, sizeof pager);
    pager.fd = -1;
}

static void
use_file(const char *path)
{
    pager.path = path;
    ck_assert_int_eq(hs_os_open(path, O_RDWR, &pager.fd, &err), H5STORE_OK);
    pager.in_transaction = true;
}

static void
teardown(void)
{
    hs_overlay_release(&pager.committed);
    hs_overlay_release(&pager.pending);
    hs_os_closep(&pager.fd);
    box_teardown();
}

/* ---- the oracle ------------------------------------------------------------------- */

struct tour {
    hid_t file;
    uint64_t seen[400]; /* addresses of the objects */
    unsigned objects, groups, dense, continued, attributes, links;
    unsigned compact, contiguous, implicit, indexed, other, bytes;
};

static uint64_t
address_of(hid_t object)
{
    hs_object_info info;
    haddr_t address;

    ck_assert_int_ge(hs_object_info_get(object, &info), 0);
    ck_assert_int_ge(hs_object_address(object, info, &address), 0);
    return address;
}

/* How many blocks the header has, and how many attributes the object. */
static void
count_parts(hid_t object, unsigned *blocks, uint64_t *attributes)
{
    hs_header_info header;
    hs_object_info info;

    ck_assert_int_ge(hs_header_info_get(object, &header), 0);
    ck_assert_int_ge(hs_object_info_get(object, &info), 0);
    *blocks = header.hdr.nchunks;
    *attributes = info.num_attrs;
}

static void
compare_attribute(hid_t object, const hs_ohdr_attribute *mine)
{
    hid_t attribute = H5Aopen(object, mine->name, H5P_DEFAULT), type = H5Aget_type(attribute);
    hid_t space = H5Aget_space(attribute);
    uint8_t *value = malloc(mine->size + 1);

    ck_assert_int_ge(attribute, 0);
    ck_assert_uint_eq(mine->type_size, H5Tget_size(type));
    ck_assert_int_eq(mine->type_class, (int)H5Tget_class(type));
    ck_assert_int_eq((int64_t)mine->count, H5Sget_simple_extent_npoints(space));
    ck_assert_uint_eq(mine->size, mine->type_size * mine->count);
    ck_assert_int_ge(H5Aread(attribute, type, value), 0);
    ck_assert_mem_eq(value, mine->value, mine->size);
    free(value);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
}

static void
compare_dataset(struct tour *tour, hid_t dataset, const hs_ohdr *header)
{
    static const hsize_t origin[H5S_MAX_RANK];
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    hid_t creation = H5Dget_create_plist(dataset);
    hsize_t dims[H5S_MAX_RANK], size, chunk[H5S_MAX_RANK];
    haddr_t address;
    unsigned mask;
    uint8_t *data;

    ck_assert(!header->is_group);
    ck_assert_int_eq(header->type_class, (int)H5Tget_class(type));
    ck_assert_uint_eq(header->type_size, H5Tget_size(type));
    ck_assert_int_eq(header->rank, H5Sget_simple_extent_dims(space, dims, NULL));
    for (int i = 0; i < header->rank; i++)
        ck_assert_uint_eq(header->dims[i], dims[i]);
    ck_assert_int_eq(header->filtered, H5Pget_nfilters(creation) > 0);
    size = H5Dget_storage_size(dataset);
    switch (header->layout) {
    case HS_OHDR_COMPACT:
        tour->compact++;
        ck_assert_int_eq(H5Pget_layout(creation), H5D_COMPACT);
        ck_assert_uint_eq(header->data_size, size);
        data = malloc(size + 1);
        ck_assert_int_ge(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
        ck_assert_mem_eq(data, header->data, size);
        free(data);
        break;
    case HS_OHDR_CONTIGUOUS:
        tour->contiguous++;
        ck_assert_int_eq(H5Pget_layout(creation), H5D_CONTIGUOUS);
        ck_assert_uint_eq(header->data_address, H5Dget_offset(dataset));
        if (size > 0) /* it has space */
            ck_assert_uint_eq(header->data_size, size);
        ck_assert_uint_ne(header->layout_place, 0);
        break;
    case HS_OHDR_IMPLICIT:
        tour->implicit++;
        ck_assert_int_eq(H5Pget_chunk(creation, H5S_MAX_RANK, chunk), header->rank);
        for (int i = 0; i < header->rank; i++)
            ck_assert_uint_eq(header->chunk_dims[i], chunk[i]);
        ck_assert_int_ge(H5Dget_chunk_info_by_coord(dataset, origin, &mask, &address, &size), 0);
        ck_assert_uint_eq(header->data_address, address);
        ck_assert_uint_eq(header->chunk_size, size);
        ck_assert_uint_ne(header->layout_place, 0);
        break;
    case HS_OHDR_FIXED_ARRAY:
        tour->indexed++;
        ck_assert_int_eq(H5Pget_chunk(creation, H5S_MAX_RANK, chunk), header->rank);
        for (int i = 0; i < header->rank; i++)
            ck_assert_uint_eq(header->chunk_dims[i], chunk[i]);
        ck_assert_int_eq(header->filter_count, H5Pget_nfilters(creation));
        for (int i = 0; i < header->filter_count; i++) {
            unsigned flags, value = 0;
            size_t values = 1;

            ck_assert_int_eq(
                (int)header->filters[i].id,
                H5Pget_filter2(creation, (unsigned)i, &flags, &values, &value, 0, NULL, NULL));
            ck_assert_uint_eq(header->filters[i].value, value);
        }
        ck_assert_uint_ne(header->layout_place, 0);
        break;
    default:
        tour->other++;
        ck_assert_int_eq(header->layout, HS_OHDR_OTHER);
        ck_assert_int_eq(H5Pget_layout(creation), H5D_CHUNKED);
    }
    H5Pclose(creation);
    H5Sclose(space);
    H5Tclose(type);
}

static void
compare_group(struct tour *tour, hid_t group, const hs_ohdr *header)
{
    H5G_info_t info;
    hsize_t hard = 0;

    ck_assert(header->is_group);
    ck_assert_int_ge(H5Gget_info(group, &info), 0);
    tour->groups++;
    ck_assert_int_eq(header->links_dense, info.storage_type == H5G_STORAGE_TYPE_DENSE);
    if (header->links_dense) {
        tour->dense++;
        ck_assert_uint_ne(header->heap, UINT64_MAX);
        ck_assert_uint_ne(header->name_index, UINT64_MAX);
        ck_assert_uint_eq(header->link_count, 0);
        return;
    }
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[256];
        ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                            sizeof name, H5P_DEFAULT);
        size_t found = 0;
        hs_link_info link;
        hid_t object;

        ck_assert_int_ge(hs_link_info_get(group, name, &link), 0);
        if (link.type != H5L_TYPE_HARD)
            continue;
        hard++;
        object = H5Oopen(group, name, H5P_DEFAULT);
        for (size_t j = 0; j < header->link_count; j++)
            if (header->links[j].name_length == (size_t)length &&
                memcmp(header->links[j].name, name, (size_t)length) == 0 &&
                header->links[j].address == address_of(object))
                found++;
        ck_assert_uint_eq(found, 1);
        H5Oclose(object);
    }
    ck_assert_uint_eq(header->link_count, hard);
    tour->links += (unsigned)hard;
}

static void
visit(struct tour *tour, hid_t object)
{
    uint64_t address = address_of(object), attributes;
    hs_object_info info;
    unsigned blocks;
    hs_ohdr header;

    for (unsigned i = 0; i < tour->objects; i++)
        if (tour->seen[i] == address)
            return;
    ck_assert_uint_lt(tour->objects, sizeof tour->seen / sizeof *tour->seen);
    tour->seen[tour->objects++] = address;
    ck_assert_int_ge(hs_object_info_get(object, &info), 0);
    count_parts(object, &blocks, &attributes);
    BOX_OK(hs_ohdr_read(&pager, address, &header, &box_err));
    ck_assert_uint_eq(header.address, address);
    ck_assert_uint_eq(header.references, info.rc);
    ck_assert_uint_eq(header.block_count, blocks);
    ck_assert_uint_eq(header.blocks[0].address, address);
    tour->continued += header.block_count > 1;
    for (size_t i = 0; i < header.block_count; i++)
        tour->bytes += (unsigned)header.blocks[i].length;
    if (header.attributes_dense)
        ck_assert_uint_eq(header.attribute_count, 0);
    else
        ck_assert_uint_eq(header.attribute_count, attributes);
    for (size_t i = 0; i < header.attribute_count; i++)
        compare_attribute(object, &header.attributes[i]);
    tour->attributes += (unsigned)header.attribute_count;
    if (H5Iget_type(object) == H5I_DATASET)
        compare_dataset(tour, object, &header);
    else
        compare_group(tour, object, &header);
    hs_ohdr_release(&header);
}

static herr_t
visit_link(hid_t root, const char *name, const H5L_info_t *info HS_UNUSED, void *context)
{
    hid_t object = H5Oopen(root, name, H5P_DEFAULT);

    ck_assert_int_ge(object, 0);
    visit(context, object);
    H5Oclose(object);
    return 0;
}

static struct tour
compare(const char *path)
{
    struct tour tour = {.file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT)};
    hid_t root = H5Oopen(tour.file, "/", H5P_DEFAULT);

    ck_assert_int_ge(tour.file, 0);
    use_file(path);
    visit(&tour, root);
    ck_assert_int_ge(H5Lvisit(root, H5_INDEX_NAME, H5_ITER_INC, visit_link, &tour), 0);
    H5Oclose(root);
    ck_assert_int_ge(H5Fclose(tour.file), 0);
    return tour;
}

START_TEST(objects_are_as_hdf5_says)
{
    struct tour tour;

    zoo_make();
    tour = compare(box_path());
    ck_assert_uint_gt(tour.objects, 120);
    ck_assert_uint_ge(tour.dense, 2);
    ck_assert_uint_ge(tour.continued, 30);
    ck_assert_uint_ge(tour.attributes, 200);
    ck_assert_uint_ge(tour.links, 150);
    ck_assert_uint_ge(tour.compact, 4);
    ck_assert_uint_ge(tour.contiguous, 2);
    ck_assert_uint_ge(tour.implicit, 30);
    ck_assert_uint_eq(tour.indexed, 1);
    ck_assert_uint_eq(tour.other, 0);
}
END_TEST

START_TEST(foreign_objects_are_as_hdf5_says)
{
    struct tour tour = compare(zoo_make_foreign());

    ck_assert_uint_eq(tour.objects, 7);
    ck_assert_uint_eq(tour.groups, 3);
    ck_assert_uint_eq(tour.attributes, 4); /* those of the root are dense */
    ck_assert_uint_eq(tour.contiguous, 1);
    ck_assert_uint_eq(tour.indexed, 2);
    ck_assert_uint_eq(tour.other, 1);
}
END_TEST

/* ---- damage ----------------------------------------------------------------------- */

/* Put other bytes into the pending pages. */
static void
poke(uint64_t address, const void *bytes, size_t size)
{
    ck_assert_int_eq(hs_pager_write(&pager, address, bytes, size, &err), H5STORE_OK);
}

START_TEST(every_flipped_byte_is_noticed)
{
    unsigned flipped = 0, headers = 0;
    struct tour tour;

    zoo_make();
    tour = compare(box_path());
    for (unsigned n = 0; n < tour.objects; n += 9) {
        hs_ohdr header;

        BOX_OK(hs_ohdr_read(&pager, tour.seen[n], &header, &box_err));
        headers++;
        for (size_t block = 0; block < header.block_count; block++)
            for (uint64_t i = 0; i < hs_min(header.blocks[block].length, 700); i++) {
                uint64_t address = header.blocks[block].address + i;
                uint8_t byte, wrong;
                hs_ohdr again;

                ck_assert_int_eq(hs_pager_read(&pager, address, &byte, 1, &err), H5STORE_OK);
                wrong = byte ^ (uint8_t)(1u << (i + n) % 8);
                poke(address, &wrong, 1);
                memset(&err, 0, sizeof err);
                ck_assert_int_eq(hs_ohdr_read(&pager, tour.seen[n], &again, &err),
                                 H5STORE_E_DAMAGED);
                ck_assert_ptr_nonnull(strstr(err.message, "object header"));
                poke(address, &byte, 1);
                flipped++;
            }
        hs_ohdr_release(&header);
        BOX_OK(hs_ohdr_read(&pager, tour.seen[n], &header, &box_err));
        hs_ohdr_release(&header);
    }
    ck_assert_uint_gt(headers, 10);
    ck_assert_uint_gt(flipped, 4000);
}
END_TEST

/* Touch all that a header says, for the sanitizers. */
static uint64_t
touch(const hs_ohdr *header)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < header->attribute_count; i++) {
        sum += strlen(header->attributes[i].name);
        for (size_t j = 0; j < header->attributes[i].size; j++)
            sum += header->attributes[i].value[j];
    }
    for (size_t i = 0; i < header->link_count; i++)
        for (size_t j = 0; j < header->links[i].name_length; j++)
            sum += (uint8_t)header->links[i].name[j];
    for (size_t i = 0; header->layout == HS_OHDR_COMPACT && i < header->data_size; i++)
        sum += header->data[i];
    return sum;
}

/* Nonsense under a checksum that is right: understood or refused, and never believed. */
START_TEST(nonsense_with_a_right_checksum_is_survived)
{
    unsigned understood = 0, refused = 0;
    uint64_t state = 1, sum = 0;
    struct tour tour;

    zoo_make();
    tour = compare(box_path());
    for (unsigned n = 0; n < 30000; n++) {
        uint64_t address = tour.seen[fixture_random(&state) % tour.objects];
        hs_ohdr header, again;
        hs_ohdr_block block;
        uint8_t *bytes, *old;
        int rc;

        BOX_OK(hs_ohdr_read(&pager, address, &header, &box_err));
        block = header.blocks[fixture_random(&state) % header.block_count];
        hs_ohdr_release(&header);
        if (block.length > 3000)
            continue;
        bytes = malloc(block.length);
        old = malloc(block.length);
        ck_assert_int_eq(hs_pager_read(&pager, block.address, old, block.length, &err), H5STORE_OK);
        memcpy(bytes, old, block.length);
        for (uint64_t i = fixture_random(&state) % 4; i < 4; i++)
            bytes[4 + fixture_random(&state) % (block.length - 8)] = (uint8_t)(fixture_random(
                                                                                   &state) >>
                                                                               20) &
                                                                     (i % 2 ? 0xFF : 0x0F);
        hs_put_le32(bytes + block.length - 4, hs_ohdr_checksum(bytes, block.length - 4));
        poke(block.address, bytes, block.length);
        rc = hs_ohdr_read(&pager, address, &again, &err);
        if (rc == H5STORE_OK) {
            understood++;
            sum += touch(&again);
            hs_ohdr_release(&again);
        } else {
            ck_assert_int_eq(rc, H5STORE_E_DAMAGED);
            refused++;
        }
        poke(block.address, old, block.length);
        free(bytes);
        free(old);
    }
    ck_assert_uint_gt(understood, 3000);
    ck_assert_uint_gt(refused, 3000);
    ck_assert_uint_gt(sum, 0);
}
END_TEST

START_TEST(there_is_nothing_where_nothing_is)
{
    static const uint64_t nowhere[] = {0, 48, 256, 4096, 1u << 30, INT64_MAX, UINT64_MAX};
    hs_ohdr header = {.address = 5};

    box_make();
    use_file(box_path());
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        BOX_FAILS(H5STORE_E_DAMAGED, hs_ohdr_read(&pager, nowhere[i], &header, &box_err));
    ck_assert_uint_eq(header.address, 5); /* not written on failure */
    memset(&header, 0, sizeof header);
    hs_ohdr_release(&header);
}
END_TEST

/* ---- attributes by name ----------------------------------------------------------- */

START_TEST(attributes_are_found_by_name)
{
    const char *path = zoo_make_foreign();
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t group = H5Gopen2(file, "/ordered", H5P_DEFAULT);
    uint64_t list[2] = {1, 2}, value = 0, address = address_of(group);
    char text[6];
    hs_ohdr header;

    ck_assert_int_ge(H5Adelete(group, "number2"), 0);
    ck_assert_int_ge(H5Adelete(group, "number3"), 0);
    ck_assert_int_eq(hs_h5_write_u64(group, "list", list, 2, false, &err), H5STORE_OK);
    ck_assert_int_eq(hs_h5_write_text(group, "text", "house", &err), H5STORE_OK);
    H5Gclose(group);
    H5Fclose(file);
    use_file(path);
    BOX_OK(hs_ohdr_read(&pager, address, &header, &box_err));
    ck_assert(hs_ohdr_u64(&header, "number1", &value));
    ck_assert_uint_eq(value, 77);
    ck_assert(!hs_ohdr_u64(&header, "number2", &value));
    ck_assert(!hs_ohdr_u64(&header, "list", &value));
    ck_assert(!hs_ohdr_u64(&header, "text", &value));
    ck_assert(hs_ohdr_text(&header, "text", text, sizeof text));
    ck_assert_str_eq(text, "house");
    ck_assert(!hs_ohdr_text(&header, "text", text, 5));
    ck_assert(!hs_ohdr_text(&header, "number1", text, sizeof text));
    ck_assert_ptr_nonnull(hs_ohdr_find(&header, "list"));
    ck_assert_uint_eq(hs_ohdr_find(&header, "list")->count, 2);
    ck_assert_ptr_null(hs_ohdr_find(&header, "lis"));
    hs_ohdr_release(&header);
}
END_TEST

/* ---- moving ----------------------------------------------------------------------- */

static void
write_pages(void)
{
    HS_CLEANUP(hs_freep) hs_page **pages = NULL;

    ck_assert_int_eq(hs_overlay_sorted(&pager.pending, &pages, &err), H5STORE_OK);
    ck_assert_uint_gt(pager.pending.count, 0);
    for (size_t i = 0; i < pager.pending.count; i++)
        ck_assert_int_eq(hs_os_pwrite(pager.fd, pager.path, pages[i]->bytes, HS_PAGE_SIZE,
                                      pages[i]->number * HS_PAGE_SIZE, &err),
                         H5STORE_OK);
    hs_overlay_clear(&pager.pending);
}

static void
read_dataset(hid_t file, const char *path, uint8_t *bytes)
{
    hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT), type = H5Dget_type(dataset);

    ck_assert_int_ge(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes), 0);
    H5Tclose(type);
    H5Dclose(dataset);
}

/* Two datasets of one size change places: HDF5 must then read the bytes of the other. */
static void
change_places(const char *one, const char *two, size_t size, hs_ohdr_layout layout)
{
    HS_CLEANUP(hs_freep) uint8_t *before = malloc(4 * size);
    uint8_t *after = before + 2 * size;
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t first = H5Dopen2(file, one, H5P_DEFAULT), second = H5Dopen2(file, two, H5P_DEFAULT);
    hs_ohdr a, b;

    BOX_OK(hs_ohdr_read(&pager, address_of(first), &a, &box_err));
    BOX_OK(hs_ohdr_read(&pager, address_of(second), &b, &box_err));
    ck_assert_int_eq(a.layout, layout);
    ck_assert_int_eq(b.layout, layout);
    H5Dclose(first);
    H5Dclose(second);
    read_dataset(file, one, before);
    read_dataset(file, two, before + size);
    ck_assert_mem_ne(before, before + size, size);
    H5Fclose(file);

    BOX_OK(hs_ohdr_move_data(&pager, &a, b.data_address, &box_err));
    BOX_OK(hs_ohdr_move_data(&pager, &b, a.data_address, &box_err));
    /* What was read before the move is no longer so. */
    BOX_FAILS(H5STORE_E_DAMAGED, hs_ohdr_move_data(&pager, &a, b.data_address, &box_err));
    write_pages();
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    read_dataset(file, one, after);
    read_dataset(file, two, after + size);
    ck_assert_mem_eq(after, before + size, size);
    ck_assert_mem_eq(after + size, before, size);
    H5Fclose(file);
    hs_ohdr_release(&a);
    hs_ohdr_release(&b);
}

START_TEST(hdf5_finds_what_was_moved)
{
    static const size_t sizes[] = {600, 100000, 5000000};
    h5store *store = box_open(H5STORE_CREATE);
    h5store_batch *batch = box_begin(store);
    char paths[3][2][100];

    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) {
            h5store_id id = box_put(store, sizes[i], (unsigned)(10 * i + j), NULL);
            char text[H5STORE_ID_TEXT_SIZE];

            h5store_id_format(&id, text);
            snprintf(paths[i][j], sizeof paths[i][j], "/blobs/%.2s/%s", text, text);
        }
    for (int j = 0; j < 2; j++) {
        char *output = malloc(70000);
        h5store_item_spec spec = {"m", j == 0 ? "aa" : "bb", output, 70000, "{}", NULL, 0};

        memset(output, 'a' + j, 70000);
        BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
        free(output);
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_close(store);
    use_file(box_path());
    for (int i = 0; i < 3; i++)
        change_places(paths[i][0], paths[i][1], sizes[i], HS_OHDR_IMPLICIT);
    change_places("/items/m/#aa/aa/output", "/items/m/#bb/bb/output", 70000, HS_OHDR_CONTIGUOUS);
}
END_TEST

START_TEST(checksum_is_lookup3)
{
    static const char text[] = "Four score and seven years ago";

    /* From the comments of lookup3.c. */
    ck_assert_uint_eq(hs_ohdr_checksum((const uint8_t *)"", 0), 0xdeadbeef);
    ck_assert_uint_eq(hs_ohdr_checksum((const uint8_t *)text, 30), 0x17770551);
}
END_TEST

Suite *
ohdr_suite(void)
{
    Suite *suite = suite_create("ohdr");
    TCase *tcase = tcase_create("ohdr");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, checksum_is_lookup3);
    tcase_add_test(tcase, objects_are_as_hdf5_says);
    tcase_add_test(tcase, foreign_objects_are_as_hdf5_says);
    tcase_add_test(tcase, attributes_are_found_by_name);
    tcase_add_test(tcase, there_is_nothing_where_nothing_is);
    tcase_add_test(tcase, every_flipped_byte_is_noticed);
    tcase_add_test(tcase, nonsense_with_a_right_checksum_is_survived);
    tcase_add_test(tcase, hdf5_finds_what_was_moved);
    suite_add_tcase(suite, tcase);
    return suite;
}
