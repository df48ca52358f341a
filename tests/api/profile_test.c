// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebbmalloc tests - The heap profile
 *
 * api/sampled knows what it has allocated.  With profile=1 each of its objects
 * is a sample (an object of 80 bytes is missed with probability exp(-80)), so
 * figures are compared exactly; with larger means within SIGMAS standard
 * deviations, which chance leaves less than once in 10^9 times.
 */
#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include "harness.h"
#include "api/run.h"

#define SIGMAS		6.5
#define DUMP_MAX	(8 * MIB)

struct figures {
	size_t live, live_bytes, allocated, allocated_bytes;
};

/* What a run of api/sampled said of itself. */
struct said {
	uintptr_t start, end;
	int pid;
	struct figures figures;
};

FIXTURE(profile)
{
	char dir[64];
	char program[PATH_MAX], lib[PATH_MAX];
	char *dump;
	struct run run;
};

FIXTURE_SETUP(profile)
{
	strcpy(self->dir, "/tmp/ebb-profile-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	beside(self->program, "sampled");
	self->dump = malloc(DUMP_MAX);
	ASSERT_NE(NULL, self->dump);
}

FIXTURE_TEARDOWN(profile)
{
	DIR *dir = opendir(self->dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(self->dir);
	free(self->dump);
}

/* Run api/sampled @what with @conf added; its output is in run.output. */
static bool run_sampled(struct _test_data_profile *self, const char *what,
			const char *conf)
{
	static char whole[512], *stats = "stats";

	snprintf(whole, sizeof(whole), "profile_leak=on,profile_dump=%s/%%p,%s",
		 self->dir, conf);
	self->run = (struct run){
		.program = self->program,
		.argv = { self->program, (char *)what, stats },
		.preload = library_path(self->lib),
		.conf = whole,
	};
	return run_program(&self->run) && self->run.status == 0;
}

/* The @nth line that begins with "site". */
static bool read_said(const char *output, int nth, struct said *said)
{
	for (const char *at = output; (at = strstr(at, "site ")); at += 5)
		if (!nth--)
			return sscanf(at, "site %lx %lx pid %d live %zu %zu "
				      "allocated %zu %zu", &said->start,
				      &said->end, &said->pid,
				      &said->figures.live,
				      &said->figures.live_bytes,
				      &said->figures.allocated,
				      &said->figures.allocated_bytes) == 7;
	return false;
}

/* What the profile of process @pid, in dump, says of the site. */
static bool read_profile(struct _test_data_profile *self,
			 const struct said *said, struct figures *sum)
{
	char path[128];
	char *line;

	snprintf(path, sizeof(path), "%s/%d", self->dir, said->pid);
	if (read_file(path, self->dump, DUMP_MAX) < 0 ||
	    strncmp(self->dump, "heap profile: ", 14))
		return false;
	*sum = (struct figures){ 0 };
	for (line = strchr(self->dump, '\n'); line; line = strchr(line, '\n')) {
		struct figures one;
		uintptr_t pc;

		line++;
		/* A return address may be that of what follows the site. */
		if (sscanf(line, "%zu: %zu [%zu: %zu] @ %lx", &one.live,
			   &one.live_bytes, &one.allocated,
			   &one.allocated_bytes, &pc) != 5 ||
		    pc - 1 < said->start || pc - 1 >= said->end)
			continue;
		sum->live += one.live;
		sum->live_bytes += one.live_bytes;
		sum->allocated += one.allocated;
		sum->allocated_bytes += one.allocated_bytes;
	}
	return true;
}

#define EXPECT_FIGURES(said, found) do {				\
	EXPECT_EQ((said)->live, (found)->live);				\
	EXPECT_EQ((said)->live_bytes, (found)->live_bytes);		\
	EXPECT_EQ((said)->allocated, (found)->allocated);		\
	EXPECT_EQ((said)->allocated_bytes, (found)->allocated_bytes);	\
} while (0)

#define EXPECT_EXACT(what, conf) do {					\
	struct said _said;						\
	struct figures _found;						\
									\
	ASSERT_TRUE(run_sampled(self, what, conf))			\
		TH_LOG("%s: status %d\n%s", what, self->run.status,	\
		       self->run.output);				\
	ASSERT_TRUE(read_said(self->run.output, 0, &_said));		\
	ASSERT_TRUE(read_profile(self, &_said, &_found));		\
	EXPECT_FIGURES(&_said.figures, &_found);			\
} while (0)

