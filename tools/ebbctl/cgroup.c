/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - The cgroup of one run
 *
 * Model: one child "ebb-run-PID" of the cgroup that limits the tool's memory,
 * made, entered and removed through libcgroup.  What libcgroup cannot do is
 * done by hand: in a hybrid set-up the child of the same name in the v2 tree,
 * which has no controllers but has memory.pressure; and in a v2 tree that was
 * delegated, where it insists on the root.
 *
 * v2 allows no processes in a cgroup whose children have controllers (the
 * root excepted).  So there the child is made, in this order:
 *	below the present cgroup, if that is possible as it is;
 *	below it, if the tool is alone in it: the tool moves to a leaf of its
 *	own meanwhile;
 *	beside it, if the parent distributes the controller: this is said,
 *	because the present cgroup's own limits then do not hold.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <libcgroup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "cgroup.h"
#include "ebbctl.h"

#define REMOVE_TRIES	50
#define REMOVE_WAIT_MS	10

/*
 * A quarter of a small cgroup, else one sixteenth but at least 8 MiB: room
 * for a thread to be throttled in, and for the library to give memory back,
 * before the kernel kills.
 */
uint64_t high_for(uint64_t max)
{
	uint64_t margin = max / 16;

	if (max == LIMIT_NONE)
		return LIMIT_NONE;
	if (margin < 8 * MIB)
		margin = 8 * MIB;
	if (margin > max / 4)
		margin = max / 4;
	return max - margin;
}

/* A tool that makes many cgroups says the same of each only once. */
#define message_once(...)			\
	do {					\
		static bool said;		\
						\
		if (!said)			\
			message(__VA_ARGS__);	\
		said = true;			\
	} while (0)

/* === Values =============================================================== */

struct setting {
	const char *file;
	char value[24];
};

/* Settings in the order in which they must be written. */
struct settings {
	unsigned int nr;
	struct setting item[3];
};

static void add_setting(struct settings *set, const char *file, uint64_t value)
{
	struct setting *item = &set->item[set->nr];

	if (value == LIMIT_NONE)
		return;
	item->file = file;
	snprintf(item->value, sizeof(item->value), "%" PRIu64, value);
	set->nr++;
}

/*
 * v1 limits memory and swap together.  A charge is refused by that counter
 * first, and where both limits are the same, memory.failcnt stays at 0 however
 * often: so it is a page more than asked for.
 */
static uint64_t with_swap(const struct limits *limits)
{
	if (limits->swap == LIMIT_NONE)
		return LIMIT_NONE;
	return limits->memory + limits->swap +
	       (uint64_t)sysconf(_SC_PAGESIZE);
}

static void choose_settings(struct run_cgroup *cg, const struct limits *limits,
			    struct settings *ret_set)
{
	ret_set->nr = 0;
	cg->high = LIMIT_NONE;
	if (cg->places.version == 1) {
		add_setting(ret_set, "memory.limit_in_bytes", limits->memory);
		add_setting(ret_set, "memory.memsw.limit_in_bytes",
			    with_swap(limits));
		if (limits->high_given && limits->high != LIMIT_NONE)
			message_once("--high has no effect: cgroup v1 has no "
				     "memory.high");
		return;
	}
	cg->high = limits->high_given ? limits->high :
					high_for(limits->memory);
	add_setting(ret_set, "memory.max", limits->memory);
	add_setting(ret_set, "memory.high", cg->high);
	add_setting(ret_set, "memory.swap.max", limits->swap);
}

bool limit_parse(const char *option, const char *text, uint64_t *ret_limit)
{
	if (!strcmp(text, "max")) {
		*ret_limit = LIMIT_NONE;
		return true;
	}
	if (size_parse(text, ret_limit))
		return true;
	message("--%s=%s refused: accepts bytes, 0 to 8388607T, with a suffix "
		"K, M, G or T, or max", option, text);
	return false;
}

/* === Making =============================================================== */

static bool is_refusal(int err)
{
	return err == EACCES || err == EPERM || err == EROFS;
}

/* Say in cg->why that no cgroup can be made below @dir, and why not. */
static bool refuse(struct run_cgroup *cg, const char *dir, const char *error,
		   int err)
{
	snprintf(cg->why, sizeof(cg->why), "cannot make a cgroup below "
		 "%.3000s: %.500s", dir, error);
	cg->refused = is_refusal(err);
	return false;
}

/* libcgroup's errors, and the errno that it keeps for some. */
static const char *libcgroup_error(int ret, int *ret_errno)
{
	*ret_errno = ret == ECGOTHER ? cgroup_get_last_errno() : 0;
	if (ret == ECGROUPNOTALLOWED || ret == ECGROUPNOTOWNER)
		*ret_errno = EACCES;
	return *ret_errno ? strerror(*ret_errno) : cgroup_strerror(ret);
}

