// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - Touches of memory that was given back, and of memory in use
 *
 * Rounds of three parts.  In the first, threads allocate, fill, check and free
 * objects, also through read(2), recvmsg(2) and futex(2), while others trim,
 * fork and end: no touch may trap.  Then they free most of what they have, and
 * a trim gives it back.  In the third nothing is allocated, and all threads
 * touch what was given back, reading and writing, while others trim, fork and
 * end: each touch must trap.  At last what is left is checked, byte by byte.
 *
 * Objects are of sizes that nobody else allocates here, so it is known which
 * pages have none.
 */
#include <errno.h>
#include <getopt.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "common.h"

const char *ebb_conf = "guard=decommitted,decay_ms=5,lazy_ms=1,"
		       "tick_min_ms=5,thread_min=0";

#define NR_THREADS_MAX	16u
#define NR_OBJECTS	160u
#define LEN_MIN		(2 * KIB)	/* of what is looked at */
#define CHILD_TOUCHES	40u

struct object {
	char *start;
	size_t len;
	uint64_t seed;
};

struct seat {
	struct rng rng;
	struct object objects[NR_OBJECTS];
	struct object freed[NR_OBJECTS];
	unsigned int nr_freed;
	int pipe[2], sockets[2];
	uint64_t nr_legal, nr_trapped, nr_efault;
};

static struct seat seats[NR_THREADS_MAX];
static unsigned int nr_threads = 4;
static uint64_t want = 200000;
static unsigned int nr_steps = 1500;	/* of a thread in a round */
static uint64_t seed = 1;

static pthread_barrier_t barrier;
static pthread_rwlock_t visits =	/* written: nobody begins or ends */
	PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static pthread_mutex_t forks = PTHREAD_MUTEX_INITIALIZER;	/* held: none begins */
static char **targets;			/* bytes on pages that are given back */
static size_t nr_targets, max_targets;
static bool over;			/* no further round */
static bool resting;			/* who is to leave may end */
static bool emptied;			/* who is to leave allocates no more */
static uint64_t nr_trims, nr_forks, nr_ends, nr_visits, nr_child_traps;
static bool inherited = true;		/* children have the traps, too */

static void die(const char *what, const void *at)
{
	fprintf(stderr, "# given: %s at %p\n", what, at);
	_exit(1);
}

/* === Traps ============================================================== */

static __thread sigjmp_buf back;
static __thread volatile bool expecting;
static __thread char *volatile fault;

static void handle(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!expecting)
		die(sig == SIGBUS ? "legal touch: SIGBUS" :
				    "legal touch: SIGSEGV", info->si_addr);
	fault = info->si_addr;
	siglongjmp(back, 1);
}

/* Whether a touch of @at traps; if so the write has not happened. */
static bool traps(char *at, bool write)
{
	volatile char *byte = at;

	expecting = true;
	if (!sigsetjmp(back, 0)) {
		if (write)
			*byte = 1;
		else
			(void)*byte;
		expecting = false;
		return false;
	}
	expecting = false;
	/* 6.1 tells the page only. */
	return fault == at ||
	       fault == (char *)((uintptr_t)at & ~(page_size() - 1));
}

/*
 * Of libc's own name, which the library has no say in: a report of each would
 * end the program, and takes its time.
 */
extern int __sigaction(int sig, const struct sigaction *act,
		       struct sigaction *old);

static void catch_traps(void)
{
	struct sigaction action = {
		.sa_sigaction = handle,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	__sigaction(SIGSEGV, &action, NULL);
	__sigaction(SIGBUS, &action, NULL);
}

/* === Legal touches ====================================================== */

static size_t draw_len(struct rng *rng)
{
	switch (rng_below(rng, 16)) {
	case 0:
		return 33 * KIB + rng_below(rng, 700 * KIB);
	case 1 ... 5:
		return 8 * KIB + rng_below(rng, 24 * KIB);
	default:
		return LEN_MIN + rng_below(rng, 6 * KIB);
	}
}

/* Have the kernel write the first bytes, as a program would. */
static void fill_by_kernel(struct seat *seat, char *p, size_t len)
{
	char text[512];
	size_t nr = len < sizeof(text) ? len : sizeof(text);
	struct iovec part = { p + len - nr, nr };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };

	memset(text, 7, nr);
	if (write(seat->pipe[1], text, nr) != (ssize_t)nr ||
	    read(seat->pipe[0], p, nr) != (ssize_t)nr)
		die("read(2)", p);
	if (send(seat->sockets[1], text, nr, 0) != (ssize_t)nr ||
	    recvmsg(seat->sockets[0], &msg, 0) != (ssize_t)nr)
		die("recvmsg(2)", part.iov_base);
	if (memcmp(p + len - nr, text, nr))
		die("what recvmsg(2) wrote", p);
	/* An aligned word somewhere; EAGAIN: it was read, and is not that. */
	p += (len / 2) & ~(size_t)3;
	if (syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, *(int *)p + 1, NULL,
		    NULL, 0) != -1 || errno != EAGAIN)
		die("futex(2)", p);
}