TEST_F(profile, every_function_is_told_with_who_called_it)
{
	EXPECT_EXACT("calls", "profile=1");
}

TEST_F(profile, the_same_by_unwinding)
{
	EXPECT_EXACT("calls", "profile=1,profile_stack=unwind");
	EXPECT_NE(NULL, strstr(self->run.output, "stacks by unwinding"));
}

TEST_F(profile, the_same_without_a_heap)
{
	EXPECT_EXACT("calls", "profile=1,check=1");
}

TEST_F(profile, what_changes_its_size_is_freed_and_allocated)
{
	EXPECT_EXACT("resizes", "profile=1");
}

TEST_F(profile, samples_are_found_when_other_threads_free_them)
{
	EXPECT_EXACT("threads", "profile=1");
}

TEST_F(profile, a_forked_child_has_its_own)
{
	struct said said[2];
	struct figures found;

	ASSERT_TRUE(run_sampled(self, "forks", "profile=1"));
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(read_said(self->run.output, i, &said[i]));
		ASSERT_TRUE(read_profile(self, &said[i], &found));
		EXPECT_FIGURES(&said[i].figures, &found);
	}
	EXPECT_NE(said[0].pid, said[1].pid);
}

/*
 * @nr objects of @size, of which @samples were seen with a mean of @mean: how
 * many standard deviations that is off.
 */
static double sigmas_off(size_t nr, size_t size, size_t mean, size_t samples)
{
	double p = 1 - exp(-(double)size / (double)mean);
	double sigma = sqrt((double)nr * p * (1 - p));

	return ((double)samples - (double)nr * p) / sigma;
}

#define EXPECT_LIKELY(nr, size, mean, samples) do {			\
	double _off = sigmas_off(nr, size, mean, samples);		\
									\
	TH_LOG("%zu samples, off by %.2f sigma", (size_t)(samples), _off); \
	EXPECT_LT(fabs(_off), SIGMAS);					\
} while (0)

TEST_F(profile, frees_do_not_hide_what_is_allocated)
{
	struct figures found;
	struct said said;

	ASSERT_TRUE(run_sampled(self, "pairs", "profile=64K"));
	ASSERT_TRUE(read_said(self->run.output, 0, &said));
	ASSERT_TRUE(read_profile(self, &said, &found));
	EXPECT_EQ(0, found.live);
	EXPECT_LIKELY(said.figures.allocated, 256, 64 * KIB, found.allocated);
}

TEST_F(profile, one_seed_gives_one_choice)
{
	struct figures found[3];
	struct said said;

	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(run_sampled(self, "leak", i < 2 ?
					"profile=64K,profile_seed=7" :
					"profile=64K,profile_seed=8"));
		ASSERT_TRUE(read_said(self->run.output, 0, &said));
		ASSERT_TRUE(read_profile(self, &said, &found[i]));
		EXPECT_LIKELY(said.figures.allocated, 1024, 64 * KIB,
			      found[i].allocated);
	}
	EXPECT_EQ(found[0].live, found[1].live);
	EXPECT_EQ(found[0].allocated_bytes, found[1].allocated_bytes);
	/* Of a thousand or so: equal by chance once in a hundred times. */
	if (found[0].live == found[2].live)
		TH_LOG("another seed, and as many by chance");
}

/* What pprof makes of the samples: bytes of @function; 0: it is not there. */
static size_t pprof_bytes(char *output, const char *function, int *ret_rank)
{
	char name[64];
	size_t bytes;
	double percent;
	int rank = 0;

	for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, " %zu %lf%% %*f%% %*u %*f%% %63s", &bytes,
			   &percent, name) == 3) {
			*ret_rank = rank++;
			if (!strcmp(name, function))
				return bytes;
		}
	return 0;
}