/* Make cg->memory with libcgroup; its error, or 0. */
static int make_with_libcgroup(struct run_cgroup *cg,
			       const struct settings *set)
{
	struct cgroup_controller *memory;
	struct cgroup *handle;
	int ret;

	ret = cgroup_init();
	if (ret)
		return ret;
	handle = cgroup_new_cgroup(cg->memory.path + 1);
	memory = handle ? cgroup_add_controller(handle, "memory") : NULL;
	if (!memory) {
		cgroup_free(&handle);
		return ECGFAIL;
	}
	for (unsigned int i = 0; !ret && i < set->nr; i++)
		ret = cgroup_add_value_string(memory, set->item[i].file,
					      set->item[i].value);
	if (!ret)
		ret = cgroup_create_cgroup(handle, 1);
	if (ret) {
		cgroup_free(&handle);
		rmdir(cg->memory.dir);
		return ret;
	}
	cg->handle = handle;
	return 0;
}

/* The same by hand; false with errno. */
static bool make_by_hand(struct run_cgroup *cg, const struct settings *set)
{
	int err;

	if (mkdir(cg->memory.dir, 0755))
		return false;
	for (unsigned int i = 0; i < set->nr; i++) {
		if (file_put(cg->memory.dir, set->item[i].file,
			     set->item[i].value))
			continue;
		err = errno;
		message("%s/%s refuses %s: %s", cg->memory.dir,
			set->item[i].file, set->item[i].value, strerror(err));
		rmdir(cg->memory.dir);
		errno = err;
		return false;
	}
	return true;
}

/*
 * NULL, or why not.  On v1 libcgroup knows best; on v2 the second error is
 * the better one, as libcgroup reports its own idea of what is missing.
 */
static const char *make_child(struct run_cgroup *cg,
			      const struct settings *set, int *ret_errno)
{
	int ret = make_with_libcgroup(cg, set);

	if (!ret)
		return NULL;
	if (cg->places.version == 1)
		return libcgroup_error(ret, ret_errno);
	if (make_by_hand(cg, set))
		return NULL;
	*ret_errno = errno;
	return strerror(errno);
}

static bool place_child(struct place *child, const struct place *parent,
			const char *suffix)
{
	char path[PATH_MAX];

	*child = *parent;
	return path_make(path, sizeof(path), "%s/ebb-run-%d%s",
			 strcmp(parent->path, "/") ? parent->path : "",
			 (int)getpid(), suffix) &&
	       place_set_path(child, path);
}

/* PSI of a hybrid set-up; without it the run goes on. */
static void make_unified(struct run_cgroup *cg)
{
	if (!cg->places.hybrid ||
	    !place_child(&cg->unified, &cg->places.unified, ""))
		return;
	if (!mkdir(cg->unified.dir, 0755))
		cg->psi = true;
	else
		message("no pressure information: cannot make %s: %s",
			cg->unified.dir, strerror(errno));
}

/* === v2: a parent that may have children with controllers ================= */

static bool distributes_memory(const struct place *place)
{
	char text[1024];

	return file_get(place->dir, "cgroup.subtree_control", text,
			sizeof(text)) && strstr(text, "memory");
}

static unsigned int count_processes(const char *dir)
{
	char text[65536];
	unsigned int nr = 0;

	if (!file_get(dir, "cgroup.procs", text, sizeof(text)) || !*text)
		return 0;
	for (const char *at = text; at; at = strchr(at + 1, '\n'))
		nr++;
	return nr;
}

static void leave_leaf(struct run_cgroup *cg)
{
	if (!cg->moved)
		return;
	file_put(cg->places.memory.dir, "cgroup.subtree_control", "-memory");
	if (!file_put(cg->places.memory.dir, "cgroup.procs", "0") ||
	    rmdir(cg->leaf.dir))
		message("cannot leave and remove %s: %s", cg->leaf.dir,
			strerror(errno));
	cg->moved = false;
}

/* Move the tool, which is alone in @own, to a leaf, and try again. */
static bool make_room(struct run_cgroup *cg, const struct place *own)
{
	if (count_processes(own->dir) != 1 ||
	    !place_child(&cg->leaf, own, "-tool") ||
	    mkdir(cg->leaf.dir, 0755))
		return false;
	if (!file_put(cg->leaf.dir, "cgroup.procs", "0")) {
		rmdir(cg->leaf.dir);
		return false;
	}
	cg->moved = true;
	if (file_put(own->dir, "cgroup.subtree_control", "+memory"))
		return true;
	leave_leaf(cg);
	return false;
}

static bool parent_of(const struct place *own, struct place *ret_parent)
{
	char path[PATH_MAX];
	char *slash;

	*ret_parent = *own;
	if (!strcmp(own->path, "/") ||
	    !path_make(path, sizeof(path), "%s", own->path))
		return false;
	slash = strrchr(path, '/');
	slash[slash == path] = '\0';
	return place_set_path(ret_parent, path);
}

/* Where the child goes; false with errno. */
static bool choose_parent_v2(struct run_cgroup *cg, struct place *ret_parent)
{
	const struct place *own = &cg->places.memory;
	int err;

	*ret_parent = *own;
	if (distributes_memory(own) ||
	    file_put(own->dir, "cgroup.subtree_control", "+memory"))
		return true;
	err = errno;
	if (make_room(cg, own))
		return true;
	if (parent_of(own, ret_parent) && distributes_memory(ret_parent) &&
	    !access(ret_parent->dir, W_OK)) {
		message_once("the cgroup is made beside %s, whose own limits "
			     "do not hold for it: v2 allows no child where "
			     "other processes are", own->dir);
		return true;
	}
	*ret_parent = *own;
	errno = err;
	return false;
}

