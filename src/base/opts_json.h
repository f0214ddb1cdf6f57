/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options from JSON: the form of -device, -object and -blockdev that begins with '{', and the
 * arguments of the monitor's commands.
 *
 * A JSON object is flattened into the pairs that the key=value form would have given, so that
 * whoever makes an object knows one form only:
 *
 *   {"driver": "nvme", "id": "d0"}       driver=nvme, id=d0
 *   {"socket": {"type": "unix"}}         socket.type=unix, as {"socket.type": "unix"} does
 *   {"drive": ["b0", "b1"]}              drive=b0, drive=b1
 *   {"queue": true, "size": 4096}        queue=on, size=4096
 *
 * Whole numbers between -2^63 and 2^64 - 1 are taken as they are (these two are not: json-c makes
 * them of whatever is beyond); what a property makes of them is its own affair. What has no such
 * form is refused with a message that names the member: null, numbers with a fraction or an
 * exponent, strings with a NUL in them, lists in lists, lists of objects, lists and objects without
 * anything in them (they would be ignored silently), empty names, a name that is given both nested
 * and flat, more than OPTS_JSON_DEPTH objects in each other, and more than OPTS_JSON_PAIRS pairs.
 */
#ifndef BASE_OPTS_JSON_H
#define BASE_OPTS_JSON_H

#include "opts.h"

enum { OPTS_JSON_DEPTH = 8, OPTS_JSON_PAIRS = 1024, OPTS_JSON_KEY = 255 };

struct json_object;

/*
 * Adds the pairs of a JSON object to the end of opts, in the order of the document. -EINVAL with a
 * message, -ENOMEM; opts may have some of the pairs then. object stays the caller's.
 */
int opts_from_json(struct opts *opts, struct json_object *object, struct ob_error *err);

/*
 * The same from text: one JSON object (RFC 8259, UTF-8) and nothing behind it. As with QEMU,
 * strings may stand between single quotes. Of members with the same name in one object the last
 * counts.
 */
int opts_parse_json(struct opts *opts, const char *text, struct ob_error *err);

#endif
