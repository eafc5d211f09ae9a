/* SPDX-License-Identifier: MIT */
/*
 * h5store tree: collections and items, indented, with what each takes.
 *
 * Two walks.  The first adds up each collection, since its totals stand before its items;
 * that is all that is kept in memory: a collection is a cached function, of which there
 * are few, while items may be millions.  The second prints.  Others may write between
 * the two: then a total is that of a moment ago, and a collection that is new shows "-".
 *
 * A collection's own bytes are the sum over its items, so an array that only two of them
 * share is not in it: it tells the least that removing them all would free.
 */
#include "tool.h"
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct tree_sums {
    uint64_t results;
    uint64_t links;
    uint64_t output;
    uint64_t metadata;
    uint64_t linked;
    uint64_t own;
} tree_sums;

typedef struct tree_node {
    char *path;
    tree_sums sums; /* with all below it, once the table is closed */
} tree_node;

/* All collections; sorted so that each stands before what is below it. */
typedef struct tree_table {
    tree_node *nodes;
    size_t count;
    size_t room;
    uint64_t damaged; /* collections and items that could not be understood */
} tree_table;

static void
tree_table_clear(tree_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->nodes[i].path);
    free(table->nodes);
}

/* '/' sorts before all that a name may hold, so "a/b" comes before "a-b". */
static int
tree_compare_paths(const char *a, const char *b)
{
    int x, y;

    for (; *a != '\0' && *a == *b; a++)
        b++;
    x = *a == '/' ? 1 : *a == '\0' ? 0 : 2 + (unsigned char)*a;
    y = *b == '/' ? 1 : *b == '\0' ? 0 : 2 + (unsigned char)*b;
    return x - y;
}

static int
tree_compare(const void *a, const void *b)
{
    return tree_compare_paths(((const tree_node *)a)->path, ((const tree_node *)b)->path);
}

static void
tree_add(tree_sums *sums, const tree_sums *more)
{
    sums->results += more->results;
    sums->links += more->links;
    sums->output += more->output;
    sums->metadata += more->metadata;
    sums->linked += more->linked;
    sums->own += more->own;
}

/* A new last node for the first @p length bytes of a path. */
static int
tree_append(tree_table *table, const char *path, size_t length, h5store_err *err)
{
    char *copy = strndup(path, length);

    if (copy != NULL && table->count == table->room) {
        size_t room = table->room > 0 ? 2 * table->room : 64;
        tree_node *nodes = realloc(table->nodes, room * sizeof(*nodes));

        if (nodes != NULL) {
            table->nodes = nodes;
            table->room = room;
        }
    }
    if (copy == NULL || table->count == table->room) {
        free(copy);
        return tool_fail(err, H5STORE_E_NOMEM, "out of memory for %zu collections",
                         table->count + 1);
    }
    table->nodes[table->count++] = (tree_node){.path = copy};
    return H5STORE_OK;
}

/* Bytes of the leading components that two paths share, without a final '/'. */
static size_t
tree_common(const char *a, const char *b)
{
    size_t common = 0;

    for (size_t i = 0;; i++) {
        bool end_a = a[i] == '/' || a[i] == '\0';
        bool end_b = b[i] == '/' || b[i] == '\0';

        if (end_a && end_b)
            common = i;
        if (a[i] != b[i] || a[i] == '\0')
            return common;
    }
}

/*
 * How much of @p path needs no telling: what it shares with the collection told @p before
 * (NULL: none), and what is above the root of the walk (NULL: everything is shown).
 */
static size_t
tree_told(const char *root, const char *before, const char *path)
{
    size_t told = before != NULL ? tree_common(before, path) : 0;
    const char *last = root != NULL ? strrchr(root, '/') : NULL;
    size_t above = last != NULL ? (size_t)(last - root) : 0;

    return told > above ? told : above;
}

/* Where the component behind the first @p end bytes of a path ends. */
static size_t
tree_next_end(const char *path, size_t end)
{
    return end + 1 + strcspn(path + end + 1, "/");
}

/*
 * Make the last node that of @p path.  The components above it that the node before does
 * not share become nodes too, so that all ancestors are there, told by the walk or not.
 */
static int
tree_enter(tree_table *table, const char *root, const char *path, h5store_err *err)
{
    const char *before = table->count > 0 ? table->nodes[table->count - 1].path : NULL;
    size_t length = strlen(path);
    size_t end = tree_told(root, before, path);

    if (end == length && (before == NULL || strcmp(before, path) != 0))
        return tree_append(table, path, length, err); /* back from below; made one later */

    while (end < length) {
        int rc;

        end = tree_next_end(path, end);
        rc = tree_append(table, path, end, err);
        if (rc < 0)
            return rc;
    }
    return H5STORE_OK;
}

static tree_node *
tree_find(const tree_table *table, const char *path)
{
    tree_node wanted = {.path = (char *)(uintptr_t)path};

    return bsearch(&wanted, table->nodes, table->count, sizeof(*table->nodes), tree_compare);
}

