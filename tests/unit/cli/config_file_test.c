/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: what it means, and errors that name the line. */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "cli/config_file.h"
#include "kit.h"

static int parse_text(struct args *args, const char *text, struct ob_error *err)
{
	*args = (struct args){.ready_fd = -1};
	return config_file_parse(args, text, strlen(text), "f", err);
}

static const char *plan_of_text(const char *text)
{
	struct ob_error err = {0};
	struct args args;
	const char *out;

	if (parse_text(&args, text, &err))
		fail_msg("%s", err.message);
	out = printed(&args.plan);
	args_free(&args);
	return out;
}

static void says(const char *text, const char *message)
{
	struct ob_error err = {0};
	struct args args;

	if (parse_text(&args, text, &err) != -EINVAL)
		fail_msg("%s: is taken", text);
	args_free(&args);
	assert_string_equal(err.message, message);
}

static void sections(void **state)
{
	assert_string_equal(plan_of_text("# a comment\n"
	                                 "\n"
	                                 "[blockdev \"b0\"]\n"
	                                 "  driver = \"file\"   # behind a value\n"
	                                 "\tfilename=\"/a b#c.img\"\r\n"
	                                 " read-only = on\n"
	                                 "[ device \"d0\" ] # and behind a head\n"
	                                 "driver = nvme\n"
	                                 "drive = \"b0\"\n"
	                                 "drive = \"b1\"\n"
	                                 "[object \"s0\"]\n"
	                                 "qom-type = \"x-vfio-user-server\"\n"
	                                 "socket.path = \"\"\n"
	                                 "[qmp]\n"
	                                 "path = /run/q"),
	                    "blockdev node-name=b0,driver=file,filename=/a b#c.img,read-only=on\n"
	                    "device id=d0,driver=nvme,drive=b0,drive=b1\n"
	                    "object id=s0,qom-type=x-vfio-user-server,socket.path=\n"
	                    "monitor path=/run/q,backend=socket,server=on,wait=off\n");
	assert_string_equal(plan_of_text(""), "");
	assert_string_equal(plan_of_text("[drive \"b0\"]\nif=none\nfile=\"a\"\nformat=raw\n"),
	                    "blockdev driver=file,node-name=b0,filename=a\n");
}

static void short_forms(void **state)
{
	assert_string_equal(
		plan_of_text("[nvme \"d0\"]\nfile = \"a.img\"\nsocket = \"s\"\nro=on\n"
	                     "[edu]\nsocket = \"t\"\n"),
		"blockdev driver=file,node-name=d0-drive0,filename=a.img,read-only=on,"
		"discard=unmap\n"
		"device driver=nvme,id=d0,drive=d0-drive0\n"
		"device driver=edu,id=edu1\n"
		"object qom-type=x-vfio-user-server,id=d0-server,device=d0,path=s\n"
		"object qom-type=x-vfio-user-server,id=edu1-server,device=edu1,path=t\n");
}

static void the_process(void **state)
{
	struct ob_error err = {0};
	struct args args;

	assert_int_equal(parse_text(&args,
	                            "[machine]\ntype = \"x-remote\"\nauto-shutdown = \"off\"\n"
	                            "[name]\nguest = \"vm 1\"\n[msg]\ntimestamp = \"on\"\n"
	                            "[trace]\nenable = \"s*\"\n"
	                            "[chardev \"c\"]\nbackend = \"stdio\"\n"
	                            "[mon \"m\"]\nchardev = \"c\"\nmode = \"control\"\n",
	                            &err),
	                 0);
	assert_true(args.remote && !args_auto_shutdown(&args) && args.timestamps);
	assert_string_equal(args.name, "vm 1");
	assert_int_equal(args.traces.count, 1);
	assert_int_equal(args.chardevs.count, 1);
	args_free(&args);
}

