// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Contexts with checks: misuse ends the process, and says why
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "harness.h"
#include "match.h"

#define PASSED_BY	"no misuse"
#define MISUSE		"EBB_TEST_MISUSE"

/* What is misused; made by each test, in the child that dies of it. */
static struct ebb_context *context;
static size_t size_of_victim, written_at;
static void (*end_by)(struct ebb_context *);
static const char *conf;
static char *kept;

static void open_context(void)
{
	context = ebb_context_open(NULL, 0, EBB_CONTEXT_CHECK);
	if (!context)
		_exit(9);
}

/* Functions as numbers, the same wherever the program is loaded. */
static long number_of(const void *fn)
{
	return (long)((uintptr_t)fn - (uintptr_t)open_context);
}

static void *function_of(long number)
{
	return (void *)((uintptr_t)open_context + (uintptr_t)number);
}

/*
 * The program anew, with the library's last line on the standard error that it
 * began with: it writes to no other.
 */
static void run_anew(void (*misuse)(void))
{
	char numbers[128];

	snprintf(numbers, sizeof(numbers), "%ld %zu %zu %ld",
		 number_of((void *)misuse), size_of_victim, written_at,
		 number_of((void *)end_by));
	setenv(MISUSE, numbers, 1);
	if (conf)
		setenv("EBB_CONF", conf, 1);
	execl("/proc/self/exe", "context_check_test", NULL);
	_exit(9);
}

__attribute__((constructor)) static void misuse_if_asked(void)
{
	const char *numbers = getenv(MISUSE);
	long misuse, end;
	void (*fn)(void);
	void *at;

	if (!numbers)
		return;
	if (sscanf(numbers, "%ld %zu %zu %ld", &misuse, &size_of_victim,
		   &written_at, &end) != 4)
		_exit(9);
	at = function_of(end);
	memcpy(&end_by, &at, sizeof(at));
	at = function_of(misuse);
	memcpy(&fn, &at, sizeof(at));
	fn();
	_exit(0);
}

/* Run @misuse in a child; what it said, if it was aborted. */
static const char *last_words(void (*misuse)(void))
{
	static char text[1024];
	int ends[2], status;
	size_t len = 0;
	ssize_t got;
	pid_t pid;

	if (pipe(ends))
		abort();
	pid = fork();
	if (!pid) {
		dup2(ends[1], 2);
		run_anew(misuse);
	}
	close(ends[1]);
	while ((got = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(ends[0]);
	if (waitpid(pid, &status, 0) != pid)
		abort();
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		return text;
	return status ? "ended otherwise" : PASSED_BY;
}

static bool matches(const char *text, const char *pattern)
{
	char whole[512];
	bool fits;

	snprintf(whole, sizeof(whole),
		 "^ebbmalloc(\\[[0-9]+\\])?: %s\n$", pattern);
	fits = text_fits(text, whole, 0);
	if (!fits)
		fprintf(stderr, "# said: %s\n# not: %s\n", text, pattern);
	return fits;
}

#define EXPECT_DIES(misuse, pattern) \
	EXPECT_TRUE(matches(last_words(misuse), pattern))

#define AT	"0x[0-9a-f]+"

FIXTURE_EMPTY(check);

/* === Threads ============================================================ */

static void *use(void *arg)
{
	(void)arg;
	/* A heap of its own, as every thread that allocates has. */
	free(hide(malloc(10)));
	hide(ebb_context_alloc(context, 10));
	return NULL;
}

static void use_in_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, use, NULL))
		_exit(9);
	pthread_join(thread, NULL);
}

static void uses_in_two_threads(void)
{
	open_context();
	use(NULL);
	use_in_thread();
}

TEST_F(check, a_second_thread_is_caught)
{
	EXPECT_DIES(uses_in_two_threads, "ebb_context_alloc\\(" AT "\\): used "
		    "by thread [0-9]+, but the context is thread [0-9]+'s: no "
		    "ebb_context_transfer\\(\\)");
}

static void *use_only(void *arg)
{
	(void)arg;
	hide(ebb_context_alloc(context, 10));
	return NULL;
}

static void uses_in_thread_that_allocates_nothing(void)
{
	pthread_t thread;

	open_context();
	if (pthread_create(&thread, NULL, use_only, NULL))
		_exit(9);
	pthread_join(thread, NULL);
}

TEST_F(check, also_one_that_has_no_heap)
{
	EXPECT_DIES(uses_in_thread_that_allocates_nothing,
		    "ebb_context_alloc.*used by thread.*");
}

static void goes_on_using_it(void)
{
	open_context();
	ebb_context_transfer(context);
	use_in_thread();
	/* It has ended, and what is an ended thread's is anybody's ... */
	use(NULL);
	/* ... who has it then. */
	use_in_thread();
}

TEST_F(check, who_takes_it_has_it)
{
	EXPECT_DIES(goes_on_using_it, "ebb_context_alloc.*used by thread.*");
}

static pthread_barrier_t barrier;

static void *use_and_stay(void *arg)
{
	use(arg);
	pthread_barrier_wait(&barrier);
	pause();
	return NULL;
}

