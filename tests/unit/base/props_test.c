/* SPDX-License-Identifier: BSD-3-Clause */
/* Property tables: each type, defaults, what is refused, and the help that they print. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/props.h"

struct thing {
	bool flag, on;
	uint32_t number, any, colour, alias;
	uint64_t size, most;
	char *text, *name;
	struct ob_block_list disks;
};

static const char *const colours[] = {"red", "green", "blue", NULL};

static const struct ob_prop table[] = {
	{"flag", OB_PROP_BOOL, offsetof(struct thing, flag), .help = "a flag"},
	{"on", OB_PROP_BOOL, offsetof(struct thing, on), .preset = "on", .help = "another"},
	{"number", OB_PROP_UINT32, offsetof(struct thing, number), .min = 2, .max = 65,
         .preset = "33", .help = "how many"},
	{"any", OB_PROP_UINT32, offsetof(struct thing, any), .help = "any number"},
	{"colour", OB_PROP_ENUM, offsetof(struct thing, colour), .preset = "green",
         .choices = colours, .help = "which"},
	{"color", OB_PROP_ENUM, offsetof(struct thing, colour), .choices = colours,
         .help = "another name for colour"},
	{"size", OB_PROP_SIZE, offsetof(struct thing, size), .min = 512, .max = 1 << 20,
         .preset = "4K", .help = "how large"},
	{"most", OB_PROP_SIZE, offsetof(struct thing, most), .help = "any size"},
	{"text", OB_PROP_STRING, offsetof(struct thing, text), .max = 4, .preset = "abc",
         .help = "some letters"},
	{"name", OB_PROP_STRING, offsetof(struct thing, name), .help = "any text"},
	{"drive", OB_PROP_BLOCKS, offsetof(struct thing, disks), .help = "a disk"},
	{.name = NULL},
};

/* Nodes b0 to b9 stand for themselves. */
static struct ob_block *claim(void *context, const char *node_name, struct ob_error *err)
{
	char *blocks = context;

	if (node_name[0] == 'b' && node_name[1] && !node_name[2])
		return (struct ob_block *)(blocks + node_name[1] - '0');
	ob_error_set(err, -ENOENT, "no block node '%s'", node_name);
	return NULL;
}

static char blocks[10];
static const struct props_objects known = {claim, NULL, blocks};

static int apply(struct thing *thing, const char *text, struct ob_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc;

	*thing = (struct thing){0};
	err->message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, NULL, err), 0);
	rc = props_apply(table, thing, &opts, &known, err);
	if (!rc)
		rc = opts_refuse_rest(&opts, "a thing", err);
	assert_int_equal(!rc, !err->message[0]);
	return rc;
}

static void presets(void **state)
{
	struct ob_error err;
	struct thing thing;

	assert_int_equal(apply(&thing, "", &err), 0);
	assert_false(thing.flag);
	assert_true(thing.on);
	assert_int_equal(thing.number, 33);
	assert_int_equal(thing.any, 0);
	assert_int_equal(thing.colour, 1);
	assert_int_equal(thing.size, 4096);
	assert_int_equal(thing.most, 0);
	assert_string_equal(thing.text, "abc");
	assert_null(thing.name);
	assert_int_equal(thing.disks.count, 0);
	props_free(table, &thing);
	assert_null(thing.text);
}

static void values(void **state)
{
	struct ob_error err;
	struct thing thing;

	assert_int_equal(
		apply(&thing,
	              "flag,on=off,number=0x41,any=4294967295,colour=blue,size=1M,most=15E,"
	              "text=wxyz,name=a,,b,drive=b3,drive=b1,drive=b3",
	              &err),
		0);
	assert_true(thing.flag);
	assert_false(thing.on);
	assert_int_equal(thing.number, 65);
	assert_int_equal(thing.any, UINT32_MAX);
	assert_int_equal(thing.colour, 2);
	assert_int_equal(thing.size, 1 << 20);
	assert_int_equal(thing.most, UINT64_C(15) << 60);
	assert_string_equal(thing.text, "wxyz");
	assert_string_equal(thing.name, "a,b");
	assert_int_equal(thing.disks.count, 3);
	assert_ptr_equal(thing.disks.nodes[0], blocks + 3);
	assert_ptr_equal(thing.disks.nodes[1], blocks + 1);
	props_free(table, &thing);
	assert_int_equal(apply(&thing, "color=red", &err), 0);
	assert_int_equal(thing.colour, 0);
	props_free(table, &thing);
}

