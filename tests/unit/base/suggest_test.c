/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest names, and the messages that are made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/suggest.h"

static const char *best(const char *word)
{
	static const char *const names[] = {"serial",     "drive", "socket", "socket-mode",
	                                    "num-queues", "id",    "ro"};
	struct nearest nearest = nearest_to(word);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		nearest_try(&nearest, names[i]);
	return nearest.best;
}

static void one_mistake_is_forgiven(void **state)
{
	assert_string_equal(best("seral"), "serial");
	assert_string_equal(best("seriall"), "serial");
	assert_string_equal(best("sirial"), "serial");
	assert_string_equal(best("esrial"), "serial");
	assert_string_equal(best("soket"), "socket");
	assert_string_equal(best("socket-mod"), "socket-mode");
	assert_string_equal(best("num-qeueus"), "num-queues");
	assert_string_equal(best("di"), "id");
}

static void another_word_is_not_near(void **state)
{
	assert_null(best("colour"));
	assert_null(best(""));
	assert_null(best("x"));
	assert_null(best("a-word-that-is-far-too-long-to-be-any-property-of-ours"));
}

static const struct ob_prop table[] = {{.name = "serial"}, {.name = "drive"}, {0}};
static const struct ob_prop *const tables[] = {table, NULL, NULL};
static const char *const words[] = {"id", NULL};

static const char *refusal(const char *text)
{
	static struct ob_error err;
	struct opts opts = {0};
	int rc;

	err.message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, NULL, NULL), 0);
	rc = refuse_unknown_keys(&opts, "nvme", tables, words, "see the manual", &err);
	assert_int_equal(rc, err.message[0] ? -EINVAL : 0);
	opts_free(&opts);
	return err.message;
}

static void known_keys_pass(void **state)
{
	assert_string_equal(refusal(""), "");
	assert_string_equal(refusal("id=a,serial=b,drive=c"), "");
}

static void unknown_keys_are_named(void **state)
{
	assert_string_equal(refusal("id=a,sreial=b"),
	                    "unknown property 'sreial' for nvme: did you mean 'serial'?");
	assert_string_equal(refusal("colour=b"),
	                    "unknown property 'colour' for nvme: see the manual");
	assert_string_equal(refusal("colour=b,id=x,sreial=c,shape=d"),
	                    "unknown properties for nvme: 'colour', 'sreial' (did you mean "
	                    "'serial'?), 'shape': see the manual");
	assert_non_null(
		strstr(refusal("q1=,q2=,q3=,q4=,q5=,q6=,q7=,q8=,q9="), "'q8' and more: see"));
}

static void ids_are_well_formed(void **state)
{
	static const char *const good[] = {"a", "d0", "A-b.c_9"};
	static const char *const bad[] = {"", "0", "-a", "a b", "a/b", "a,b", "\xc3\xa4"};
	char id[ID_MAX + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(check_id("id", good[i], NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(check_id("id", bad[i], NULL), -EINVAL);
	memset(id, 'x', sizeof(id));
	id[ID_MAX] = '\0';
	assert_int_equal(check_id("id", id, NULL), 0);
	id[ID_MAX] = 'x';
	id[ID_MAX + 1] = '\0';
	assert_int_equal(check_id("id", id, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_mistake_is_forgiven),
		cmocka_unit_test(another_word_is_not_near),
		cmocka_unit_test(known_keys_pass),
		cmocka_unit_test(unknown_keys_are_named),
		cmocka_unit_test(ids_are_well_formed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
