/* SPDX-License-Identifier: MIT */
/*
 * ebbctl - Own place in the cgroup trees
 *
 * /proc/self/cgroup has the path within a tree, /proc/self/mountinfo where the
 * tree is mounted, and which part of it (the root field): a container may see
 * only the part below its own cgroup.
 *
 *	root field	path in /proc/self/cgroup	path below the mount
 *	/		/a/b				/a/b
 *	/a		/a/b				/b
 *	/a		/c				not visible
 *	/..		any				not visible: the mount
 *							begins above us
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ebbctl.h"
#include "place.h"

bool place_set_path(struct place *place, const char *path)
{
	size_t len;

	if (!path_make(place->path, sizeof(place->path), "%s", path) ||
	    !path_make(place->dir, sizeof(place->dir), "%s%s", place->mount,
		       path))
		return false;
	len = strlen(place->dir);
	if (len > 1 && place->dir[len - 1] == '/')
		place->dir[len - 1] = '\0';
	return true;
}

/* Whether the comma-separated @list has @word. */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word), item;

	for (; *list; list += item) {
		list += *list == ',';
		item = strcspn(list, ",\n");
		if (item == len && !strncmp(list, word, len))
			return true;
		if (list[item] != ',')
			return false;
	}
	return false;
}

/* The path in the tree of @controller that @file names; NULL: the v2 tree. */
static bool path_in(FILE *file, const char *controller, char *path, size_t size)
{
	char *line = NULL, *list, *own;
	bool found = false;
	size_t room = 0;

	while (!found && getline(&line, &room, file) > 0) {
		list = strchr(line, ':');
		own = list ? strchr(list + 1, ':') : NULL;
		if (!own)
			continue;
		*list++ = '\0';
		*own++ = '\0';
		own[strcspn(own, "\n")] = '\0';
		if (controller)
			found = list_has(list, controller);
		else
			found = !strcmp(line, "0") && !*list;
		if (found)
			found = path_make(path, size, "%s", own);
	}
	free(line);
	return found;
}

static bool own_path(const char *controller, char *path, size_t size)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool found;

	if (!file)
		return false;
	found = path_in(file, controller, path, size);
	fclose(file);
	return found;
}

/* mountinfo writes blanks and backslashes as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '\\' && isdigit(text[1]) && isdigit(text[2]) &&
		    isdigit(text[3])) {
			*to++ = (char)((text[1] - '0') << 6 |
				       (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

struct mount {
	char *root;
	char *dir;
	char *type;
	char *options;		/* of the file system: v1 names controllers */
};

/* Split a line of mountinfo, in place. */
static bool parse_mount(char *line, struct mount *ret_mount)
{
	char *tail = strstr(line, " - "), *save;

	if (!tail)
		return false;
	*tail = '\0';
	tail += 3;
	for (int i = 0; i < 3; i++)
		if (!strtok_r(i ? NULL : line, " ", &save))
			return false;
	ret_mount->root = strtok_r(NULL, " ", &save);
	ret_mount->dir = strtok_r(NULL, " ", &save);
	ret_mount->type = strtok_r(tail, " ", &save);
	strtok_r(NULL, " ", &save);
	ret_mount->options = strtok_r(NULL, " ", &save);
	if (!ret_mount->root || !ret_mount->dir || !ret_mount->options)
		return false;
	unescape(ret_mount->root);
	unescape(ret_mount->dir);
	return true;
}

/* What is left of @path below @root; NULL where it is not below it. */
static const char *path_below(const char *path, const char *root)
{
	size_t len = strlen(root);

	if (!strncmp(root, "/..", 3) || !strncmp(path, "/..", 3))
		return NULL;
	if (!strcmp(root, "/"))
		return path;
	if (strncmp(path, root, len) || (path[len] && path[len] != '/'))
		return NULL;
	return path[len] ? path + len : "/";
}

/* Where the cgroup @own of the tree of @controller is visible. */
static bool find_mount(const char *controller, const char *own,
		       struct place *ret_place)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	const char *type = controller ? "cgroup" : "cgroup2", *below;
	struct mount mount;
	char *line = NULL;
	bool found = false;
	size_t room = 0;

	if (!file)
		return false;
	while (!found && getline(&line, &room, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (!parse_mount(line, &mount) || strcmp(mount.type, type))
			continue;
		if (controller && !list_has(mount.options, controller))
			continue;
		below = path_below(own, mount.root);
		found = below &&
			path_make(ret_place->mount, sizeof(ret_place->mount),
				  "%s", mount.dir) &&
			place_set_path(ret_place, below);
	}
	free(line);
	fclose(file);
	return found;
}

void places_find(struct places *ret)
{
	char own[PATH_MAX], text[1024];
	bool has_v2;

	memset(ret, 0, sizeof(*ret));
	has_v2 = own_path(NULL, own, sizeof(own)) &&
		 find_mount(NULL, own, &ret->unified);
	if (own_path("memory", own, sizeof(own))) {
		if (find_mount("memory", own, &ret->memory)) {
			ret->version = 1;
			ret->hybrid = has_v2;
			return;
		}
		snprintf(ret->why, sizeof(ret->why), "the v1 memory cgroup "
			 "%.3000s is not visible in any mount", own);
		return;
	}
	if (!has_v2) {
		snprintf(ret->why, sizeof(ret->why), "no cgroup tree with the "
			 "memory controller is visible here");
		return;
	}
	if (file_get(ret->unified.mount, "cgroup.controllers", text,
		     sizeof(text)) && !strstr(text, "memory")) {
		snprintf(ret->why, sizeof(ret->why), "the cgroup v2 tree at "
			 "%.3000s has no memory controller (it has: %.500s)",
			 ret->unified.mount, *text ? text : "none");
		return;
	}
	ret->memory = ret->unified;
	ret->version = 2;
}

int place_of(const char *text, struct place *ret)
{
	static const char *const controllers[] = { "memory", NULL };
	char path[PATH_MAX];
	int version = 0;

	for (int i = 0; !version && i < 2; i++) {
		FILE *file = fmemopen((char *)text, strlen(text), "r");

		/* Whoever wrote it may not lead us out of the tree. */
		if (file && path_in(file, controllers[i], path, sizeof(path)) &&
		    *path == '/' && !strstr(path, "/..") &&
		    find_mount(controllers[i], path, ret))
			version = i + 1;
		if (file)
			fclose(file);
	}
	return version;
}
