/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices as QEMU's users write them: what becomes of properties that are not ours. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "server/device_options.h"
#include "server/machine.h"

static const struct ob_prop *props_of(const char *driver)
{
	const struct ob_model *model = device_model_find(driver);

	return model ? model->props : device_model_find("nvme")->part->props;
}

/* What text becomes, as "key=value|key=value|", or "error: message". */
static const char *translated(const char *driver, const char *text)
{
	static char out[1024];
	struct log log = {.fd = -1};
	struct ob_error err = {""};
	cleanup_opts struct opts opts = {0};
	size_t used = 0;

	assert_int_equal(opts_parse(&opts, text, NULL, &err), 0);
	out[0] = '\0';
	if (device_options_translate(driver, props_of(driver), &opts, &log, &err)) {
		snprintf(out, sizeof(out), "error: %s", err.message);
		return out;
	}
	for (size_t i = 0; i < opts.count; i++)
		used += (size_t)snprintf(out + used, sizeof(out) - used, "%s=%s|", opts.list[i].key,
		                         opts.list[i].value);
	return out;
}

static void what_means_ours(void **state)
{
	assert_string_equal(translated("nvme", "drive=b,max_ioqpairs=4,msix_qsize=5,serial=x"),
	                    "drive=b|serial=x|num-queues=4|msix-vectors=5|");
	assert_string_equal(translated("nvme", "logical_block_size=4096,firmware-version=2"),
	                    "block-size=4096|firmware=2|");
	assert_non_null(strstr(translated("nvme", "max_ioqpairs=4,num-queues=2"), "the same"));
}

static void what_has_no_effect(void **state)
{
	assert_string_equal(translated("nvme", "bootindex=1,drive=b,discard_granularity=4096,"
	                                       "romfile=,ioeventfd=on,share-rw=false"),
	                    "drive=b|");
	assert_string_equal(translated("edu", "bootindex=1,multifunction=on"), "");
	assert_string_equal(translated("nvme-ns", "logical_block_size=4096,zoned=off,bootindex=2,"
	                                          "mcl=128,write-cache=on,nsid=2"),
	                    "nsid=2|block-size=4096|");
	assert_string_equal(translated("nvme", "cmb_size_mb=0,num_queues=0x0,dbcs=true"), "");
}

static void what_cannot_be_had(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{"cmb_size_mb=64", "nvme: cmb_size_mb=64 cannot be had: there is no controller"},
		{"sriov_max_vfs=2", "virtual functions"},
		{"share-rw=on", "a disk has one device"},
		{"num_queues=3", "max_ioqpairs="},
		{"romfile=x.rom", "vfio-user-pci"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *said = translated("nvme", cases[i].text);

		if (!strstr(said, cases[i].said))
			fail_msg("%s: '%s' does not say '%s'", cases[i].text, said, cases[i].said);
	}
	assert_non_null(strstr(translated("nvme-ns", "zoned=on"), "zoned namespaces"));
	assert_non_null(strstr(translated("nvme-ns", "pi=1"), "no metadata"));
	assert_non_null(device_options_why_not("vfio-user-pci"));
	assert_null(device_options_why_not("nvme"));
}

/* What nobody knows, and a property of the model by the same name, are left alone. */
static void the_rest_stays(void **state)
{
	assert_string_equal(translated("nvme", "colour=red,mdts=5,max_ioqpair=1"),
	                    "colour=red|mdts=5|max_ioqpair=1|");
	assert_string_equal(translated("edu", "max_ioqpairs=1"), "max_ioqpairs=1|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_means_ours),
		cmocka_unit_test(what_has_no_effect),
		cmocka_unit_test(what_cannot_be_had),
		cmocka_unit_test(the_rest_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