TEST_F(profile, pprof_names_the_leak_first_and_how_large_it_is)
{
	static char pprof[] = "/usr/bin/google-pprof";
	double p = 1 - exp(-1024.0 / (16 * 1024));
	char path[128];
	struct said said;
	double sigma, bytes;
	int rank = -1;

	if (access(pprof, X_OK))
		SKIP(return, "google-pprof is not installed");
	ASSERT_TRUE(run_sampled(self, "leak", "profile=16K"));
	ASSERT_TRUE(read_said(self->run.output, 0, &said));
	snprintf(path, sizeof(path), "%s/%d", self->dir, said.pid);
	self->run = (struct run){
		.program = pprof,
		.argv = { pprof, "--text", "--show_bytes", "--inuse_space",
			  self->program, path },
	};
	ASSERT_TRUE(run_program(&self->run));
	ASSERT_EQ(0, self->run.status) TH_LOG("%s", self->run.output);
	bytes = (double)pprof_bytes(self->run.output, "leak_here", &rank);
	EXPECT_EQ(0, rank);
	sigma = sqrt(65536 * p * (1 - p)) / p * 1024;
	TH_LOG("%.0f bytes of 65536 KiB, off by %.2f sigma", bytes,
	       (bytes - 65536 * 1024) / sigma);
	EXPECT_LT(fabs(bytes - 65536 * 1024), SIGMAS * sigma);
}

/* With frame pointers the callers of the caller are there, too. */
TEST_F(profile, stacks_go_on_to_main)
{
	char *line, *word;
	struct said said;
	struct figures found;
	int depth = 0;

	ASSERT_TRUE(run_sampled(self, "leak", "profile=16K"));
	ASSERT_TRUE(read_said(self->run.output, 0, &said));
	ASSERT_TRUE(read_profile(self, &said, &found));
	for (line = strtok(self->dump, "\n"); line; line = strtok(NULL, "\n")) {
		uintptr_t pc;

		word = strchr(line, '@');
		if (!word || sscanf(word, "@ %lx", &pc) != 1 ||
		    pc - 1 < said.start || pc - 1 >= said.end)
			continue;
		for (depth = 0; (word = strstr(word, " 0x")); word++)
			depth++;
		break;
	}
	/* leak_here(), take(), leak(), main(), what libc has. */
	EXPECT_LE(4, depth);
}

TEST_F(profile, frame_pointers_that_lead_nowhere_do_no_harm)
{
	EXPECT_TRUE(run_sampled(self, "odd_frames", "profile=1"))
		TH_LOG("status %d\n%s", self->run.status, self->run.output);
}

