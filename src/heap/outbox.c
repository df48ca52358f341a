/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc - Outboxes: slots on their way to the heaps they belong to
 */
#include "heap/gather.h"
#include "heap/misuse.h"
#include "heap/outbox.h"
#include "heap/stranger.h"

void outbox_init(struct heap *heap)
{
	heap->outbox.top = heap->outbox_store;
	heap->outbox.end = heap->outbox_store + OUTBOX_SLOTS;
}

static void put_alone(struct heap *heap, struct slab_hot *hot, void *ptr)
{
	unsigned int slot;

	if (!slab_slot(hot, ptr, &slot))
		misuse_die(MISUSE_INTERIOR, "free", ptr, NULL);
	stranger_free(heap, slab_of(ptr), slot / 64, 1ULL << slot % 64);
	if (slab_publish(slab_of(ptr), slot / 64, 1ULL << slot % 64, 0))
		misuse_die(MISUSE_DOUBLE_FREE, "free", ptr, NULL);
}

void outbox_put(struct heap *heap, struct slab_hot *hot, void *ptr)
{
	/* First: what is published may be another's class at once. */
	outbox_account(heap, hot);
	if (hot->class > OUTBOX_CLASS_MAX) {
		put_alone(heap, hot, ptr);
		return;
	}
	if (heap->outbox.top == heap->outbox.end)
		outbox_flush(heap);
	*heap->outbox.top = ptr;
	heap->outbox.top++;
}

void outbox_flush(struct heap *heap)
{
	size_t nr = (size_t)(heap->outbox.top - heap->outbox_store);

	/* Empty first: what is published may be anybody's at once. */
	heap->outbox.top = heap->outbox_store;
	barrier();
	gather_publish(heap->outbox_store, nr, heap);
}

__guesses bool outbox_is_empty(const struct heap *heap)
{
	return load_guess(&heap->outbox.top) == heap->outbox_store;
}

__guesses bool outbox_holds(const struct heap *heap, const void *ptr)
{
	void **top = load_guess(&heap->outbox.top);

	for (void *const *at = heap->outbox_store; at < top; at++)
		if (load_guess(at) == ptr)
			return true;
	return false;
}

__guesses size_t outbox_bytes(const struct heap *heap)
{
	void **top = load_guess(&heap->outbox.top);
	size_t bytes = 0;

	for (void *const *at = heap->outbox_store; at < top; at++) {
		const void *ptr = load_guess(at);

		if (range_contains(ptr))
			bytes += sizeclasses[load_guess(
				&slab_hot(slab_of(ptr))->class)].size;
	}
	return bytes;
}
