/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Facts about this machine that matter to the library
 *
 * Nothing is changed by looking: a pressure file is opened for writing, but
 * only a write would arm a trigger.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "cgroup.h"
#include "ebb/stat_page.h"
#include "ebbctl.h"
#include "machine.h"

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage"

/* From <linux/membarrier.h>, which not every libc brings. */
#define MEMBARRIER_QUERY	0
#define MEMBARRIER_EXPEDITED	(1 << 3)

__attribute__((format(printf, 2, 3)))
static void set_value(struct fact *fact, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fact->value, sizeof(fact->value), fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 2, 3)))
static void set_meaning(struct fact *fact, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fact->meaning, sizeof(fact->meaning), fmt, ap);
	va_end(ap);
}

/* === Kernel =============================================================== */

static void probe_kernel(struct fact *fact)
{
	struct utsname uts;
	int major = 0, minor = 0;

	uname(&uts);
	set_value(fact, "%s", uts.release);
	sscanf(uts.release, "%d.%d", &major, &minor);
	fact->bad = major < 5 || (major == 5 && minor < 10);
	if (fact->bad)
		set_meaning(fact, "too old: 5.10 or later is needed");
	else if (major > 6 || (major == 6 && minor >= 13))
		set_meaning(fact, "has vectored process_madvise on oneself");
	else
		set_meaning(fact, "gives memory back one range at a time; "
			    "6.13 has vectored process_madvise");
}

static void probe_membarrier(struct fact *fact)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_QUERY, 0, 0);

	if (commands < 0) {
		set_value(fact, "no");
		set_meaning(fact, "%s: caches of idle threads are drained on "
			    "most x86 machines only, malloc_stats() says "
			    "where not", strerror(errno));
	} else if (!(commands & MEMBARRIER_EXPEDITED)) {
		set_value(fact, "slow");
		set_meaning(fact, "no private expedited command: draining "
			    "caches of idle threads takes milliseconds");
	} else {
		set_value(fact, "yes");
		set_meaning(fact, "caches of idle threads can be drained");
	}
}

static void probe_seccomp(struct fact *fact)
{
	char status[8192], *line;
	int mode = -1;

	if (file_get("/proc/self", "status", status, sizeof(status))) {
		line = strstr(status, "\nSeccomp:");
		if (line)
			sscanf(line, "\nSeccomp: %d", &mode);
	}
	set_value(fact, mode < 0 ? "unknown" : "%d", mode);
	if (mode == 2)
		set_meaning(fact, "a filter is in force: process_madvise and "
			    "io_uring are tried in a child first, and done "
			    "without where it refuses them");
	else
		set_meaning(fact, "no filter");
}

/* === cgroups ============================================================== */

static void probe_cgroup_version(struct fact *fact)
{
	struct places places;

	places_find(&places);
	if (!places.version) {
		set_value(fact, "none");
		set_meaning(fact, "%.250s", places.why);
	} else {
		set_value(fact, places.hybrid ? "v1 and v2 (hybrid)" : "v%d",
			  places.version);
		set_meaning(fact, "memory is limited by v%d", places.version);
	}
}

static void probe_cgroup(struct fact *fact)
{
	struct places places;

	places_find(&places);
	set_value(fact, "%.500s", places.version ? places.memory.dir : "none");
	if (!places.version)
		set_meaning(fact, "limits are not seen");
	else if (access(places.memory.dir, W_OK))
		set_meaning(fact, "read-only for you: `ebbctl run` needs "
			    "--no-cgroup");
	else
		set_meaning(fact, "writable for you");
}

/* The limit of one level, and memory.high where that is lower. */
static uint64_t level_limit(const char *dir, int version)
{
	uint64_t limit, high;

	if (version == 1) {
		limit = file_number(dir, "memory.limit_in_bytes", NULL);
		/* What v1 shows for no limit: LONG_MAX, in whole pages. */
		return limit > INT64_MAX - MIB ? UNKNOWN : limit;
	}
	limit = file_number(dir, "memory.max", NULL);
	high = file_number(dir, "memory.high", NULL);
	return high < limit ? high : limit;
}

/* The lowest limit on the visible path from here up. */
static void probe_limit(struct fact *fact)
{
	char text[SIZE_TEXT], path[PATH_MAX];
	uint64_t limit = UNKNOWN, level;
	struct places places;
	struct place place;
	char *slash;

	places_find(&places);
	place = places.memory;
	while (places.version) {
		level = level_limit(place.dir, places.version);
		limit = level < limit ? level : limit;
		slash = strrchr(place.path, '/');
		if (!slash || !strcmp(place.path, "/"))
			break;
		snprintf(path, sizeof(path), "%.*s",
			 slash == place.path ? 1 : (int)(slash - place.path),
			 place.path);
		if (!place_set_path(&place, path))
			break;
	}
	set_value(fact, "%s", limit == UNKNOWN ? "none" :
		  size_human(limit, text));
	set_meaning(fact, limit == UNKNOWN ?
		    "only the whole machine's memory is a bound" :
		    "the lowest on the visible path");
}

