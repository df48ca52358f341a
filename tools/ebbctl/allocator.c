/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Allocators that can be preloaded
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "allocator.h"
#include "ebbctl.h"
#include "inspect.h"

#if defined(__x86_64__)
#define MULTIARCH	"x86_64-linux-gnu"
#elif defined(__aarch64__)
#define MULTIARCH	"aarch64-linux-gnu"
#endif

static const struct {
	const char *name;
	const char *file;
	const char *package;	/* of Debian */
} packaged[] = {
	{ "jemalloc", "libjemalloc.so.2", "libjemalloc2" },
	{ "mimalloc", "libmimalloc.so.2", "libmimalloc2.0" },
	{ "mimalloc", "libmimalloc.so.3", "libmimalloc3" },
	{ "tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4" },
	{ "tcmalloc", "libtcmalloc.so.4", "libgoogle-perftools4" },
};

static const char *const dirs[] = {
	"/usr/lib/" MULTIARCH, "/usr/lib64", "/usr/lib", "/usr/local/lib",
};

/* Whether @name is one of packaged[]; then its file, or an empty path. */
static bool find_packaged(const char *name, char path[PATH_MAX],
			  const char **ret_package)
{
	char tried[PATH_MAX];

	*path = '\0';
	*ret_package = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(packaged); i++) {
		if (strcmp(packaged[i].name, name))
			continue;
		if (!*ret_package)
			*ret_package = packaged[i].package;
		for (size_t d = 0; d < ARRAY_SIZE(dirs) && !*path; d++)
			if (path_make(tried, sizeof(tried), "%s/%s", dirs[d],
				      packaged[i].file) &&
			    !access(tried, R_OK) && !realpath(tried, path))
				*path = '\0';
	}
	return *ret_package;
}

/* "/usr/lib/libfoo-bar.so.2" is "foo-bar". */
static void name_after(const char *path, struct allocator *allocator)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path, *end;
	size_t len;

	if (!strncmp(name, "lib", 3))
		name += 3;
	end = strstr(name, ".so");
	len = end && end > name ? (size_t)(end - name) : strlen(name);
	snprintf(allocator->name, sizeof(allocator->name), "%.*s", (int)len,
		 name);
}

bool allocator_find(const char *text, struct allocator *ret)
{
	char why[INSPECT_TEXT];
	struct allocator found;
	const char *package;

	if (find_packaged(text, found.library, &package)) {
		snprintf(found.name, sizeof(found.name), "%s", text);
		if (!*found.library) {
			message("--with=%s refused: it is not installed "
				"(Debian: apt install %s); accepts the path "
				"of a library, too", text, package);
			return false;
		}
	} else if (!realpath(text, found.library)) {
		message("--with=%s refused: %s; accepts jemalloc, mimalloc, "
			"tcmalloc, or the path of a shared library", text,
			strerror(errno));
		return false;
	} else {
		name_after(found.library, &found);
	}
	if (!inspect_library(found.library, why)) {
		message("--with=%s refused: %s", text, why);
		return false;
	}
	*ret = found;
	return library_fits(found.library);
}
