/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc tests - Torture
 *
 * torture [--seed N] [--seconds N] [--threads N] [--round-ms N]
 *
 * What it is: threads allocate, resize, exchange and free patterned objects
 * (objects.h), come and go; two others trim the heap all the time, one forks
 * children that check, allocate and free everything.  Handlers interrupt all
 * of them, and allocate, free and at times trim there.  Run it with
 * small ages in EBB_CONF, and the reclaimer is at work throughout.
 *
 * After each round all threads rest, the heap is trimmed until nothing more
 * is to be given back, and the library's counters must equal the model
 * (model.h).  On an allocator without ebb_heap_count() only that is left out,
 * and said.
 *
 * Each seat's stream of operations follows from the seed alone; how the
 * streams interleave does not.
 *
 * Exit status: 0, 1 for a failed comparison; a broken pattern aborts.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "stress/model.h"
#include "stress/real.h"

#define STINT_OPS	20000u	/* of a thread's life */
#define CHILD_SECONDS	120u
#define CHILD_OPS	2000u
#define NR_TRIMMERS	2u
#define HANDLER_US	997	/* of processor time, between two signals */
#define MISSED_MOST	4u	/* samples, by chance */
#define MOST_TRIMS	1000	/* glibc always says it gave memory back */

static struct {
	uint64_t seed;
	unsigned int seconds;
	unsigned int nr_threads;
	unsigned int round_ms;
} options = { .seconds = 30, .nr_threads = 4, .round_ms = 2000 };

/* Who of the seats, the trimmer and the forker is at work. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned int nr_resting;	/* under mutex */
static bool resting;		/* everybody shall rest; under mutex */
static bool resting_hint;	/* the same, to be looked at often */

static bool injected;		/* the kernel's answers are not its own */

static struct seat *seats;
static uint64_t nr_handled, nr_trims, nr_forks, nr_threads_made, nr_checked;

/* Where malloc_info() writes to. */
static FILE *info;
static char info_buffer[BUFSIZ];

static void die(const char *what, int err)
{
	fprintf(stderr, "# torture: %s: %s\n", what, strerror(err));
	abort();
}

/* Rest while asked to. */
static void rest(void)
{
	if (!__atomic_load_n(&resting_hint, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&mutex);
	nr_resting++;
	pthread_cond_broadcast(&changed);
	while (resting)
		pthread_cond_wait(&changed, &mutex);
	nr_resting--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static void start_thread(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 64 * KIB);
	/* It allocates, too; others free what they have sooner or later. */
	while ((err = pthread_create(&thread, &attr, fn, arg)) == EAGAIN &&
	       may_fail)
		sleep_ms(1);
	if (err)
		die("pthread_create", err);
	pthread_attr_destroy(&attr);
	__atomic_add_fetch(&nr_threads_made, 1, __ATOMIC_RELAXED);
}

/* Sit on a seat for a while, then make place for a new thread. */
static void *sit(void *arg)
{
	struct seat *seat = arg;

	rng_seed(&seat->rng, options.seed << 20 ^ (uint64_t)seat->nr << 10 ^
		 seat->stint++);
	for (unsigned int i = 0; i < STINT_OPS; i++) {
		rest();
		seat_step(seat);
	}
	if (!rng_below(&seat->rng, 3))
		seat_drop(seat, 20);
	start_thread(sit, seat);
	return NULL;
}

static void *trim(void *arg)
{
	struct rng rng;

	rng_seed(&rng, options.seed ^ (uintptr_t)arg);
	for (;;) {
		rest();
		real.trim(rng_below(&rng, 2) * MIB);
		__atomic_add_fetch(&nr_trims, 1, __ATOMIC_RELAXED);
		if (!rng_below(&rng, 3))
			sleep_ms((unsigned int)rng_below(&rng, 5));
	}
	return arg;
}

/* Above whatever was interrupted, the allocator itself included. */
static void handle(int sig)
{
	uint64_t nr = __atomic_add_fetch(&nr_handled, 1, __ATOMIC_RELAXED);
	size_t size = nr * 7919 % 5000 + 1;
	int saved_errno = errno;
	char *p;

	(void)sig;
	if (__atomic_load_n(&resting_hint, __ATOMIC_RELAXED))
		return;
	p = real.do_malloc(size);
	if (p) {
		memset(p, (int)nr, size);
		real.do_free(p);
	}
	if (nr % 16 == 0)
		real.trim(0);
	errno = saved_errno;
}

static void start_handlers(void)
{
	struct sigaction action = { .sa_handler = handle,
				    .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, HANDLER_US }, { 0, HANDLER_US } };

	if (sigaction(SIGPROF, &action, NULL) ||
	    setitimer(ITIMER_PROF, &every, NULL))
		die("setitimer", errno);
}

