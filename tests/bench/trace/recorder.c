/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - Recorder of malloc calls, to be preloaded
 *
 * LD_PRELOAD=recorder.so EBB_TRACE=file [EBB_TRACE_MOST=records] program
 *
 * What it is: writes the calls of the malloc family and the threads of one
 * process, from this library's constructor to its destructor or _exit(), to a
 * file that must not exist (format.h).  Programs that it executes are not
 * recorded: the variables are taken from the environment.
 *
 * Model: the file is mapped as a whole.  A call takes the next place in it by
 * one atomic addition, which is what orders the calls of all threads, and then
 * writes its record there.  A table in memory of its own (floor/table.h) knows
 * the object that each address is, in place of its length.
 *
 * When the file is full, after EBB_TRACE_MOST records (default: 4 Mi), the rest
 * is counted only.
 *
 * Fork: a child sees `running` as zero, however it was made, and writes
 * nothing; neither does its destructor.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "bench/trace/format.h"
#include "floor/table.h"
#include "interpose.h"

#define DEFAULT_MOST	((uint64_t)4 << 20)
#define NO_RECORD	UINT64_MAX
#define ENDED		((uint64_t)1 << 62)	/* of the next place */
#define END_ROUNDS	1000			/* of a millisecond */

static volatile int *running;	/* a page; NULL: nothing is recorded */
static struct trace_header *header;
static struct trace_record *records;
static uint64_t capacity;
static uint64_t next_place;
static uint32_t nr_threads;
static pid_t process;
static char path[PATH_MAX];
static struct stat made;
static pthread_key_t exit_key;
static int (*next_create)(pthread_t *, const pthread_attr_t *,
			  void *(*)(void *), void *);

/* One more than the thread's number; 0: it has none yet. */
static __thread uint32_t own_number __attribute__((tls_model("initial-exec")));

static bool is_recording(void)
{
	return running && *running;
}

static uint32_t number_thread(void)
{
	return __atomic_fetch_add(&nr_threads, 1, __ATOMIC_RELAXED);
}

/*
 * The first word, which has the kind, comes last.  Pairs with all_written().
 * Returns the record's number, or NO_RECORD.
 */
static uint64_t append(struct trace_record record)
{
	uint64_t at, first;

	if (!own_number)
		own_number = number_thread() + 1;
	if (own_number > TRACE_MOST_THREADS)
		return NO_RECORD;
	record.thread = (uint16_t)(own_number - 1);
	at = __atomic_fetch_add(&next_place, 1, __ATOMIC_RELAXED);
	if (at >= capacity)
		return NO_RECORD;
	memcpy(&first, &record, sizeof(first));
	records[at].size = record.size;
	__atomic_store_n((uint64_t *)&records[at], first, __ATOMIC_RELEASE);
	return at;
}

/* === Calls =============================================================== */

void call_begins(struct call *call)
{
	if (!is_recording())
		return;
	call->known = floor_remove(call->old, &call->note);
	if (call->known && call->kind == CALL_FREE)
		append((struct trace_record){ .kind = TRACE_FREE,
					      .object = (uint32_t)call->note });
}

static uint8_t shift_of(size_t alignment)
{
	uint8_t shift = 0;

	while (shift < TRACE_MOST_SHIFT && (size_t)1 << shift < alignment)
		shift++;
	return shift;
}

static struct trace_record record_of(const struct call *call)
{
	struct trace_record record = { .size = call->size };

	if (call->kind == CALL_CALLOC) {
		record.kind = TRACE_CALLOC;
	} else if (call->kind == CALL_MEMALIGN) {
		record.kind = TRACE_MEMALIGN;
		record.shift = shift_of(call->alignment);
	} else if (call->kind == CALL_REALLOC && call->known) {
		record.kind = TRACE_REALLOC;
		record.object = (uint32_t)call->note;
	} else {
		record.kind = TRACE_MALLOC;
	}
	return record;
}

static void came(const struct call *call)
{
	uint64_t object = append(record_of(call));

	if (object != NO_RECORD)
		floor_add(call->made, object);
}

void call_ends(struct call *call)
{
	if (!is_recording())
		return;
	if (call->made)
		came(call);
	else if (call->known && call_failed(call))
		floor_add(call->old, call->note);
	else if (call->known && call->kind == CALL_REALLOC)
		append((struct trace_record){ .kind = TRACE_FREE,
					      .object = (uint32_t)call->note });
}

/* === Threads ============================================================= */

struct start {
	void *(*routine)(void *);
	void *arg;
	uint32_t number;
};

/* Destructors of other keys still free: be the last one to run. */
static void at_exit_of_thread(void *arg)
{
	uintptr_t round = (uintptr_t)arg;

	if (round < PTHREAD_DESTRUCTOR_ITERATIONS)
		pthread_setspecific(exit_key, (void *)(round + 1));
	else if (is_recording())
		append((struct trace_record){ .kind = TRACE_EXIT });
}

static void *run_thread(void *arg)
{
	struct start start = *(struct start *)arg;

	next_malloc.do_free(arg);
	own_number = start.number + 1;
	pthread_setspecific(exit_key, (void *)1);
	return start.routine(start.arg);
}

static int create_recorded(pthread_t *thread, const pthread_attr_t *attr,
			   struct start start)
{
	struct start *passed = next_malloc.do_malloc(sizeof(*passed));
	int err;

