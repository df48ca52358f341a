/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - A page as a report
 */
#ifndef EBBCTL_STATUS_H
#define EBBCTL_STATUS_H

#include <stdint.h>
#include "page.h"

struct json;

/* All of it, for people; @now_ms, since 1970, is what ages are counted to. */
void status_print(const struct ebb_page *page, uint64_t now_ms);

/* The same as one JSON object, begun and ended by the caller. */
void status_json(struct json *out, const struct ebb_page *page);

/* Of it, what it held and did, with the last @nr_events passes. */
void status_print_body(const struct ebb_page *page, unsigned int nr_events);

/* Its threads with caches, at most @max: a table, an array called @key. */
void threads_print(const struct ebb_page *page, unsigned int max);
void threads_json(struct json *out, const char *key,
		  const struct ebb_page *page);

/* One pass, in at most 80 columns. */
void status_print_event(const struct ebb_page *page,
			const struct ebb_event *event);

/* Its members, within a JSON object. */
void status_json_event(struct json *out, const struct ebb_page *page,
		       const struct ebb_event *event);

/* 2026-11-21 17:40:03.125, local time. */
#define STATUS_TIME	32
const char *status_time(uint64_t ms, char buf[STATUS_TIME]);

#endif