static void refused(void **state)
{
	static const char head[] = "expected [SECTION] or [SECTION \"ID\"]";
	static const char pair[] = "expected KEY = \"VALUE\"";
	static const struct {
		const char *text;
		unsigned line;
		const char *message;
	} cases[] = {
		{"driver = \"edu\"\n", 1, "expected a [SECTION] first"},
		{"\n\n[device\n", 3, head},
		{"[]\n", 1, head},
		{"[device \"d0]\n", 1, head},
		{"[device d0]\n", 1, head},
		{"[device \"d0\"] x\n", 1, head},
		{"[device]\ndriver\n", 2, pair},
		{"[device]\ndriver =\n", 2, pair},
		{"[device]\ndriver = \"edu\n", 2, pair},
		{"[device]\ndriver = \"edu\" x\n", 2, pair},
		{"[device]\ndriver = edu x\n", 2, pair},
		{"[device]\n= \"edu\"\n", 2, pair},
		{"[device]\n1 = \"edu\"\n", 2, pair},
		{"[device]\nd\x01 = \"edu\"\n", 2, "a control character"},
		{"[devise]\n", 1, "unknown section 'devise': did you mean 'device'?"},
		{"[x]\n", 1, "unknown section 'x': outboard.conf(5) lists all"},
		{"[machine \"m\"]\n", 1, "this section has no id"},
		{"#\n[machine]\ntype = \"pc\"\n[edu]\n", 2,
	         "machine 'pc' is a guest's, and outboard runs none: x-remote is what serves "
	         "devices"},
		{"[nvme]\n\nsize = 1G\nseral = x\n", 4,
	         "unknown property 'seral' for nvme: did you mean 'serial'?"},
		{"[msg]\ntimestamp=on\ntimestamp=off", 3, "timestamp is given twice"},
	};
	char message[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(message, sizeof(message), "f:%u: %s", cases[i].line, cases[i].message);
		says(cases[i].text, message);
	}
}

static void bounds(void **state)
{
	struct ob_error err = {0};
	struct args args = {0};
	size_t length = CONFIG_LINE_MAX;
	cleanup_free char *text = malloc(length + 1);
	char binary[] = "[edu]\n\0\n";

	assert_non_null(text);
	memset(text, '#', length);
	text[length] = '\0';
	says(text, "f:1: the line is too long");
	text[length - 1] = '\0';
	assert_int_equal(parse_text(&args, text, &err), 0);
	assert_int_equal(config_file_parse(&args, binary, sizeof(binary) - 1, "f", &err), -EINVAL);
	args_free(&args);
	memset(text, 'a', length - 2);
	memcpy(text, "[", 1);
	says(text, "f:1: expected [SECTION] or [SECTION \"ID\"]");
}

static void files(void **state)
{
	struct ob_error err = {0};
	struct args args = {0};

	assert_int_equal(config_file_read(&args, "/nowhere/x.conf", &err), -ENOENT);
	assert_string_equal(err.message, "/nowhere/x.conf: No such file or directory");
	assert_int_equal(config_file_read(&args, "/", &err), -EISDIR);
	/* Endless, and of no form. */
	assert_int_equal(config_file_read(&args, "/dev/zero", &err), -EFBIG);
	args_free(&args);
}

static const char *with_named(const char *line, const char *names)
{
	struct ob_error err = {0};
	struct args args;
	struct opts named = {0};
	const char *out;
	char copy[128];
	int fd = 3;

	snprintf(copy, sizeof(copy), "%s", names);
	for (char *name = strtok(copy, ":"); name; name = strtok(NULL, ":")) {
		char number[8];

		snprintf(number, sizeof(number), "%d", fd++);
		assert_int_equal(opts_add(&named, name, number), 0);
	}
	if (parse(&args, line, &err) || plan_give_sockets(&args.plan, &args.sockets, &named, &err))
		fail_msg("%s: %s", line, err.message);
	out = printed(&args.plan);
	args_free(&args);
	opts_free(&named);
	return strstr(out, "object ");
}

/* Sockets of a service manager go where their name says, whatever their order. */
static void named_sockets(void **state)
{
	static const char line[] = "-object t,id=s0,device=d0 -object t,id=s1,device=d1 "
				   "-chardev socket,id=c -mon c,mode=control,id=m";

	assert_string_equal(with_named(line, "m:s1:s0"), "object qom-type=t,id=s0,device=d0,fd=5\n"
	                                                 "object qom-type=t,id=s1,device=d1,fd=4\n"
	                                                 "monitor mode=control,id=m,"
	                                                 "backend=socket,fd=3\n");
	assert_string_equal(with_named(line, "unknown:d0:m"),
	                    "object qom-type=t,id=s0,device=d0,fd=4\n"
	                    "object qom-type=t,id=s1,device=d1,fd=3\n"
	                    "monitor mode=control,id=m,backend=socket,fd=5\n");
	assert_string_equal(with_named("edu id=a -- edu id=b socket=x", "a"),
	                    "object qom-type=x-vfio-user-server,id=a-server,device=a,fd=3\n"
	                    "object qom-type=x-vfio-user-server,id=b-server,device=b,path=x\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections),      cmocka_unit_test(short_forms),
		cmocka_unit_test(the_process),   cmocka_unit_test(refused),
		cmocka_unit_test(bounds),        cmocka_unit_test(files),
		cmocka_unit_test(named_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