static void make(struct seat *seat, struct object *object)
{
	uint64_t kind = rng_below(&seat->rng, 8);

	object->len = draw_len(&seat->rng);
	object->seed = rng_next(&seat->rng);
	object->start = kind ? malloc(object->len) : calloc(1, object->len);
	if (!object->start)
		die("no memory", NULL);
	if (!kind && !all_zero(object->start, object->len))
		die("calloc is not zero", object->start);
	if (kind == 1)
		fill_by_kernel(seat, object->start, object->len);
	pattern_fill(object->start, object->len, object->seed);
	seat->nr_legal++;
}

static void check(struct seat *seat, const struct object *object)
{
	if (!pattern_holds(object->start, object->len, object->seed))
		die("content is not what was written", object->start);
	seat->nr_legal++;
}

static void resize(struct seat *seat, struct object *object)
{
	size_t len = draw_len(&seat->rng);
	size_t kept = (len < object->len ? len : object->len) & ~(size_t)7;
	char *p = realloc(object->start, len);

	if (!p || !pattern_holds(p, kept, object->seed))
		die("realloc", p);
	object->start = p;
	object->len = len;
	pattern_fill(p, len, object->seed);
	seat->nr_legal++;
}

static void step(struct seat *seat)
{
	struct object *object =
		&seat->objects[rng_below(&seat->rng, NR_OBJECTS)];

	if (!object->start) {
		make(seat, object);
		return;
	}
	check(seat, object);
	if (!rng_below(&seat->rng, 4)) {
		resize(seat, object);
		return;
	}
	free(object->start);
	object->start = NULL;
}

/* === Illegal touches ==================================================== */

static void free_most(struct seat *seat)
{
	seat->nr_freed = 0;
	for (unsigned int i = 0; i < NR_OBJECTS; i++) {
		struct object *object = &seat->objects[i];

		if (!object->start || !rng_below(&seat->rng, 4))
			continue;
		seat->freed[seat->nr_freed++] = *object;
		free(object->start);
		object->start = NULL;
	}
}

static int by_address(const void *a, const void *b)
{
	const struct object *x = *(struct object *const *)a;
	const struct object *y = *(struct object *const *)b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static struct object *live[NR_THREADS_MAX * NR_OBJECTS];
static size_t nr_live;

/* Whether a page has a live object. */
static bool page_is_used(uintptr_t page)
{
	size_t low = 0, high = nr_live;

	/* The last object that begins before the page's end. */
	while (low < high) {
		size_t mid = (low + high) / 2;

		if ((uintptr_t)live[mid]->start < page + page_size())
			low = mid + 1;
		else
			high = mid;
	}
	/* What is behind it belongs to it as far as nobody else may have it. */
	return low && (uintptr_t)live[low - 1]->start +
		      malloc_usable_size(live[low - 1]->start) > page;
}

static void add_targets(const struct object *object)
{
	for (size_t at = 0; at < object->len; at += page_size()) {
		char *byte = object->start + at;

		if (nr_targets < max_targets &&
		    !page_is_used((uintptr_t)byte & ~(page_size() - 1)))
			targets[nr_targets++] = byte;
	}
}

static void find_targets(void)
{
	nr_live = nr_targets = 0;
	for (unsigned int i = 0; i < nr_threads; i++)
		for (unsigned int j = 0; j < NR_OBJECTS; j++)
			if (seats[i].objects[j].start)
				live[nr_live++] = &seats[i].objects[j];
	qsort(live, nr_live, sizeof(*live), by_address);
	for (unsigned int i = 0; i < nr_threads; i++)
		for (unsigned int j = 0; j < seats[i].nr_freed; j++)
			add_targets(&seats[i].freed[j]);
}

/* The kernel's own touch is no fault: it says EFAULT. */
static void touch_by_kernel(struct seat *seat, char *at)
{
	ssize_t got;

	if (write(seat->pipe[1], "x", 1) != 1)
		die("write(2)", at);
	got = read(seat->pipe[0], at, 1);
	if (got != -1 || errno != EFAULT)
		die("read(2) into what was given back", at);
	/* What was not taken is still there. */
	if (read(seat->pipe[0], &(char){ 0 }, 1) == 1)
		seat->nr_efault++;
}

static void touch_all(struct seat *seat)
{
	uint64_t nr = nr_targets;

	for (uint64_t i = 0; i < nr; i++) {
		char *at = targets[rng_below(&seat->rng, nr_targets)];

		if (!traps(at, i & 1))
			die("no trap where it was given back", at);
		seat->nr_trapped++;
		if (i % 64 == 0)
			touch_by_kernel(seat, at);
	}
}

/* === Threads ============================================================ */

static void *sit(void *arg)
{
	struct seat *seat = arg;

	for (;;) {
		pthread_barrier_wait(&barrier);
		if (over)
			return NULL;
		for (unsigned int i = 0; i < nr_steps; i++)
			step(seat);
		pthread_barrier_wait(&barrier);
		free_most(seat);
		pthread_barrier_wait(&barrier);
		/* It trims, and looks what that has to give back. */
		pthread_barrier_wait(&barrier);
		touch_all(seat);
		for (unsigned int i = 0; i < NR_OBJECTS; i++)
			if (seat->objects[i].start)
				check(seat, &seat->objects[i]);
		pthread_barrier_wait(&barrier);
	}
}

static bool is_resting(void)
{
	return __atomic_load_n(&resting, __ATOMIC_ACQUIRE);
}

static void *trim(void *arg)
{
	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		malloc_trim(0);
		__atomic_add_fetch(&nr_trims, 1, __ATOMIC_RELAXED);
		sched_yield();
	}
	return arg;
}

