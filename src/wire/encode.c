/* SPDX-License-Identifier: BSD-3-Clause */
/* Encoding of headers. Payloads are the structs of protocol.h as they are. */
#include <string.h>

#include "wire/wire.h"

static void put_header(void *message, struct wire_header header)
{
	memcpy(message, &header, sizeof(header));
}

void wire_encode_command(void *message, uint16_t id, uint16_t command, uint32_t size)
{
	put_header(message, (struct wire_header){
				    .id = id,
				    .command = command,
				    .size = size,
				    .flags = WIRE_TYPE_COMMAND,
			    });
}

void wire_encode_reply(void *message, const struct wire_header *request, uint32_t size)
{
	put_header(message, (struct wire_header){
				    .id = request->id,
				    .command = request->command,
				    .size = size,
				    .flags = WIRE_TYPE_REPLY,
			    });
}

void wire_encode_error(void *message, const struct wire_header *request, int error)
{
	put_header(message, (struct wire_header){
				    .id = request->id,
				    .command = request->command,
				    .size = sizeof(struct wire_header),
				    .flags = WIRE_TYPE_REPLY | WIRE_ERROR,
				    .error = (uint32_t)-error,
			    });
}
