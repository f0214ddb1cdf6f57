/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC-32C (Castagnoli), as iSCSI and ext4 use it (RFC 3720, B.4). */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what crc is the checksum of (nothing: 0) and these bytes behind it. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

/* The same without the processor's help, for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t length);

#endif