static void refused(void **state)
{
	static const char *const cases[][2] = {
		{"flag=maybe", "flag=maybe: expected on or off"},
		{"number=1", "number=1: expected a number from 2 to 65"},
		{"number=66", "number=66: expected a number from 2 to 65"},
		{"any=4294967296", "any=4294967296: expected a number from 0 to 4294967295"},
		{"any=-1", "any=-1: expected a number from 0 to 4294967295"},
		{"colour=pink", "colour=pink: expected one of red, green, blue"},
		{"colour=", "colour=: expected one of red, green, blue"},
		{"size=1", "size=1: expected a size from 512 to 1048576 bytes"},
		{"most=lots",
	         "most=lots: expected a size in bytes, or with K, M, G or T: most=64M"},
		{"text=abcde", "text=abcde: expected at most 4 characters"},
		{"drive=b10", "no block node 'b10'"},
		{"number=3,number=4", "number is given twice"},
		{"frob=1", "a thing has no property 'frob'"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ob_error err;
		struct thing thing;

		assert_int_equal(apply(&thing, cases[i][0], &err), -EINVAL);
		assert_string_equal(err.message, cases[i][1]);
		props_free(table, &thing);
	}
}

static void too_many_blocks(void **state)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};
	struct thing thing = {0};

	for (unsigned i = 0; i <= OB_MAX_BLOCKS; i++)
		assert_int_equal(opts_add(&opts, "drive", "b0"), 0);
	assert_int_equal(props_apply(table, &thing, &opts, &known, &err), -EINVAL);
	assert_string_equal(err.message, "drive=b0: more than 64 block nodes");
	assert_int_equal(thing.disks.count, OB_MAX_BLOCKS);
	props_free(table, &thing);
}

static void no_blocks(void **state)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};
	struct thing thing = {0};

	assert_int_equal(opts_add(&opts, "drive", "b0"), 0);
	assert_int_equal(props_apply(table, &thing, &opts, NULL, &err), -EINVAL);
	props_free(table, &thing);
	assert_int_equal(props_apply(NULL, NULL, &opts, NULL, &err), 0);
	props_free(NULL, NULL);
}

static void help(void **state)
{
	static const char *const long_choices[] = {
		"a-choice-with-a-rather-long-name-1", "a-choice-with-a-rather-long-name-2",
		"a-choice-with-a-rather-long-name-3", "a-choice-with-a-rather-long-name-4",
		"a-choice-with-a-rather-long-name-5", NULL};
	static const struct ob_prop wide[] = {
		{"wide", OB_PROP_ENUM, 0, .choices = long_choices, .help = "many words"},
		{.name = NULL},
	};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	props_print(table, out);
	props_print(wide, out);
	fclose(out);
	assert_non_null(
		strstr(text, "  number=NUMBER                how many, 2 to 65 (default: 33)\n"));
	assert_non_null(strstr(text, "  colour=red|green|blue        which (default: green)\n"));
	assert_non_null(strstr(text, "  flag=on|off "));
	assert_non_null(strstr(text, "some letters, at most 4 characters (default: abc)\n"));
	assert_non_null(strstr(text, "  drive=NODE "));
	assert_non_null(strstr(text, "name-3"));
	assert_non_null(strstr(text, "many words\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(presets),   cmocka_unit_test(values),
		cmocka_unit_test(refused),   cmocka_unit_test(too_many_blocks),
		cmocka_unit_test(no_blocks), cmocka_unit_test(help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