/* The child is alone with copies of what all threads had. */
static void run_child(void)
{
	struct seat *own = &seats[options.nr_threads];
	size_t nr;

	alarm(CHILD_SECONDS);
	floor_reset_locks();
	nr = objects_check(seats, options.nr_threads);
	for (unsigned int i = 0; i < CHILD_OPS; i++)
		seat_step(own);
	objects_free_half(seats, options.nr_threads);
	real.trim(0);
	for (unsigned int i = 0; i < CHILD_OPS; i++)
		seat_step(own);
	seat_drop(own, 1000000);
	real.trim(0);
	objects_check(seats, options.nr_threads + 1);
	_exit(nr ? 0 : 3);
}

static void *fork_children(void *arg)
{
	struct rng rng;
	int status;
	pid_t pid;

	rng_seed(&rng, options.seed + 1);
	rng_seed(&seats[options.nr_threads].rng, options.seed + 2);
	for (;;) {
		rest();
		sleep_ms((unsigned int)rng_below(&rng, 200));
		fflush(NULL);
		pid = fork();
		if (pid < 0)
			die("fork", errno);
		if (!pid)
			run_child();
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status && status != 3 << 8) {
			fprintf(stderr, "# torture: a child ended with status "
				"%#x\n", (unsigned int)status);
			abort();
		}
		nr_forks++;
	}
	return arg;
}