	if (!passed)
		return EAGAIN;
	start.number = number_thread();
	*passed = start;
	if (start.number < TRACE_MOST_THREADS)
		append((struct trace_record){ .kind = TRACE_THREAD,
					      .size = start.number });
	err = next_create(thread, attr, run_thread, passed);
	if (err)
		next_malloc.do_free(passed);
	return err;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
		   void *(*routine)(void *), void *arg)
{
	struct start start = { .routine = routine, .arg = arg };

	if (!next_create && !interpose_find_one(&next_create, "pthread_create"))
		return EAGAIN;
	if (!is_recording())
		return next_create(thread, attr, routine, arg);
	return create_recorded(thread, attr, start);
}

/* === Begin and end ======================================================= */

static void cannot(const char *what)
{
	dprintf(STDERR_FILENO, "trace recorder: %s: %s: %s\n", path, what,
		strerror(errno));
	_exit(1);
}

static void read_capacity(void)
{
	const char *text = getenv("EBB_TRACE_MOST");
	char *end;

	capacity = DEFAULT_MOST;
	if (!text)
		return;
	capacity = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && capacity &&
	    capacity <= TRACE_MOST_RECORDS)
		return;
	dprintf(STDERR_FILENO, "trace recorder: EBB_TRACE_MOST=%s: expected "
		"1..%llu\n", text, (unsigned long long)TRACE_MOST_RECORDS);
	_exit(1);
}

static void read_path(const char *text)
{
	if (text[0] == '/' && strlen(text) < sizeof(path)) {
		strcpy(path, text);
		return;
	}
	dprintf(STDERR_FILENO, "trace recorder: EBB_TRACE=%s: expected an "
		"absolute path of at most %zu bytes\n", text,
		sizeof(path) - 1);
	_exit(1);
}

/* Space is taken at once: a disk that fills up later would be a SIGBUS. */
static void create_file(void)
{
	size_t bytes = sizeof(*header) + capacity * sizeof(*records);
	int fd, err;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		  0600);
	if (fd < 0)
		cannot("creating it");
	err = posix_fallocate(fd, 0, (off_t)bytes);
	if (err) {
		errno = err;
		unlink(path);
		cannot("space for it");
	}
	header = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (header == MAP_FAILED || fstat(fd, &made))
		cannot("mapping it");
	records = (struct trace_record *)(header + 1);
	/* The program may close what it did not open. */
	close(fd);
}

static void cut_file(uint64_t nr)
{
	struct stat now;
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &now))
		cannot("opening it again");
	errno = ESTALE;
	if (now.st_dev != made.st_dev || now.st_ino != made.st_ino ||
	    ftruncate(fd, (off_t)(sizeof(*header) + nr * sizeof(*records))))
		cannot("its length");
	close(fd);
}

static int *page_wiped_on_fork(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, page, MADV_WIPEONFORK))
		cannot("a page that is wiped on fork");
	return p;
}

__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("EBB_TRACE");
	int *page;

	if (!text)
		return;
	interpose_find();
	read_capacity();
	read_path(text);
	create_file();
	unsetenv("EBB_TRACE");
	unsetenv("EBB_TRACE_MOST");
	pthread_key_create(&exit_key, at_exit_of_thread);
	own_number = number_thread() + 1;
	process = getpid();
	page = page_wiped_on_fork();
	*page = 1;
	running = page;
}

/* Pairs with append(). */
static bool all_written(uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		if (!__atomic_load_n((uint64_t *)&records[i],
				     __ATOMIC_ACQUIRE))
			return false;
	return true;
}

static void write_header(uint64_t nr, uint64_t nr_dropped)
{
	uint32_t threads = __atomic_load_n(&nr_threads, __ATOMIC_RELAXED);

	*header = (struct trace_header){
		.version = TRACE_VERSION,
		.header_bytes = sizeof(*header),
		.record_bytes = sizeof(*records),
		.nr_threads = threads < TRACE_MOST_THREADS ? threads :
			TRACE_MOST_THREADS,
		.nr_records = nr,
		.nr_dropped = nr_dropped,
	};
	memcpy(header->magic, TRACE_MAGIC, sizeof(header->magic));
}

/*
 * Other threads may still run.  Whoever takes a place after the exchange has
 * one that is never written; who took one before has it written soon, but may
 * be waiting for a CPU.
 */
__attribute__((destructor)) static void end(void)
{
	uint64_t taken, nr;

	if (!is_recording())
		return;
	*running = 0;
	taken = __atomic_exchange_n(&next_place, ENDED, __ATOMIC_RELAXED);
	nr = taken < capacity ? taken : capacity;
	for (int i = 0; i < END_ROUNDS && !all_written(nr); i++)
		usleep(1000);
	write_header(nr, taken - nr);
	cut_file(nr);
	if (taken > nr)
		dprintf(STDERR_FILENO, "trace recorder: %llu calls after "
			"record %llu are not in the trace\n",
			(unsigned long long)(taken - nr),
			(unsigned long long)nr);
}

/* No destructor runs then.  A child of vfork() has this memory, but no say. */
void _exit(int status)
{
	if (getpid() == process)
		end();
	for (;;)
		syscall(SYS_exit_group, status);
}

void _Exit(int status)
{
	_exit(status);
}
