/* SPDX-License-Identifier: MIT */
/*
 * Tables for programs: the one place where rows become TSV or JSON, so that both forms
 * of a listing have the same columns.
 *
 * The columns are an interface: h5store(1), "OUTPUT", lists them.  New ones are added at
 * the end, none changes its name or meaning.
 */
#include "tool.h"

/* Text in TSV: its own bytes, but for the two that mean something there, CR, and '\'. */
static void
table_tsv_text(tool_out *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '\t':
            tool_puts(out, "\\t");
            break;
        case '\n':
            tool_puts(out, "\\n");
            break;
        case '\r':
            tool_puts(out, "\\r");
            break;
        case '\\':
            tool_puts(out, "\\\\");
            break;
        default:
            tool_write(out, text, 1);
        }
    }
}

static void
table_json_shape(tool_out *out, const h5store_array *array)
{
    tool_puts(out, "[");
    for (int i = 0; i < array->rank; i++)
        tool_printf(out, "%s%llu", i > 0 ? ", " : "", (unsigned long long)array->shape[i]);
    tool_puts(out, "]");
}

void
tool_value_write(tool_out *out, tool_form form, const tool_value *value)
{
    char shape[TOOL_SHAPE_TEXT];

    switch (value->kind) {
    case TOOL_NUMBER:
        tool_printf(out, "%llu", (unsigned long long)value->number);
        break;
    case TOOL_REAL:
        tool_printf(out, "%.6g", value->real);
        break;
    case TOOL_SHAPE:
        if (form == TOOL_JSON && value->array == NULL)
            tool_puts(out, "null");
        else if (form == TOOL_JSON)
            table_json_shape(out, value->array);
        else if (value->array != NULL)
            tool_puts(out, tool_shape_text(value->array, shape));
        break;
    case TOOL_TEXT:
        if (form == TOOL_JSON)
            tool_json_text(out, value->text);
        else if (value->text != NULL)
            table_tsv_text(out, value->text);
        break;
    }
}

void
tool_table_begin(tool_table *table, tool_out *out, const tool_args *args, const char *name,
                 const char *const *columns, size_t width)
{
    *table = (tool_table){.out = out, .form = args->form, .columns = columns, .width = width};

    if (table->form == TOOL_JSON) {
        tool_puts(out, "{\"container\": ");
        tool_json_text(out, args->container);
        tool_printf(out, ",\n\"%s\": [", name);
        return;
    }
    for (size_t i = 0; i < width; i++)
        tool_printf(out, "%s%s", i > 0 ? "\t" : "", columns[i]);
    tool_puts(out, "\n");
}

void
tool_table_row(tool_table *table, const tool_value *values)
{
    tool_out *out = table->out;
    bool json = table->form == TOOL_JSON;

    if (json)
        tool_printf(out, "%s\n{", table->rows > 0 ? "," : "");
    for (size_t i = 0; i < table->width; i++) {
        if (json)
            tool_printf(out, "%s\"%s\": ", i > 0 ? ", " : "", table->columns[i]);
        else if (i > 0)
            tool_puts(out, "\t");
        tool_value_write(out, table->form, &values[i]);
    }
    tool_puts(out, json ? "}" : "\n");
    table->rows++;
}

void
tool_table_trailer(tool_table *table, const char *name, tool_value value)
{
    if (table->form != TOOL_JSON)
        return;
    if (table->columns != NULL) { /* the first trailer ends the rows */
        tool_puts(table->out, "\n]");
        table->columns = NULL;
    }
    tool_printf(table->out, ",\n\"%s\": ", name);
    tool_value_write(table->out, table->form, &value);
}

void
tool_table_end(tool_table *table)
{
    if (table->form != TOOL_JSON)
        return;
    tool_puts(table->out, table->columns != NULL ? "\n]}\n" : "}\n");
}