static void probe_usage(struct fact *fact)
{
	struct places places;
	uint64_t usage;
	char text[SIZE_TEXT];

	places_find(&places);
	usage = file_number(places.memory.dir, places.version == 1 ?
			    "memory.usage_in_bytes" : "memory.current", NULL);
	set_value(fact, "%s", size_human(usage, text));
	set_meaning(fact, "of the own cgroup, file cache included");
}

/* === Pressure ============================================================= */

static void probe_psi(struct fact *fact)
{
	bool readable = !access("/proc/pressure/memory", R_OK);

	set_value(fact, readable ? "yes" : "no");
	set_meaning(fact, readable ? "the kernel measures stalls" :
		    "no signal from stalls; boot with psi=1, or a kernel "
		    "with CONFIG_PSI");
}

/* The own cgroup in the v2 tree; NULL: none, or the root, without a type. */
static const char *pressure_dir(const struct places *places)
{
	const char *dir = places->version == 2 ? places->memory.dir :
						 places->unified.dir;
	char path[PATH_MAX];

	if (places->version != 2 && !places->hybrid)
		return NULL;
	if (!path_make(path, sizeof(path), "%s/cgroup.type", dir) ||
	    access(path, F_OK))
		return NULL;
	return dir;
}

static void probe_psi_own(struct fact *fact)
{
	struct places places;
	char path[PATH_MAX];
	const char *dir;
	int fd = -1;

	places_find(&places);
	dir = pressure_dir(&places);
	errno = ENOENT;
	if (dir && path_make(path, sizeof(path), "%s/memory.pressure", dir))
		fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		set_value(fact, "yes");
		set_meaning(fact, "a trigger on the own cgroup can be armed");
	} else {
		set_value(fact, "no");
		set_meaning(fact, "%s: %s", dir ? strerror(errno) :
			    "no v2 cgroup of its own",
			    access("/proc/pressure/memory", W_OK) ?
			    "no trigger at all" : "system-wide trigger only");
	}
}

/* === Memory =============================================================== */

/* The word in brackets of a sysfs file; "none" if there is no such file. */
static void chosen_word(const char *dir, const char *file, char word[32])
{
	char text[256], *start, *end;

	strcpy(word, "none");
	if (!file_get(dir, file, text, sizeof(text)))
		return;
	start = strchr(text, '[');
	end = start ? strchr(start, ']') : NULL;
	if (end)
		snprintf(word, 32, "%.*s", (int)(end - start - 1), start + 1);
}

static void probe_thp(struct fact *fact)
{
	char word[32];

	chosen_word(THP_DIR, "enabled", word);
	set_value(fact, "%s", word);
	set_meaning(fact, strcmp(word, "always") ?
		    "as the library wants it" :
		    "the library exempts its own memory");
}

static void probe_mthp(struct fact *fact)
{
	char word[32], thp[32], larger[32];
	bool asked;

	chosen_word(THP_DIR, "enabled", thp);
	chosen_word(THP_DIR "/hugepages-64kB", "enabled", word);
	chosen_word(THP_DIR "/hugepages-2048kB", "enabled", larger);
	set_value(fact, "%s", word);
	if (!strcmp(word, "inherit"))
		strcpy(word, thp);
	if (!strcmp(larger, "inherit"))
		strcpy(larger, thp);
	asked = !strcmp(word, "madvise");
	if (!strcmp(word, "none"))
		set_meaning(fact, "this kernel has none");
	else if (!asked && strcmp(word, "always"))
		set_meaning(fact, "off; an admin can write always to " THP_DIR
			    "/hugepages-64kB/enabled");
	else if (!strcmp(larger, "always"))
		set_meaning(fact, "not for the library, which exempts its "
			    "memory from the larger ones");
	else if (asked && !strcmp(larger, "madvise"))
		set_meaning(fact, "not for the library, which would get those "
			    "of 2 MiB as well");
	else
		set_meaning(fact, "64 KiB folios: faults and giving back are "
			    "several times cheaper");
}