bool cgroup_make(struct run_cgroup *cg, const struct limits *limits)
{
	struct place parent;
	struct settings set;
	const char *error;
	int err;

	memset(cg, 0, sizeof(*cg));
	places_find(&cg->places);
	if (!cg->places.version) {
		snprintf(cg->why, sizeof(cg->why), "cannot make a cgroup: "
			 "%.4000s", cg->places.why);
		return false;
	}
	parent = cg->places.memory;
	if (cg->places.version == 2 && !choose_parent_v2(cg, &parent))
		return refuse(cg, parent.dir, errno == EBUSY ?
			      "other processes are in it, and v2 then allows "
			      "no child with a memory limit" : strerror(errno),
			      errno);
	if (!place_child(&cg->memory, &parent, ""))
		return refuse(cg, parent.dir, strerror(errno), 0);
	choose_settings(cg, limits, &set);
	error = make_child(cg, &set, &err);
	if (error) {
		leave_leaf(cg);
		return refuse(cg, parent.dir, error, err);
	}
	make_unified(cg);
	return true;
}

/* === Entering, reading, removing ========================================== */

bool cgroup_enter(struct run_cgroup *cg, pid_t pid)
{
	char text[16];
	int ret, err;

	snprintf(text, sizeof(text), "%d", (int)pid);
	if (cg->psi && !file_put(cg->unified.dir, "cgroup.procs", text))
		message("no pressure information: cannot enter %s: %s",
			cg->unified.dir, strerror(errno));
	if (!cg->handle) {
		if (file_put(cg->memory.dir, "cgroup.procs", text))
			return true;
		message("cannot enter %s: %s", cg->memory.dir, strerror(errno));
		return false;
	}
	ret = cgroup_attach_task_pid(cg->handle, pid);
	if (ret)
		message("cannot enter %s: %s", cg->memory.dir,
			libcgroup_error(ret, &err));
	return !ret;
}

void cgroup_read(const struct run_cgroup *cg, struct usage *ret)
{
	const char *dir = cg->memory.dir;

	if (cg->places.version == 1) {
		ret->peak = file_number(dir, "memory.max_usage_in_bytes", NULL);
		ret->limit_hits = file_number(dir, "memory.failcnt", NULL);
		ret->high_hits = UNKNOWN;
		ret->oom_kills = file_number(dir, "memory.oom_control",
					     "oom_kill");
		return;
	}
	ret->peak = file_number(dir, "memory.peak", NULL);
	ret->limit_hits = file_number(dir, "memory.events", "max");
	ret->high_hits = file_number(dir, "memory.events", "high");
	ret->oom_kills = file_number(dir, "memory.events", "oom_kill");
}

uint64_t cgroup_held(const struct run_cgroup *cg)
{
	const char *dir = cg->memory.dir;
	bool v1 = cg->places.version == 1;
	uint64_t held, swap;
	char text[8192];

	if (!file_get(dir, "memory.stat", text, sizeof(text)))
		return UNKNOWN;
	held = text_number(text, v1 ? "total_rss" : "anon");
	swap = v1 ? text_number(text, "total_swap") :
		    file_number(dir, "memory.swap.current", NULL);
	return held == UNKNOWN || swap == UNKNOWN ? held : held + swap;
}

bool cgroup_limits_swap(const struct run_cgroup *cg)
{
	return file_number(cg->memory.dir, cg->places.version == 1 ?
			   "memory.memsw.usage_in_bytes" :
			   "memory.swap.current", NULL) != UNKNOWN;
}

/*
 * A process that has just ended still holds its cgroup for a moment, and the
 * command's children may be about to end.
 */
static bool remove_patiently(struct run_cgroup *cg, const struct place *place)
{
	struct timespec wait = { .tv_nsec = REMOVE_WAIT_MS * 1000000L };
	bool with_libcgroup = cg->handle && place == &cg->memory;

	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (with_libcgroup)
			cgroup_delete_cgroup_ext(cg->handle,
						 CGFLAG_DELETE_EMPTY_ONLY);
		else
			rmdir(place->dir);
		if (access(place->dir, F_OK))
			return true;
		nanosleep(&wait, NULL);
	}
	return false;
}

unsigned int cgroup_remove(struct run_cgroup *cg)
{
	unsigned int nr = 0;

	if (!remove_patiently(cg, &cg->memory)) {
		nr = count_processes(cg->memory.dir);
		message("%s is left behind, with %u process%s in it; remove it "
			"with rmdir when they have ended", cg->memory.dir, nr,
			nr == 1 ? "" : "es");
	}
	if (cg->psi && !remove_patiently(cg, &cg->unified))
		message("%s is left behind, too", cg->unified.dir);
	if (!nr)
		leave_leaf(cg);
	cgroup_free(&cg->handle);
	return nr;
}