static void set_resting(bool on)
{
	pthread_mutex_lock(&mutex);
	resting = on;
	__atomic_store_n(&resting_hint, on, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&changed);
	while (on && nr_resting < options.nr_threads + NR_TRIMMERS + 1)
		pthread_cond_wait(&changed, &mutex);
	while (!on && nr_resting)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void print_numbers(unsigned int round, const struct model *model,
			  const struct ebb_heap_counts *counts)
{
	uint64_t ops = 0, live = 0;

	for (unsigned int i = 0; i < options.nr_threads; i++) {
		ops += seats[i].ops;
		live += seats[i].live;
	}
	printf("# round %u: %llu operations, %llu threads, %llu forks, "
	       "%llu trims, %llu KiB live, RSS %zu KiB\n", round,
	       (unsigned long long)ops, (unsigned long long)nr_threads_made,
	       (unsigned long long)nr_forks, (unsigned long long)nr_trims,
	       (unsigned long long)(live / KIB), rss_bytes() / KIB);
	printf("#   model: %llu slabs, %llu blocks free, %llu stranded; bytes "
	       "free but resident %llu\n",
	       (unsigned long long)model->slabs,
	       (unsigned long long)model->free_blocks,
	       (unsigned long long)model->stranded_blocks,
	       (unsigned long long)model->resident_bytes);
	if (counts)
		printf("#   library: %llu slabs, %llu blocks free, %llu "
		       "stranded; bytes cached %llu, dirty %llu, lazy %llu\n",
		       (unsigned long long)counts->slabs,
		       (unsigned long long)counts->free_blocks,
		       (unsigned long long)counts->stranded_blocks,
		       (unsigned long long)counts->cached_bytes,
		       (unsigned long long)counts->dirty_bytes,
		       (unsigned long long)counts->lazy_bytes);
	fflush(stdout);
}

/* The value of a counter of malloc_info(), or 0. */
static uint64_t counter(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	at = at ? strstr(at, "value=\"") : NULL;
	return at ? strtoull(at + 7, NULL, 10) : 0;
}

/*
 * Samples of the heap profile are objects; with profile=1 all of them are, but
 * for one in e^16 of the smallest and what had no place.
 */
static bool samples_fit(const struct model *model)
{
	const char *conf = getenv("EBB_CONF");
	static char text[16384];
	uint64_t live, missing;

	if (!conf || !strstr(conf, "profile="))
		return true;
	rewind(info);
	if (malloc_info(0, info) || fflush(info) ||
	    pread(fileno(info), text, sizeof(text) - 1, 0) <= 0)
		return false;
	live = counter(text, "profile_live");
	missing = counter(text, "profile_dropped") + MISSED_MOST;
	printf("#   %llu samples of %llu objects\n", (unsigned long long)live,
	       (unsigned long long)model->objects);
	return live <= model->objects && (!strstr(conf, "profile=1,") ||
					  live + missing >= model->objects);
}

/*
 * Compare until it fits: a thread that ended may still be on its way out, the
 * reclaimer may hold a claim for a moment.
 */
static bool compare(unsigned int round)
{
	struct ebb_heap_counts counts = { 0 };
	heap_count_fn count = heap_count();
	struct model model;
	bool fits = false;

	for (uint64_t until = now_ms() + PATIENCE_MS; now_ms() < until;
	     sleep_ms(10)) {
		for (int i = 0; i < MOST_TRIMS && real.trim(0); i++)
			;
		if (!model_make(seats, options.nr_threads + 1, &model))
			die("model", ENOMEM);
		fits = !count || (!count(&counts) &&
				  model_fits(&model, &counts));
		if (fits)
			break;
	}
	print_numbers(round, &model, count ? &counts : NULL);
	nr_checked += count && fits;
	return fits && samples_fit(&model);
}

static void check_all(void)
{
	objects_check(seats, options.nr_threads + 1);
}

static bool run_rounds(void)
{
	uint64_t until = now_ms() + options.seconds * 1000ULL;
	bool good = true;

	for (unsigned int round = 1; good && now_ms() < until; round++) {
		set_resting(false);
		sleep_ms(options.round_ms);
		set_resting(true);
		check_all();
		good = injected || compare(round);
		if (injected)
			printf("# round %u: %llu forks, %llu trims\n", round,
			       (unsigned long long)nr_forks,
			       (unsigned long long)nr_trims);
	}
	return good;
}

static void read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "threads", required_argument, NULL, 'n' },
		{ "round-ms", required_argument, NULL, 'r' },
		{ 0 },
	};
	int opt;

	options.seed = now_ms();
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		unsigned long value = optarg ? strtoul(optarg, NULL, 0) : 0;

		if (opt == 's')
			options.seed = value;
		else if (opt == 't')
			options.seconds = (unsigned int)value;
		else if (opt == 'n' && value > 0 && value <= 1000)
			options.nr_threads = (unsigned int)value;
		else if (opt == 'r')
			options.round_ms = (unsigned int)value;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	const char *conf = getenv("EBB_CONF");
	bool good;

	read_options(argc, argv);
	real_find();
	injected = conf && strstr(conf, "inject=");
	may_fail = injected || (conf && strstr(conf, "limit="));
	info = tmpfile();
	if (!info || setvbuf(info, info_buffer, _IOFBF, sizeof(info_buffer)))
		die("tmpfile", errno);
	seats = mmap(NULL, (options.nr_threads + 1) * sizeof(*seats),
		     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (seats == MAP_FAILED)
		die("mmap", errno);
	printf("# torture --seed %llu --seconds %u --threads %u, EBB_CONF=%s\n",
	       (unsigned long long)options.seed, options.seconds,
	       options.nr_threads, conf ? conf : "");
	fflush(stdout);
	for (unsigned int i = 0; i <= options.nr_threads; i++)
		seats[i].nr = i;
	for (unsigned int i = 0; i < options.nr_threads; i++)
		start_thread(sit, &seats[i]);
	for (uintptr_t i = 0; i < NR_TRIMMERS; i++)
		start_thread(trim, (void *)i);
	start_thread(fork_children, NULL);
	start_handlers();
	good = run_rounds();
	printf("# %llu signals handled\n", (unsigned long long)
	       __atomic_load_n(&nr_handled, __ATOMIC_RELAXED));
	printf("# counters compared with the model: %llu times%s\n",
	       (unsigned long long)nr_checked,
	       injected ? " (failures are injected)" :
	       heap_count() ? "" : " (this malloc has no ebb_heap_count)");
	if (!good)
		printf("# the library's counters do not equal the model, or "
		       "the trim left something\n");
	return good ? 0 : 1;
}