static void probe_overcommit(struct fact *fact)
{
	uint64_t mode = file_number("/proc/sys/vm", "overcommit_memory", NULL);

	set_value(fact, mode == UNKNOWN ? "unknown" : "%" PRIu64, mode);
	set_meaning(fact, mode == 2 ?
		    "strict: memory is committed in pieces" :
		    "reserving address space is free");
}

static void probe_map_count(struct fact *fact)
{
	uint64_t count = file_number("/proc/sys/vm", "max_map_count", NULL);

	set_value(fact, count == UNKNOWN ? "unknown" : "%" PRIu64, count);
	set_meaning(fact, count < 65530 ? "less than the kernel's default" :
		    "enough");
}

static void probe_address_space(struct fact *fact)
{
	char text[SIZE_TEXT];
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY };

	getrlimit(RLIMIT_AS, &limit);
	if (limit.rlim_cur == RLIM_INFINITY) {
		set_value(fact, "unlimited");
		set_meaning(fact, "the reservation has its full size");
	} else {
		set_value(fact, "%s", size_human(limit.rlim_cur, text));
		set_meaning(fact, "at most a quarter of what is left is "
			    "reserved at a time");
	}
}

static void probe_swap(struct fact *fact)
{
	char info[8192], text[SIZE_TEXT], *line;
	uint64_t kib = 0;

	if (file_get("/proc", "meminfo", info, sizeof(info))) {
		line = strstr(info, "\nSwapTotal:");
		if (line)
			kib = strtoull(line + strlen("\nSwapTotal:"), NULL, 10);
	}
	set_value(fact, "%s", size_human(kib * 1024, text));
	set_meaning(fact, kib ? "used memory can be moved out" :
		    "at the limit only freed memory and file cache can go");
}

/* === Control directory ==================================================== */

/* Why the library would not make PID/ in @path; NULL: it would. */
static const char *refuses_place(const char *path, bool make)
{
	struct statfs fs;
	struct stat st;

	if (lstat(path, &st))
		return strerror(errno);
	if (!S_ISDIR(st.st_mode))
		return "not a directory";
	if (st.st_uid && st.st_uid != geteuid())
		return "somebody else's";
	if (st.st_mode & (S_IWGRP | S_IWOTH) && !(st.st_mode & S_ISVTX))
		return "others may write to it, and it is not sticky";
	if (statfs(path, &fs) || (fs.f_type != TMPFS_MAGIC &&
				  fs.f_type != RAMFS_MAGIC))
		return "not on tmpfs";
	return make && access(path, W_OK | X_OK) ? strerror(errno) : NULL;
}

/* The first place in the library's order; what is missing there, it makes. */
static void probe_control(struct fact *fact)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *why = refuses_place(EBB_DIR_RUN, true);

	if (!why) {
		set_value(fact, "%s", EBB_DIR_RUN);
		set_meaning(fact, "processes keep a directory here");
		return;
	}
	if (errno == ENOENT && !geteuid() && !refuses_place("/run", true)) {
		set_value(fact, "%s", EBB_DIR_RUN);
		set_meaning(fact, "made by the first process of root's");
		return;
	}
	if (runtime && *runtime == '/' && !refuses_place(runtime, true))
		set_value(fact, "%s/" EBB_DIR_RUNTIME, runtime);
	else if (!refuses_place("/dev/shm", true))
		set_value(fact, EBB_DIR_SHM "%u", geteuid());
	else
		set_value(fact, "none");
	set_meaning(fact, "%s: %s%s", EBB_DIR_RUN, why,
		    strcmp(fact->value, "none") ? "" :
		    "; processes cannot be observed: name a place with "
		    "control_dir=PATH");
}

/* === Table ================================================================ */

static const struct {
	const char *name;
	void (*probe)(struct fact *fact);
} probes[] = {
	{ "kernel", probe_kernel },
	{ "membarrier", probe_membarrier },
	{ "seccomp", probe_seccomp },
	{ "cgroups", probe_cgroup_version },
	{ "memory_cgroup", probe_cgroup },
	{ "memory_limit", probe_limit },
	{ "memory_usage", probe_usage },
	{ "swap", probe_swap },
	{ "psi", probe_psi },
	{ "psi_trigger", probe_psi_own },
	{ "thp", probe_thp },
	{ "mthp_64k", probe_mthp },
	{ "overcommit_memory", probe_overcommit },
	{ "max_map_count", probe_map_count },
	{ "address_space", probe_address_space },
	{ "control_dir", probe_control },
};

size_t machine_nr_facts(void)
{
	return ARRAY_SIZE(probes);
}

void machine_fact(size_t nr, struct fact *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->name = probes[nr].name;
	probes[nr].probe(ret);
}