/* In the child: memory may be had, used and freed. */
static void run_child(void)
{
	enum { NR = 64 };
	char *p[NR];

	for (unsigned int i = 0; i < NR; i++)
		memset(p[i] = malloc(LEN_MIN + i * 300), 5, LEN_MIN + i * 300);
	for (unsigned int i = 0; i < NR; i++) {
		if (p[i][0] != 5 || memcmp(p[i], p[i] + 1, LEN_MIN - 1))
			_exit(2);
		free(p[i]);
	}
	_exit(0);
}

static void *fork_children(void *arg)
{
	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		int status = 0;
		pid_t pid;

		pthread_mutex_lock(&forks);
		pid = fork();
		if (!pid)
			run_child();
		pthread_mutex_unlock(&forks);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status)
			die("a child failed", (void *)(intptr_t)status);
		nr_forks++;
	}
	return arg;
}

/* Has a heap, and leaves it behind while others touch and free. */
static void *leave(void *arg)
{
	char *p[32];

	for (unsigned int i = 0; i < 32; i++)
		memset(p[i] = malloc(LEN_MIN / 2), 1, LEN_MIN / 2);
	for (unsigned int i = 0; i < 32; i++)
		free(p[i]);
	__atomic_store_n(&emptied, true, __ATOMIC_RELEASE);
	while (!is_resting())
		sched_yield();
	return arg;
}

/*
 * Threads that live for a few objects of each size share slabs with others, and
 * so the pages that were given back: two who hand out the same one.
 */
static void *visit(void *arg)
{
	struct object objects[48];
	struct rng rng;

	rng_seed(&rng, (uintptr_t)&rng ^ now_ms());
	for (unsigned int i = 0; i < 48; i++) {
		struct object *object = &objects[i];

		object->len = 16 + rng_below(&rng, LEN_MIN / 2);
		object->start = malloc(object->len);
		object->seed = rng_next(&rng);
		pattern_fill(object->start, object->len, object->seed);
	}
	for (unsigned int i = 0; i < 48; i++) {
		if (!pattern_holds(objects[i].start, objects[i].len,
				   objects[i].seed))
			die("content of a visitor", objects[i].start);
		free(objects[i].start);
	}
	return arg;
}

static void *send_visitors(void *arg)
{
	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		pthread_t threads[3];

		pthread_rwlock_rdlock(&visits);
		for (unsigned int i = 0; i < 3; i++)
			if (pthread_create(&threads[i], NULL, visit, NULL))
				die("pthread_create", NULL);
		for (unsigned int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		pthread_rwlock_unlock(&visits);
		__atomic_add_fetch(&nr_visits, 3, __ATOMIC_RELAXED);
		sched_yield();
	}
	return arg;
}

/* === Rounds ============================================================= */

static uint64_t sum_of(size_t offset)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < nr_threads; i++)
		sum += *(uint64_t *)(void *)((char *)&seats[i] + offset);
	return sum;
}

#define SUM(member)	sum_of(offsetof(struct seat, member))

/* One child, while nothing is allocated: does it have the traps? */
static void look_in_child(void)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		unsigned int nr = 0;

		for (unsigned int i = 0; i < CHILD_TOUCHES; i++)
			nr += traps(targets[i * nr_targets / CHILD_TOUCHES],
				    i & 1);
		_exit(nr == CHILD_TOUCHES ? 0 : nr ? 2 : 1);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != (inherited ? 0 : 1))
		die("traps of a child", (void *)(intptr_t)status);
	nr_child_traps += inherited ? CHILD_TOUCHES : 0;
}