static void uses_after_transfer(void)
{
	pthread_t thread;

	open_context();
	pthread_barrier_init(&barrier, NULL, 2);
	ebb_context_transfer(context);
	if (pthread_create(&thread, NULL, use_and_stay, NULL))
		_exit(9);
	pthread_barrier_wait(&barrier);
	ebb_context_close(context);
}

TEST_F(check, who_gave_it_away_is_caught)
{
	EXPECT_DIES(uses_after_transfer, "ebb_context_close.*used by thread.*");
}

static void uses_inner_in_two_threads(void)
{
	open_context();
	context = ebb_context_open(context, 0, EBB_CONTEXT_CHECK);
	use_in_thread();
}

static void uses_inner_after_transfer_of_outer(void)
{
	struct ebb_context *outer;

	open_context();
	outer = context;
	context = ebb_context_open(context, 0, EBB_CONTEXT_CHECK);
	ebb_context_transfer(outer);
	use_in_thread();
}

static void uses_checked_after_transfer_of_unchecked(void)
{
	struct ebb_context *outer = ebb_context_open(NULL, 0, 0);

	context = ebb_context_open(ebb_context_open(outer, 0, 0), 0,
				   EBB_CONTEXT_CHECK);
	use(NULL);
	ebb_context_transfer(outer);
	use_in_thread();
}

TEST_F(check, what_is_within_another_is_the_same_thread_s)
{
	EXPECT_DIES(uses_inner_in_two_threads,
		    "ebb_context_alloc.*used by thread.*");
	EXPECT_STREQ(PASSED_BY, last_words(uses_inner_after_transfer_of_outer));
	EXPECT_STREQ(PASSED_BY,
		     last_words(uses_checked_after_transfer_of_unchecked));
}

/* === Memory ============================================================= */

static void close_it(struct ebb_context *it)
{
	ebb_context_close(it);
}

static void reset_it(struct ebb_context *it)
{
	ebb_context_reset(it);
}

static void transfer_it(struct ebb_context *it)
{
	ebb_context_transfer(it);
}

static void close_outer(struct ebb_context *it)
{
	(void)it;
	/* The one that it was opened within, see overflows_within(). */
	ebb_context_close(context);
}

static void overflow(struct ebb_context *in)
{
	char *p;

	for (unsigned int i = 0; i < 20; i++)
		hide(ebb_context_alloc(in, 10 * i));
	p = ebb_context_alloc(in, size_of_victim);
	for (unsigned int i = 0; i < 20; i++)
		hide(ebb_context_alloc(in, 10 * i));
	p[written_at] = 'x';
	end_by(in);
}

static void overflows(void)
{
	open_context();
	overflow(context);
}

static void overflows_within(void)
{
	open_context();
	/* It has the checks of the one around it. */
	overflow(ebb_context_open(context, 0, 0));
}

TEST_F(check, what_is_written_beyond_the_end_is_caught)
{
	static const size_t sizes[] = { 0, 1, 8, 9, 15, 16, 17, 100, 4000,
					5000, 100000, 1000000 };

	for (unsigned int i = 0; i < ARRAY_LEN(sizes); i++) {
		char pattern[128];

		size_of_victim = sizes[i];
		for (written_at = sizes[i]; written_at < sizes[i] + 8;
		     written_at += 7) {
			end_by = i % 3 == 0 ? close_it :
				 i % 3 == 1 ? reset_it : transfer_it;
			snprintf(pattern, sizeof(pattern), "ebb_context_%s\\("
				 AT "\\): the object of %zu bytes at " AT " was"
				 " written %zu bytes beyond its end",
				 i % 3 == 0 ? "close" :
				 i % 3 == 1 ? "reset" : "transfer", sizes[i],
				 written_at - sizes[i] + 1);
			EXPECT_DIES(overflows, pattern);
		}
	}
	end_by = close_outer;
	written_at = size_of_victim;
	EXPECT_DIES(overflows_within, "ebb_context_close.*beyond its end");
	/* That a write within is none. */
	end_by = close_it;
	written_at = size_of_victim - 1;
	EXPECT_STREQ(PASSED_BY, last_words(overflows));
}

static void writes_before(void)
{
	char *p;

	open_context();
	hide(ebb_context_alloc(context, 24));
	p = ebb_context_alloc(context, 24);
	p[-3] = 'x';
	ebb_context_free(context, p);
}

static void writes_far_beyond(void)
{
	char *p;

	open_context();
	p = ebb_context_alloc(context, 24);
	p[3000] = 'x';
	ebb_context_close(context);
}

TEST_F(check, what_is_written_elsewhere_is_caught)
{
	EXPECT_DIES(writes_before, "ebb_context_free\\(" AT "\\): no object at "
		    AT ", or what is before it was overwritten");
	EXPECT_DIES(writes_far_beyond, "ebb_context_close\\(" AT "\\): " AT
		    " was written after it was freed or reset");
}

static void writes_after_free(void)
{
	open_context();
	kept = ebb_context_alloc(context, size_of_victim);
	hide(ebb_context_alloc(context, 20));
	ebb_context_free(context, kept);
	hide(ebb_context_alloc(context, size_of_victim));
	kept[size_of_victim / 2] = 'x';
	end_by(context);
}

