/* SPDX-License-Identifier: BSD-3-Clause */
/* What --help and --list print. All of it comes from the tables of options and properties. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "device/device.h"

void help_print(FILE *out);
void help_print_machine(FILE *out);
void help_print_trace(FILE *out);
void help_print_model(const struct ob_model *model, FILE *out);
void help_print_list(FILE *out);
void help_print_list_json(FILE *out);

#endif
