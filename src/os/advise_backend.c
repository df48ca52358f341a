/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Table and state of the ways of giving memory back
 */
#include "base/err.h"
#include "base/log.h"
#include "base/param.h"
#include "os/advise_backend.h"
#include "os/huge.h"

/* In the order of enum ebb_backend; NULL: not built in. */
struct advise_backend *const advise_backends[NR_BACKENDS] = {
	&madvise_backend,
	IS_ENABLED(CONFIG_PROCESS_MADVISE) ? &process_backend : NULL,
	IS_ENABLED(CONFIG_URING) ? &uring_backend : NULL,
};

static const struct {
	const char *name, *symbol;
} names[] = {
	{ "madvise", NULL },
	{ "process_madvise", "CONFIG_PROCESS_MADVISE" },
	{ "io_uring", "CONFIG_URING" },
};

_Static_assert(ARRAY_SIZE(names) == NR_BACKENDS &&
	       NR_BACKENDS == EBB_BACKEND_URING,
	       "every backend has a name and a value of the option");

static struct advise_backend *chosen = &madvise_backend;

struct advise_owner advise_owner = { .status_fd = -1 };
__thread bool advise_is_owner;

/* === State ============================================================= */

void backend_set_state(struct advise_backend *backend, enum backend_state state)
{
	/* Pairs with backend_get_state(). */
	store_release(&backend->state, state);
}

enum backend_state backend_get_state(const struct advise_backend *backend)
{
	/* Pairs with backend_set_state(). */
	return load_acquire(&backend->state);
}

void backend_choose(struct advise_backend *backend)
{
	/* Pairs with backend_chosen(). */
	store_release(&chosen, backend);
}

struct advise_backend *backend_chosen(void)
{
	/* Pairs with backend_choose(). */
	return load_acquire(&chosen);
}

void backend_give_up(struct advise_backend *backend, const char *reason,
		     int err)
{
	store_relaxed(&backend->reason, reason);
	store_relaxed(&backend->error, err);
	backend_set_state(backend, BACKEND_UNAVAILABLE);
	if (advise_is_owner)
		backend->close();
}

void backend_set_counters(struct advise_backend *backend,
			  const struct backend_counters *from)
{
	struct backend_counters *to = &backend->counters;

	store_relaxed(&to->ranges, from->ranges);
	store_relaxed(&to->bytes, from->bytes);
	store_relaxed(&to->calls, from->calls);
	store_relaxed(&to->partial, from->partial);
	store_relaxed(&to->fallbacks, from->fallbacks);
}

/* === Fork ============================================================== */

void advise_postfork_child(void)
{
	static const struct backend_counters none;

	advise_is_owner = false;
	advise_owner.status_fd = -1;
	backend_choose(&madvise_backend);
	for (unsigned int i = 0; i < NR_BACKENDS; i++) {
		if (!advise_backends[i])
			continue;
		advise_backends[i]->forget();
		store_relaxed(&advise_backends[i]->cost_ns, 0);
		backend_set_counters(advise_backends[i], &none);
		backend_set_state(advise_backends[i], BACKEND_UNTRIED);
	}
}

/* === Telling =========================================================== */

const char *advise_name(void)
{
	return backend_chosen()->name;
}

uint64_t advise_cost_ns(void)
{
	return load_relaxed(&backend_chosen()->cost_ns);
}

static size_t describe_cost(uint64_t ns, char *buf, size_t size)
{
	if (!ns)
		return fmt_line(buf, size, ", not measured");
	return fmt_line(buf, size, ", %llu.%llu%llu us a range",
			(unsigned long long)(ns / 1000),
			(unsigned long long)(ns / 100 % 10),
			(unsigned long long)(ns / 10 % 10));
}

static size_t describe_counters(const struct backend_counters *counters,
				char *buf, size_t size)
{
	if (!load_relaxed(&counters->calls))
		return 0;
	return fmt_line(buf, size, ", %llu ranges, %llu KiB, "
			"%llu calls, %llu partial, %llu left to madvise",
			(unsigned long long)load_relaxed(&counters->ranges),
			(unsigned long long)load_relaxed(&counters->bytes) /
				KIB,
			(unsigned long long)load_relaxed(&counters->calls),
			(unsigned long long)load_relaxed(&counters->partial),
			(unsigned long long)
				load_relaxed(&counters->fallbacks));
}

static size_t describe_live(const struct advise_backend *backend, char *buf,
			    size_t size)
{
	size_t len;

	len = fmt_line(buf, size, "%s: %s", backend->name,
		       backend == backend_chosen() ? "chosen" : "live");
	len += describe_cost(load_relaxed(&backend->cost_ns), buf + len,
			     size - len);
	len += describe_counters(&backend->counters, buf + len, size - len);
	return len;
}

static size_t describe_refused(const struct advise_backend *backend, char *buf,
			       size_t size)
{
	const char *reason = load_relaxed(&backend->reason);

	return fmt_line(buf, size, "%s: unavailable: %s (%s)", backend->name,
			reason ? reason : "the kernel refuses",
			err_name(load_relaxed(&backend->error)));
}

static size_t describe_untried(const struct advise_backend *backend, char *buf,
			       size_t size)
{
	const char *reason = load_relaxed(&backend->reason);

	if (backend_get_state(&madvise_backend) == BACKEND_UNTRIED || !reason)
		return fmt_line(buf, size, "%s: unavailable: the reclaimer "
				"has not run yet", backend->name);
	return fmt_line(buf, size, "%s: not tried: %s", backend->name, reason);
}

size_t advise_describe(unsigned int i, char *buf, size_t size)
{
	struct advise_backend *backend;
	enum backend_state state;

	if (i == NR_BACKENDS)
		return huge_describe(buf, size);
	if (i > NR_BACKENDS)
		return 0;
	backend = advise_backends[i];
	if (!backend)
		return fmt_line(buf, size, "%s: unavailable: not built in "
				"(%s)", names[i].name, names[i].symbol);
	state = backend_get_state(backend);
	if (state == BACKEND_LIVE || backend == &madvise_backend)
		return describe_live(backend, buf, size);
	if (state == BACKEND_UNTRIED)
		return describe_untried(backend, buf, size);
	return describe_refused(backend, buf, size);
}

size_t advise_report(char *buf, size_t size)
{
	size_t len = 0;

	if (size)
		buf[0] = '\0';
	for (unsigned int i = 0; i <= NR_BACKENDS; i++) {
		len += advise_describe(i, buf + len, size - len);
		len += fmt_line(buf + len, size - len, "\n");
	}
	return len;
}
