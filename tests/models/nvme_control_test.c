/* SPDX-License-Identifier: BSD-3-Clause */
/* nvme: the controller's registers, enable, reset and shutdown. */
#include <string.h>

#include "nvme_kit.h"

static void registers_say_what_there_is(void **state)
{
	struct nk *nk = *state;
	uint64_t cap = kit_read(nk->kit, 0, REG_CAP, 8);

	assert_int_equal(cap & 0xffff, 2047);
	assert_int_equal(cap >> 16 & 1, 1);
	assert_int_equal(cap >> 32 & 0xf, 0);
	assert_int_equal(cap >> 37 & 0xff, 1);
	assert_int_equal(cap >> 48 & 0xf, 0);
	assert_int_equal(nk_reg(nk, REG_VS), 0x10400);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(registers_say_what_there_is),
	};

	return KIT_RUN("nvme_control", tests, nk_setup, nk_free);
}
