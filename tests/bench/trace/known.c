/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc bench - A program whose calls are known, for the recorder's test
 *
 * One thread makes objects; others free every second of them and realloc the
 * rest; then a child does things that nobody shall see.  Prints how many calls
 * of each kind it made itself, and with the argument "wait" waits to be killed.
 *
 * With the argument "churn": many threads, one after the other.
 */
#include <pthread.h>
#include <sys/wait.h>
#include "common.h"

#define NR_THREADS	4
#define NR_OBJECTS	1000	/* of each thread */
#define NR_CHURNED	50
#define ODD_SIZE	4001	/* see broken.c */

static void *objects[NR_THREADS][NR_OBJECTS];
static pthread_barrier_t made;

static void *work(void *arg)
{
	void **own = objects[(uintptr_t)arg], *odd[2];

	pthread_barrier_wait(&made);
	for (int i = 0; i < NR_OBJECTS; i += 2) {
		free(own[i]);
		own[i + 1] = realloc(own[i + 1], 100 + (size_t)i);
	}
	free(hide(memalign(4096, 100)));
	for (int i = 0; i < 2; i++)
		odd[i] = hide(malloc(ODD_SIZE));
	for (int i = 0; i < 2; i++)
		free(odd[i]);
	free(hide(calloc(1, ODD_SIZE)));
	return NULL;
}

static void make(void)
{
	for (int t = 0; t < NR_THREADS; t++)
		for (size_t i = 0; i < NR_OBJECTS; i++)
			objects[t][i] = i % 4 ? malloc(i) : calloc(3, i);
}

static void unseen(void)
{
	for (int i = 0; i < NR_OBJECTS; i++)
		free(hide(malloc(50000)));
	exit(0);
}

static void *little(void *arg)
{
	free(hide(malloc(100)));
	return arg;
}

static int churn(void)
{
	for (int i = 0; i < NR_CHURNED; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, little, NULL))
			return 1;
		pthread_join(thread, NULL);
	}
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t threads[NR_THREADS];
	pid_t child;

	if (argc > 1 && !strcmp(argv[1], "churn"))
		return churn();
	pthread_barrier_init(&made, NULL, NR_THREADS + 1);
	for (uintptr_t t = 0; t < NR_THREADS; t++)
		if (pthread_create(&threads[t], NULL, work, (void *)t))
			return 1;
	make();
	pthread_barrier_wait(&made);
	for (int t = 0; t < NR_THREADS; t++)
		pthread_join(threads[t], NULL);
	child = fork();
	if (!child)
		unseen();
	waitpid(child, NULL, 0);
	printf("malloc=%d calloc=%d realloc=%d free=%d memalign=%d\n",
	       NR_THREADS * (NR_OBJECTS * 3 / 4 + 2),
	       NR_THREADS * (NR_OBJECTS / 4 + 1),
	       NR_THREADS * NR_OBJECTS / 2, NR_THREADS * (NR_OBJECTS / 2 + 4),
	       NR_THREADS);
	fflush(stdout);
	while (argc > 1)
		pause();
	return 0;
}
