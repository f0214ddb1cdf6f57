/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzzer's inputs without a fuzzer: files, and the files of folders. So what a fuzzer has
 * found is tested with every compiler, and under any sanitizer.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "input.h"

static unsigned inputs;

static void run_file(const char *path)
{
	FILE *file = fopen(path, "rbe");
	struct stat stat;
	uint8_t *data;

	if (!file || fstat(fileno(file), &stat)) {
		perror(path);
		exit(2);
	}
	/* Exactly as long as the input, so that reading past it is noticed. */
	data = malloc((size_t)stat.st_size);
	if (fread(data, 1, (size_t)stat.st_size, file) != (size_t)stat.st_size) {
		perror(path);
		exit(2);
	}
	fclose(file);
	if (getenv("FUZZ_LOG"))
		fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, (size_t)stat.st_size);
	free(data);
	inputs++;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void run(const char *path)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_visible, alphasort);
	char *inside;

	if (count < 0) {
		run_file(path);
		return;
	}
	for (int i = 0; i < count; i++) {
		if (asprintf(&inside, "%s/%s", path, entries[i]->d_name) < 0)
			exit(2);
		run_file(inside);
		free(inside);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run(argv[i]);
	/* As the tests' other programs say it. */
	printf("1..1\nok 1 - %u inputs\n", inputs);
	return 0;
}