/* Sort, make nodes of the same path one, and add each to all above it. */
static void
tree_close(tree_table *table)
{
    size_t kept = 0;

    if (table->count == 0)
        return;
    qsort(table->nodes, table->count, sizeof(*table->nodes), tree_compare);
    for (size_t i = 1; i < table->count; i++) {
        if (strcmp(table->nodes[i].path, table->nodes[kept].path) == 0) {
            tree_add(&table->nodes[kept].sums, &table->nodes[i].sums);
            free(table->nodes[i].path);
        } else {
            table->nodes[++kept] = table->nodes[i];
        }
    }
    table->count = kept + 1;

    for (size_t i = table->count; i-- > 0;) { /* from below, so that a sum goes up whole */
        const char *path = table->nodes[i].path;
        const char *slash = strrchr(path, '/');
        char *parent = slash != NULL ? strndup(path, (size_t)(slash - path)) : NULL;
        tree_node *node = parent != NULL ? tree_find(table, parent) : NULL;

        if (node != NULL)
            tree_add(&node->sums, &table->nodes[i].sums);
        free(parent);
    }
}

static tree_sums
tree_item_sums(const h5store_item_info *info)
{
    return (tree_sums){.results = 1,
                       .links = info->link_count,
                       .output = info->output_size,
                       .metadata = info->metadata_size,
                       .linked = info->linked_bytes,
                       .own = info->own_bytes};
}

/* The first walk. */
static int
tree_collect(h5store *store, const char *root, tree_table *table, h5store_err *err)
{
    TOOL_CLEANUP(tool_item_cursor_closep) h5store_item_cursor *cursor = NULL;
    h5store_item_info info = {0};
    int rc = h5store_item_cursor_open(store, root, &cursor, err);

    if (rc < 0)
        return rc;

    while ((rc = h5store_item_cursor_next(cursor, &info, err)) != H5STORE_DONE) {
        bool damaged = rc == H5STORE_E_DAMAGED;

        if (rc < 0 && (!damaged || info.collection == NULL)) /* damage to the whole */
            return rc;
        table->damaged += damaged;
        rc = tree_enter(table, root, info.collection, err);
        if (rc < 0)
            return rc;
        if (info.key != NULL && !damaged) {
            tree_sums sums = tree_item_sums(&info);

            tree_add(&table->nodes[table->count - 1].sums, &sums);
        }
        info = (h5store_item_info){0};
    }
    tree_close(table);
    return H5STORE_OK;
}

/* ---- printing ------------------------------------------------------------ */

static const char *const tree_columns[] = {
    "kind",         "collection",     "key",          "results",   "links",
    "output_bytes", "metadata_bytes", "linked_bytes", "own_bytes", "problem"};

#define TREE_NAME_COLUMN 41

typedef struct tree_printer {
    tool_out *out;
    const tool_args *args;
    const tree_table *sums;
    tool_table table; /* unless for people */
    char *current;    /* the collection that was told last; NULL at first */
} tree_printer;

static void
tree_printer_clear(tree_printer *printer)
{
    free(printer->current);
}

static int
tree_depth(const tree_printer *printer, const char *path)
{
    int depth = 0;

    if (printer->args->operand != NULL)
        path += strlen(printer->args->operand);
    for (; *path != '\0'; path++)
        depth += *path == '/';
    return depth;
}

/* One line for people; @p sums NULL: not known. */
static void
tree_line(tree_printer *printer, const char *name, int depth, bool collection,
          const tree_sums *sums, const char *problem)
{
    tool_out *out = printer->out;
    char count[24] = "", links[24] = "-", bytes[TOOL_SIZE_TEXT] = "-", own[TOOL_SIZE_TEXT] = "-";
    int indent = 2 * (depth < 12 ? depth : 12);
    char line[TOOL_COLUMNS + 1];
    int used;

    if (sums != NULL) {
        uint64_t always = sums->output + sums->metadata;

        if (collection)
            snprintf(count, sizeof(count), "%llu", (unsigned long long)sums->results);
        snprintf(links, sizeof(links), "%llu", (unsigned long long)sums->links);
        tool_size_text(always + sums->linked, bytes);
        tool_size_text(always + sums->own, own);
    }
    used = snprintf(line, sizeof(line), "%7s  %6s  %10s  %10s  %*s", count, links, bytes, own,
                    indent, ""); /* the name stands at TREE_NAME_COLUMN and to the right */
    tool_puts(out, line);
    used += tool_show(out, name, TOOL_COLUMNS - used);
    if (problem != NULL) {
        tool_puts(out, "\n");
        tool_show_wrapped(out, problem, TREE_NAME_COLUMN);
        return;
    }
    tool_puts(out, "\n");
}