static void run_round(void)
{
	pthread_t leaver;

	__atomic_store_n(&resting, false, __ATOMIC_RELEASE);
	__atomic_store_n(&emptied, false, __ATOMIC_RELEASE);
	if (pthread_create(&leaver, NULL, leave, NULL))
		die("pthread_create", NULL);
	pthread_barrier_wait(&barrier);		/* they allocate and free */
	pthread_barrier_wait(&barrier);		/* they free most of it */
	pthread_barrier_wait(&barrier);
	pthread_rwlock_wrlock(&visits);
	/* It may have been given no CPU yet. */
	while (!__atomic_load_n(&emptied, __ATOMIC_ACQUIRE))
		sched_yield();
	/* First: sorting may allocate. */
	find_targets();
	/*
	 * Who forks has all locks, and the kernel may take its time: a trim that
	 * has waited for a while goes on without what threads have cached.
	 */
	pthread_mutex_lock(&forks);
	malloc_trim(0);
	pthread_mutex_unlock(&forks);
	if (!nr_targets)
		die("nothing was given back", NULL);
	__atomic_store_n(&resting, true, __ATOMIC_RELEASE);
	pthread_barrier_wait(&barrier);		/* they touch it */
	look_in_child();
	pthread_join(leaver, NULL);
	nr_ends++;
	pthread_barrier_wait(&barrier);
	pthread_rwlock_unlock(&visits);
}

static void set_up(pthread_t *threads)
{
	max_targets = nr_threads * NR_OBJECTS * 64;
	targets = mmap(NULL, max_targets * sizeof(*targets),
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (targets == MAP_FAILED)
		die("mmap", NULL);
	pthread_barrier_init(&barrier, NULL, nr_threads + 1);
	for (unsigned int i = 0; i < nr_threads; i++) {
		rng_seed(&seats[i].rng, seed << 8 ^ i);
		if (pipe(seats[i].pipe) ||
		    socketpair(AF_UNIX, SOCK_STREAM, 0, seats[i].sockets) ||
		    pthread_create(&threads[i], NULL, sit, &seats[i]))
			die("a thread, or what it needs", NULL);
	}
}

/* The kind of trap there is, or NULL. */
static const char *kind_of_trap(void)
{
	static char text[16384];
	char *line;
	int fd = memfd_create("stats", 0), saved = dup(2);

	dup2(fd, 2);
	malloc_stats();
	dup2(saved, 2);
	close(saved);
	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return NULL;
	close(fd);
	line = strstr(text, "guard: ");
	if (!line)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	printf("# %s\n", line);
	inherited = strstr(line, "marker");
	return strstr(line, "unavailable") ? NULL : line;
}

static void read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "touches", required_argument, NULL, 't' },
		{ "threads", required_argument, NULL, 'n' },
		{ "steps", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		unsigned long value = optarg ? strtoul(optarg, NULL, 0) : 0;

		if (opt == 't')
			want = value;
		else if (opt == 'n' && value && value <= NR_THREADS_MAX)
			nr_threads = (unsigned int)value;
		else if (opt == 'c' && value)
			nr_steps = (unsigned int)value;
		else if (opt == 's')
			seed = value;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	pthread_t threads[NR_THREADS_MAX], trimmer, forker, sender;
	unsigned int nr_rounds = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	read_options(argc, argv);
	printf("TAP version 13\n1..1\n");
	if (!kind_of_trap()) {
		printf("ok 1 - touches # SKIP no trap here\n");
		return 4;
	}
	catch_traps();
	set_up(threads);
	if (pthread_create(&trimmer, NULL, trim, NULL) ||
	    pthread_create(&forker, NULL, fork_children, NULL) ||
	    pthread_create(&sender, NULL, send_visitors, NULL))
		die("pthread_create", NULL);
	while (SUM(nr_trapped) + SUM(nr_legal) < want ||
	       SUM(nr_trapped) < want / 2) {
		run_round();
		nr_rounds++;
	}
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	pthread_barrier_wait(&barrier);
	for (unsigned int i = 0; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_join(trimmer, NULL);
	pthread_join(forker, NULL);
	pthread_join(sender, NULL);
	kind_of_trap();
	printf("# %u rounds: %llu objects checked, %llu touches trapped, %llu in "
	       "children, %llu EFAULT; %llu trims, %llu forks, %llu ends, "
	       "%llu visits\n",
	       nr_rounds, (unsigned long long)SUM(nr_legal),
	       (unsigned long long)SUM(nr_trapped),
	       (unsigned long long)nr_child_traps,
	       (unsigned long long)SUM(nr_efault),
	       (unsigned long long)nr_trims, (unsigned long long)nr_forks,
	       (unsigned long long)nr_ends, (unsigned long long)nr_visits);
	printf("ok 1 - touches\n");
	return 0;
}