static size_t counter(const char *output, const char *name)
{
	const char *at = strstr(output, name);

	return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

TEST_F(profile, samples_without_a_place_are_counted)
{
	size_t live, dropped;
	struct figures found;
	struct said said;

	ASSERT_TRUE(run_sampled(self, "many", "profile=1"));
	ASSERT_TRUE(read_said(self->run.output, 0, &said));
	ASSERT_TRUE(read_profile(self, &said, &found));
	live = counter(self->run.output, "profile_live");
	dropped = counter(self->run.output, "profile_dropped");
	TH_LOG("%zu live, %zu dropped", live, dropped);
	EXPECT_LT(100000, found.live);
	EXPECT_LE(found.live, live);
	/* A few others than the site's may be among them. */
	EXPECT_LE(said.figures.live, found.live + dropped);
	EXPECT_GE(said.figures.live + 100, found.live + dropped);
	EXPECT_EQ(said.figures.allocated, found.allocated);
}

TEST_F(profile, off_it_does_nothing)
{
	char path[128];
	struct said said;

	ASSERT_TRUE(run_sampled(self, "leak", "profile=0"));
	ASSERT_TRUE(read_said(self->run.output, 0, &said));
	snprintf(path, sizeof(path), "%s/%d", self->dir, said.pid);
	EXPECT_EQ(-1, access(path, F_OK));
	EXPECT_EQ(NULL, strstr(self->run.output, "  profile: "));
	EXPECT_EQ(0, counter(self->run.output, "profile_live"));
}

/* --- The file --- */

static bool dump_to(struct _test_data_profile *self, const char *path)
{
	char conf[256];

	snprintf(conf, sizeof(conf), "profile=1,profile_dump=%s", path);
	return run_sampled(self, "resizes", conf);
}

TEST_F(profile, the_file_is_the_user_s_alone)
{
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/one", self->dir);
	ASSERT_TRUE(dump_to(self, path));
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_LT(1000, st.st_size);
	/* Once more: what was there is gone. */
	ASSERT_EQ(0, truncate(path, 10 * MIB));
	ASSERT_TRUE(dump_to(self, path));
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_GT(10 * MIB, (size_t)st.st_size);
	EXPECT_EQ(NULL, strstr(self->run.output, "not written"));
}

TEST_F(profile, what_may_be_somebody_else_s_is_not_written_to)
{
	char link[128], target[128];
	struct stat st;

	snprintf(target, sizeof(target), "%s/target", self->dir);
	snprintf(link, sizeof(link), "%s/link", self->dir);
	ASSERT_LE(0, close(open(target, O_CREAT | O_WRONLY, 0600)));
	/* By a link of either kind, with others allowed, or a pipe. */
	for (int i = 0; i < 4; i++) {
		unlink(link);
		if (i == 0) {
			ASSERT_EQ(0, symlink(target, link));
		} else if (i == 1) {
			ASSERT_EQ(0, linkat(AT_FDCWD, target, AT_FDCWD, link,
					    0));
		} else if (i == 2) {
			ASSERT_LE(0, close(open(link, O_CREAT | O_WRONLY,
						0600)));
			ASSERT_EQ(0, chmod(link, 0644));
		} else {
			ASSERT_EQ(0, mkfifo(link, 0600));
		}
		EXPECT_TRUE(dump_to(self, link));
		EXPECT_NE(NULL, strstr(self->run.output, "not written"))
			TH_LOG("%d: %s", i, self->run.output);
		ASSERT_EQ(0, stat(target, &st));
		EXPECT_EQ(0, st.st_size);
	}
}

TEST_F(profile, a_path_must_be_absolute)
{
	ASSERT_TRUE(dump_to(self, "here"));
	EXPECT_NE(NULL, strstr(self->run.output,
			       "profile_dump=here refused"));
}

/* A copy of @from, of another user and with set-user-ID if @secure. */
static bool install(const char *from, const char *to, bool secure)
{
	static char buf[1 << 16];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	bool good = in >= 0 && out >= 0;
	ssize_t len = 0;

	while (good && (len = read(in, buf, sizeof(buf))) > 0)
		good = write(out, buf, (size_t)len) == len;
	good = good && !len && !fchown(out, secure ? 65534 : 0, (gid_t)-1) &&
	       !fchmod(out, secure ? 04755 : 0700);
	close(in);
	close(out);
	return good;
}

TEST_F(profile, programs_with_privileges_have_none)
{
	char from[PATH_MAX], to[128], dump[64];
	int secure, pid;

	if (geteuid())
		SKIP(return, "needs root, to make a set-user-ID program");
	beside(from, "secure-static");
	snprintf(to, sizeof(to), "%s/secure", self->dir);
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(install(from, to, i));
		self->run = (struct run){ .program = to, .argv = { to } };
		ASSERT_TRUE(run_program(&self->run));
		ASSERT_EQ(0, self->run.status);
		ASSERT_EQ(2, sscanf(self->run.output, "secure %d pid %d",
				    &secure, &pid));
		if (secure != i)
			SKIP(return, "set-user-ID has no effect in /tmp");
		snprintf(dump, sizeof(dump), "/tmp/ebb-secure-%d", pid);
		EXPECT_EQ(i ? -1 : 0, unlink(dump));
	}
}

TEST_HARNESS_MAIN