static void
tree_tell(tree_printer *printer, const char *collection, const char *key, const tree_sums *sums,
          const char *problem)
{
    const char *slash = strrchr(collection, '/');
    const char *name = slash != NULL ? slash + 1 : collection;
    int depth = tree_depth(printer, collection);
    bool known = sums != NULL;

    if (printer->args->form == TOOL_HUMAN) {
        if (key == NULL && depth == 0)
            name = collection;
        tree_line(printer, key != NULL ? key : name, depth + (key != NULL), key == NULL, sums,
                  problem);
        return;
    }
    tool_table_row(
        &printer->table,
        (tool_value[]){tool_text(key != NULL ? "item" : "collection"), tool_text(collection),
                       tool_text(key), known ? tool_number(sums->results) : tool_text(NULL),
                       known ? tool_number(sums->links) : tool_text(NULL),
                       known ? tool_number(sums->output) : tool_text(NULL),
                       known ? tool_number(sums->metadata) : tool_text(NULL),
                       known ? tool_number(sums->linked) : tool_text(NULL),
                       known ? tool_number(sums->own) : tool_text(NULL), tool_text(problem)});
}

/* Tell the collections that lead to @p path and were not told just before. */
static int
tree_tell_collections(tree_printer *printer, const char *path, h5store_err *err)
{
    size_t length = strlen(path);
    size_t end = tree_told(printer->args->operand, printer->current, path);

    while (end < length) {
        const tree_node *node;
        char *part;

        end = tree_next_end(path, end);
        part = strndup(path, end);
        if (part == NULL)
            return tool_fail(err, H5STORE_E_NOMEM, "out of memory for a name of %zu bytes", end);
        node = tree_find(printer->sums, part);
        tree_tell(printer, part, NULL, node != NULL ? &node->sums : NULL, NULL);
        free(printer->current);
        printer->current = part;
    }
    return H5STORE_OK;
}

/* The second walk. */
static int
tree_print_items(h5store *store, tree_printer *printer, h5store_err *err)
{
    TOOL_CLEANUP(tool_item_cursor_closep) h5store_item_cursor *cursor = NULL;
    h5store_item_info info = {0};
    int rc = h5store_item_cursor_open(store, printer->args->operand, &cursor, err);

    if (rc < 0)
        return rc;

    while ((rc = h5store_item_cursor_next(cursor, &info, err)) != H5STORE_DONE) {
        bool damaged = rc == H5STORE_E_DAMAGED;
        char problem[H5STORE_MESSAGE_SIZE]; /* *err is used again below */

        if (rc < 0 && (!damaged || info.collection == NULL))
            return rc;
        if (damaged)
            snprintf(problem, sizeof(problem), "%s", err->message);

        rc = tree_tell_collections(printer, info.collection, err);
        if (rc < 0)
            return rc;
        if (damaged) {
            tree_tell(printer, info.collection, info.key, NULL, problem);
        } else if (info.key != NULL) {
            tree_sums sums = tree_item_sums(&info);

            tree_tell(printer, info.collection, info.key, &sums, NULL);
        }
        info = (h5store_item_info){0};
        if (tool_out_failed(printer->out))
            return tool_fail_out(printer->out, err);
    }
    return H5STORE_OK;
}

static void
tree_print_collections(tree_printer *printer)
{
    for (size_t i = 0; i < printer->sums->count && !tool_out_failed(printer->out); i++)
        tree_tell(printer, printer->sums->nodes[i].path, NULL, &printer->sums->nodes[i].sums, NULL);
}

/* The last line for people. */
static void
tree_summary(tool_out *out, const tree_table *table)
{
    tree_sums all = {0};
    char size[TOOL_SIZE_TEXT];

    for (size_t i = 0; i < table->count; i++) /* a node without its parent is a root */
        if (i == 0 || strchr(table->nodes[i].path, '/') == NULL)
            tree_add(&all, &table->nodes[i].sums);
    tool_printf(out, "%llu %s in %zu %s, %s\n", (unsigned long long)all.results,
                all.results == 1 ? "result" : "results", table->count,
                table->count == 1 ? "collection" : "collections",
                tool_size_text(all.output + all.metadata + all.linked, size));
}

int
tool_tree(h5store *store, const tool_args *args, tool_out *out, h5store_err *err)
{
    TOOL_CLEANUP(tree_table_clear) tree_table sums = {0};
    TOOL_CLEANUP(tree_printer_clear)
    tree_printer printer = {.out = out, .args = args, .sums = &sums};
    int rc = tree_collect(store, args->operand, &sums, err);

    if (rc < 0)
        return rc;
    if (args->operand != NULL && sums.count == 0)
        return tool_fail(err, H5STORE_E_NOT_FOUND,
                         "%s holds no collection \"%s\"; 'h5store tree -d %s' lists them",
                         args->container, args->operand, args->container);

    if (args->form == TOOL_HUMAN)
        tool_printf(out, "RESULTS  ARRAYS  %10s  %10s  NAME\n", "BYTES", "OWN");
    else
        tool_table_begin(&printer.table, out, args, "entries", tree_columns, COUNT(tree_columns));

    if (args->collections_only) {
        tree_print_collections(&printer);
    } else {
        rc = tree_print_items(store, &printer, err);
        if (rc < 0)
            return rc;
    }

    if (args->form == TOOL_HUMAN)
        tree_summary(out, &sums);
    else
        tool_table_end(&printer.table);
    if (sums.damaged > 0)
        tool_complain("%llu of the entries cannot be understood; 'h5store verify' tells more",
                      (unsigned long long)sums.damaged);
    return sums.damaged > 0 ? TOOL_FINDINGS : TOOL_FINE;
}
