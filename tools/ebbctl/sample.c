/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - What a running command holds, seen from outside
 *
 * Model: a sample is the anonymous memory of the command's cgroup, or the sum
 * of its processes', and stands for the time since the sample before.  Which
 * processes there are, and what they have mapped, is looked up more seldom:
 * that costs more, and changes less.
 *
 * Invariant: a sample counts only if the command still has its memory after
 * it was read.  So none is of a process that is half taken down.
 *
 * As many samples are kept as there is room for: when it is full, every second
 * one is dropped, and of those to come only half as many as before are kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "ebbctl.h"
#include "sample.h"

#define LOOK_S		0.1	/* between looks at which processes there are */
#define FIRST_LOOKS	6	/* which come with every sample */
#define END_SHARE	0.1	/* of the run is its end */

void sampler_find(struct sampler *sampler)
{
	if (sampler->cg)
		pids_of_cgroup(sampler->cg->memory.dir, &sampler->pids);
	else
		pids_below_us(sampler->except, &sampler->pids);
}

/* === The library ========================================================== */

/* What is known of the program that @pid is now; NULL where nothing can be. */
static struct seen *find_seen(struct sampler *sampler, pid_t pid)
{
	struct stat st, own;
	struct seen *seen;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	/* Before it becomes the command the child still is this tool. */
	if (stat(path, &st) || stat("/proc/self/exe", &own) ||
	    (st.st_ino == own.st_ino && st.st_dev == own.st_dev))
		return NULL;
	for (unsigned int i = 0; i < sampler->nr_seen; i++) {
		seen = &sampler->seen[i];
		if (seen->pid == pid && seen->ino == st.st_ino &&
		    seen->dev == st.st_dev)
			return seen;
	}
	if (sampler->nr_seen == SEEN_MOST)
		return NULL;
	seen = &sampler->seen[sampler->nr_seen++];
	*seen = (struct seen){ .pid = pid, .dev = st.st_dev,
			       .ino = st.st_ino };
	return seen;
}

static void look_at(struct sampler *sampler, pid_t pid)
{
	struct seen *seen = find_seen(sampler, pid);
	char dir[32];

	if (!seen || seen->verdict != MAPS_UNKNOWN)
		return;
	seen->verdict = pid_maps(pid, sampler->library, sampler->found,
				     sizeof(sampler->found));
	if (seen->verdict == MAPS_WITH)
		sampler->nr_with++;
	if (seen->verdict != MAPS_WITHOUT)
		return;
	sampler->nr_without++;
	snprintf(dir, sizeof(dir), "/proc/%d", (int)pid);
	if (*sampler->library)
		file_get(dir, "comm", sampler->without,
			 sizeof(sampler->without));
}

static void look(struct sampler *sampler, double now)
{
	if (sampler->nr_looks >= FIRST_LOOKS && now < sampler->next_look)
		return;
	sampler->nr_looks++;
	sampler->next_look = now + LOOK_S;
	sampler_find(sampler);
	for (unsigned int i = 0; i < sampler->pids.nr; i++)
		look_at(sampler, sampler->pids.pid[i]);
}

/* === Memory =============================================================== */

static uint64_t held_now(const struct sampler *sampler)
{
	uint64_t held = 0;

	if (sampler->cg)
		return cgroup_held(sampler->cg);
	for (unsigned int i = 0; i < sampler->pids.nr; i++)
		held += pid_held(sampler->pids.pid[i]);
	return held;
}

static void keep(struct sampler *sampler, struct sample sample)
{
	if (sampler->nr_samples % sampler->stride)
		return;
	if (sampler->nr_kept == KEPT_MOST) {
		for (unsigned int i = 0; i < KEPT_MOST / 2; i++)
			sampler->kept[i] = sampler->kept[2 * i];
		sampler->nr_kept = KEPT_MOST / 2;
		sampler->stride *= 2;
	}
	sampler->kept[sampler->nr_kept++] = sample;
}

void sampler_begin(struct sampler *sampler, double now)
{
	sampler->since = now;
	sampler->latest.at = now;
	sampler->stride = 1;
}

unsigned int sampler_take(struct sampler *sampler, double now)
{
	struct sample sample = { .at = now };

	look(sampler, now);
	sample.held = held_now(sampler);
	if (sample.held != UNKNOWN && pid_has_memory(sampler->command)) {
		sampler->area += (double)sample.held *
				 (now - sampler->latest.at);
		sampler->latest = sample;
		keep(sampler, sample);
		sampler->nr_samples++;
	}
	/* 1, 2, 4 and 8 ms at first, for commands that end soon. */
	return sampler->nr_looks < 5 ? 1U << (sampler->nr_looks - 1) :
				       SAMPLE_MS;
}

/* === Results ============================================================== */

uint64_t sampler_mean(const struct sampler *sampler)
{
	double seconds = sampler->latest.at - sampler->since;

	if (!sampler->nr_samples || seconds <= 0)
		return UNKNOWN;
	return (uint64_t)(sampler->area / seconds);
}

static int compare_samples(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return (x->held > y->held) - (x->held < y->held);
}

uint64_t sampler_end(const struct sampler *sampler, double now)
{
	double from = now - (now - sampler->since) * END_SHARE;
	static struct sample last[KEPT_MOST];
	unsigned int nr = 0;

	for (unsigned int i = 0; i < sampler->nr_kept; i++)
		if (sampler->kept[i].at >= from)
			last[nr++] = sampler->kept[i];
	if (nr) {
		qsort(last, nr, sizeof(*last), compare_samples);
		return last[nr / 2].held;
	}
	return sampler->nr_samples ? sampler->latest.held : UNKNOWN;
}
