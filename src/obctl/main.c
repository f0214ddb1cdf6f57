/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl: talks to served devices, to look at them, try them and measure them. */
#include "command.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv);
}
