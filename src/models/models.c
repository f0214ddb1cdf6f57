/* SPDX-License-Identifier: BSD-3-Clause */
/* The models that are built in. A new one is a declaration and a line here, and its sources. */
#include "outboard/device.h"

extern const struct ob_model edu_model;
extern const struct ob_model nvme_model;
extern const struct ob_model serial_model;

const struct ob_model *const ob_models[] = {
	&edu_model,
	&nvme_model,
	&serial_model,
	NULL,
};