static void writes_after_reset(void)
{
	open_context();
	kept = ebb_context_alloc(context, size_of_victim);
	ebb_context_reset(context);
	for (unsigned int i = 0; i < 100; i++)
		hide(ebb_context_alloc(context, size_of_victim));
	kept[size_of_victim / 2] = 'x';
	end_by(context);
}

TEST_F(check, what_is_written_after_free_or_reset_is_caught)
{
	static void (*const ends[])(struct ebb_context *) = {
		close_it, reset_it, transfer_it,
	};
	static const size_t sizes[] = { 1, 24, 1000, 50000 };

	for (unsigned int i = 0; i < ARRAY_LEN(ends) * ARRAY_LEN(sizes); i++) {
		end_by = ends[i % ARRAY_LEN(ends)];
		size_of_victim = sizes[i / ARRAY_LEN(ends)];
		EXPECT_DIES(writes_after_free, "ebb_context_[a-z]*\\(" AT "\\):"
			    " " AT " was written after it was freed or reset");
		EXPECT_DIES(writes_after_reset, "ebb_context_[a-z]*\\(" AT
			    "\\): " AT " was written after it was freed or "
			    "reset");
	}
}

TEST_F(check, what_was_reset_holds_no_pointer)
{
	char **p;

	open_context();
	p = ebb_context_alloc(context, 100);
	p[3] = (char *)p;
	ebb_context_reset(context);
	/* No address at all, on any machine: to follow it is a signal. */
	EXPECT_EQ(0xebebebebebebebebUL, (uintptr_t)p[3]);
	ebb_context_close(context);
}

static void frees_twice(void)
{
	open_context();
	kept = ebb_context_alloc(context, size_of_victim);
	ebb_context_free(context, kept);
	ebb_context_free(context, kept);
}

static void reallocs_what_was_freed(void)
{
	open_context();
	kept = ebb_context_alloc(context, size_of_victim);
	ebb_context_free(context, kept);
	hide(ebb_context_realloc(context, kept, 10));
}

static void frees_what_was_reset(void)
{
	open_context();
	kept = ebb_context_alloc(context, 100);
	ebb_context_reset(context);
	ebb_context_free(context, kept);
}

static void frees_another_one_s(void)
{
	open_context();
	kept = ebb_context_alloc(context, 100);
	open_context();
	hide(ebb_context_alloc(context, 100));
	ebb_context_free(context, kept);
}

static void frees_the_middle(void)
{
	open_context();
	kept = ebb_context_alloc(context, 100);
	ebb_context_free(context, kept + 16);
}

TEST_F(check, frees_of_what_cannot_be_freed_are_caught)
{
	for (size_of_victim = 1; size_of_victim < 100000;
	     size_of_victim *= 300) {
		EXPECT_DIES(frees_twice, "ebb_context_free\\(" AT "\\): the "
			    "object of [0-9]+ bytes at " AT " was freed "
			    "already");
		EXPECT_DIES(reallocs_what_was_freed, "ebb_context_realloc\\(" AT
			    "\\): the object of [0-9]+ bytes at " AT " was "
			    "freed already");
	}
	EXPECT_DIES(frees_what_was_reset, "ebb_context_free\\(" AT "\\): " AT
		    " is no object of this context, or was reset");
	EXPECT_DIES(frees_another_one_s, "ebb_context_free\\(" AT "\\): " AT
		    " is no object of this context, or was reset");
	EXPECT_DIES(frees_the_middle, "ebb_context_free\\(" AT "\\): no object "
		    "at " AT ".*");
}

/* === Without checks ===================================================== */

static void closes_twice(void)
{
	context = ebb_context_open(NULL, 0, 0);
	ebb_context_close(context);
	ebb_context_close(context);
}

static void frees_twice_without_checks(void)
{
	context = ebb_context_open(NULL, 0, 0);
	kept = ebb_context_alloc(context, 100);
	hide(ebb_context_alloc(context, size_of_victim));
	ebb_context_free(context, kept);
	ebb_context_free(context, kept);
}

TEST_F(check, some_is_caught_without_checks)
{
	EXPECT_DIES(closes_twice, "ebb_context_close\\(" AT "\\): no context, "
		    "or closed already");
	size_of_victim = 10;
	EXPECT_DIES(frees_twice_without_checks, "ebb_context_free\\(" AT "\\): "
		    AT " was freed already, or is no object of a context");
}

/* === The option ========================================================= */

static void overflows_unasked(void)
{
	context = ebb_context_open(NULL, 0, 0);
	kept = ebb_context_alloc(context, 24);
	kept[24] = 'x';
	ebb_context_close(context);
}

TEST_F(check, the_option_checks_all_contexts)
{
	EXPECT_STREQ(PASSED_BY, last_words(overflows_unasked));
	conf = "context_check=on";
	EXPECT_DIES(overflows_unasked, "ebb_context_close.*beyond its end");
}

TEST_HARNESS_MAIN
