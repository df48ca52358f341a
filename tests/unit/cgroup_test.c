/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ebbmalloc tests - Finding the own cgroup, in fixture texts and fake trees
 */
#include <errno.h>
#include "reclaim/cgroup.h"
#include "harness.h"
#include "unit/fake_tree.h"

/* === Parsers === */

FIXTURE_EMPTY(parse);

struct self_case {
	const char *line;
	enum cgroup_version version;
	const char *path;
};

static const struct self_case self_cases[] = {
	{ "4:memory:/a/b", CGROUP_V1, "/a/b" },
	{ "4:cpu,memory:/a", CGROUP_V1, "/a" },
	{ "4:memory,cpu:/", CGROUP_V1, "/" },
	{ "4:memory2:/a", CGROUP_NONE, "" },
	{ "9:name=systemd:/a", CGROUP_NONE, "" },
	{ "9:name=memory:/a", CGROUP_NONE, "" },
	{ "0::/user.slice/x:y", CGROUP_V2, "/user.slice/x:y" },
	{ "0::/../other", CGROUP_V2, "/../other" },
	{ "0::", CGROUP_NONE, "" },
	{ "nonsense", CGROUP_NONE, "" },
	{ "", CGROUP_NONE, "" },
};

TEST_F(parse, self_lines_are_told_apart)
{
	for (size_t i = 0; i < ARRAY_LEN(self_cases); i++) {
		const struct self_case *c = &self_cases[i];
		char line[64], *path = line;

		strcpy(line, c->line);
		EXPECT_EQ(c->version, cgroup_parse_self(line, &path)) {
			TH_LOG("line '%s'", c->line);
		}
		if (c->version != CGROUP_NONE)
			EXPECT_STREQ(c->path, path);
	}
}

struct mount_case {
	const char *line;
	int err;
	enum cgroup_version version;
	const char *root, *point;
};

static const struct mount_case mount_cases[] = {
	{ "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup "
	  "rw,memory", 0, CGROUP_V1, "/", "/sys/fs/cgroup/memory" },
	{ "35 31 0:32 /docker/x /m rw shared:9 master:1 - cgroup cgroup "
	  "rw,cpu,memory", 0, CGROUP_V1, "/docker/x", "/m" },
	{ "41 31 0:38 /../.. /u rw - cgroup2 cgroup2 rw", 0, CGROUP_V2,
	  "/../..", "/u" },
	{ "41 31 0:38 / /a\\040b\\134c rw - cgroup2 none rw", 0, CGROUP_V2,
	  "/", "/a b\\c" },
	{ "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", -ENOENT,
	  CGROUP_NONE, "", "" },
	{ "32 31 0:29 / /memory rw,memory - tmpfs memory rw,memory", -ENOENT,
	  CGROUP_NONE, "", "" },
	{ "32 31 0:29 / - cgroup2 none rw", -ENOENT, CGROUP_NONE, "", "" },
	{ "32 31 0:29 / /x rw cgroup2 none rw", -ENOENT, CGROUP_NONE, "", "" },
	{ "", -ENOENT, CGROUP_NONE, "", "" },
	{ " - cgroup2", -ENOENT, CGROUP_NONE, "", "" },
};

TEST_F(parse, mount_lines_are_told_apart)
{
	for (size_t i = 0; i < ARRAY_LEN(mount_cases); i++) {
		const struct mount_case *c = &mount_cases[i];
		struct cgroup_mount mount;
		char line[128];

		strcpy(line, c->line);
		ASSERT_EQ(c->err, cgroup_parse_mount(line, &mount)) {
			TH_LOG("line '%s'", c->line);
		}
		if (c->err)
			continue;
		EXPECT_EQ(c->version, mount.version);
		EXPECT_STREQ(c->root, mount.root);
		EXPECT_STREQ(c->point, mount.point);
	}
}

struct locate_case {
	const char *root, *path;
	int result;
	const char *rest;
};

static const struct locate_case locate_cases[] = {
	{ "/", "/", 0, "" },
	{ "/", "/a/b", 0, "/a/b" },
	{ "/a", "/a", 0, "" },
	{ "/a", "/a/b", 0, "/b" },
	{ "/a", "/ab", -ENOENT, "" },
	{ "/a/b", "/a", -ENOENT, "" },
	{ "/a", "/", -ENOENT, "" },
	{ "/..", "/", 1, "" },
	{ "/../..", "/", 2, "" },
	{ "/../..", "/a", 2, "/a" },
	{ "/../..", "/../x", 1, "/x" },
	{ "/..", "/../x", 0, "/x" },
	{ "/", "/../x", -ENOENT, "" },
	{ "/../y", "/../x", -ENOENT, "" },
	{ "/..a", "/", -ENOENT, "" },
};

TEST_F(parse, mount_roots_locate_paths)
{
	for (size_t i = 0; i < ARRAY_LEN(locate_cases); i++) {
		const struct locate_case *c = &locate_cases[i];
		const char *rest = "";

		EXPECT_EQ(c->result, cgroup_locate(c->root, c->path, &rest)) {
			TH_LOG("root '%s' path '%s'", c->root, c->path);
		}
		EXPECT_STREQ(c->rest, rest);
	}
}

TEST_F(parse, numbers_and_their_absence)
{
	uint64_t value = 7;

	EXPECT_EQ(0, cgroup_parse_number("4096\n", &value));
	EXPECT_EQ(4096u, value);
	EXPECT_EQ(0, cgroup_parse_number("max\n", &value));
	EXPECT_EQ(CGROUP_NO_LIMIT, value);
	EXPECT_EQ(0, cgroup_parse_number("9223372036854771712\n", &value));
	EXPECT_EQ(CGROUP_NO_LIMIT, value);
	EXPECT_EQ(-EINVAL, cgroup_parse_number("", &value));
	EXPECT_EQ(-EINVAL, cgroup_parse_number("-1", &value));
	EXPECT_EQ(-EINVAL, cgroup_parse_number("99999999999999999999", &value));
}

TEST_F(parse, keys_match_whole_words_at_the_start_of_a_line)
{
	const char *text = "low 1\noom 2\noom_kill 3\nxhigh 9\nhigh 4\nmax 5";

	EXPECT_EQ(2u, cgroup_parse_key(text, "oom"));
	EXPECT_EQ(3u, cgroup_parse_key(text, "oom_kill"));
	EXPECT_EQ(4u, cgroup_parse_key(text, "high"));
	EXPECT_EQ(5u, cgroup_parse_key(text, "max"));
	EXPECT_EQ(0u, cgroup_parse_key(text, "none"));
	EXPECT_EQ(0u, cgroup_parse_key("", "max"));
}

/* === Trees === */

FIXTURE(tree)
{
	struct fake_tree tree;
	struct cgroup_view view;
};

FIXTURE_SETUP(tree)
{
	ASSERT_TRUE(fake_tree_make(&self->tree));
}

FIXTURE_TEARDOWN(tree)
{
	EXPECT_TRUE(fake_tree_remove(&self->tree));
}

#define BELOW(which)	fake_tree_below(&self->tree, self->view.which.path)

TEST_F(tree, v2_is_found)
{
	fake_tree_put_proc(&self->tree, "0::/system.slice/a.service\n",
		 "20 1 0:20 / / rw - ext4 /dev/sda rw\n"
		 "31 20 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V2);
	EXPECT_STREQ("/sys/fs/cgroup/system.slice/a.service",
		     BELOW(memory));
	EXPECT_STREQ(self->view.memory.path, self->view.unified.path);
}

TEST_F(tree, hybrid_has_memory_on_v1_and_a_place_in_v2)
{
	fake_tree_put_proc(&self->tree, "4:memory:/box\n0::/tree\n",
		 "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
		 "41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V1);
	EXPECT_STREQ("/cg/memory/box", BELOW(memory));
	EXPECT_STREQ("/cg/unified/tree", BELOW(unified));
}

TEST_F(tree, v1_alone_has_no_place_in_v2)
{
	fake_tree_put_proc(&self->tree, "5:cpu:/x\n4:memory:/box\n",
		 "34 31 0:31 / /cg/cpu rw - cgroup cgroup rw,cpu\n"
		 "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V1);
	EXPECT_STREQ("/cg/memory/box", BELOW(memory));
	EXPECT_STREQ("", self->view.unified.path);
}

TEST_F(tree, a_read_only_mount_is_as_good)
{
	fake_tree_put_proc(&self->tree, "0::/box\n",
		 "31 20 0:28 /box /cg ro,nosuid - cgroup2 cgroup ro\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V2);
	EXPECT_STREQ("/cg", BELOW(memory));
}

/* A mount of the namespace's own, beside one from outside of it. */
TEST_F(tree, the_namespace_s_own_mount_needs_no_search)
{
	fake_tree_put_proc(&self->tree, "4:memory:/\n",
		 "51 47 0:32 /../../.. /old rw - cgroup cgroup rw,memory\n"
		 "63 43 0:32 / /cg rw - cgroup cgroup rw,memory\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V1);
	EXPECT_STREQ("/cg", BELOW(memory));
}

TEST_F(tree, a_move_is_seen_of_memory_and_v2_alone)
{
	fake_tree_put_proc(&self->tree, "5:cpu:/x\n4:memory:/box\n0::/t\n",
		 "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_FALSE(cgroup_has_moved(self->tree.top, &self->view));
	fake_tree_put(&self->tree, "/proc/thread-self/cgroup",
		      "5:cpu:/y\n4:memory:/box\n0::/t\n");
	EXPECT_FALSE(cgroup_has_moved(self->tree.top, &self->view));
	fake_tree_put(&self->tree, "/proc/thread-self/cgroup",
		      "5:cpu:/y\n4:memory:/box\n0::/u\n");
	EXPECT_TRUE(cgroup_has_moved(self->tree.top, &self->view));
	fake_tree_put(&self->tree, "/proc/thread-self/cgroup",
		      "5:cpu:/y\n4:memory:/bo\n0::/t\n");
	EXPECT_TRUE(cgroup_has_moved(self->tree.top, &self->view));
	fake_tree_put(&self->tree, "/proc/thread-self/cgroup", "");
	EXPECT_FALSE(cgroup_has_moved(self->tree.top, &self->view));
}

TEST_F(tree, views_are_equal_that_show_the_same)
{
	struct cgroup_view other;

	fake_tree_put_proc(&self->tree, "0::/a\n",
		 "31 20 0:28 / /cg rw - cgroup2 cgroup2 rw\n");
	cgroup_find(self->tree.top, &self->view);
	cgroup_find(self->tree.top, &other);
	EXPECT_TRUE(cgroup_view_equals(&self->view, &other));
	fake_tree_put(&self->tree, "/proc/thread-self/mountinfo",
		      "31 20 0:28 / /elsewhere rw - cgroup2 cgroup2 rw\n");
	cgroup_find(self->tree.top, &other);
	EXPECT_FALSE(cgroup_view_equals(&self->view, &other));
}

TEST_F(tree, bind_mounted_subtree_is_found)
{
	fake_tree_put_proc(&self->tree, "4:memory:/docker/abc\n",
		 "35 31 0:32 /docker/abc /cg/memory rw - cgroup cgroup "
		 "rw,memory\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V1);
	EXPECT_STREQ("/cg/memory", BELOW(memory));
}

TEST_F(tree, the_mount_that_shows_most_levels_is_taken)
{
	fake_tree_put_proc(&self->tree, "0::/a/b\n",
		 "35 31 0:32 /a/b /one rw - cgroup2 cgroup2 rw\n"
		 "36 31 0:32 / /two rw - cgroup2 cgroup2 rw\n"
		 "37 31 0:32 /a /three rw - cgroup2 cgroup2 rw\n"
		 "38 31 0:32 /c /four rw - cgroup2 cgroup2 rw\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_STREQ("/two/a/b", BELOW(memory));
}

TEST_F(tree, hidden_directories_are_searched)
{
	char self_pid[32];

	snprintf(self_pid, sizeof(self_pid), "1\n%d\n", (int)getpid());
	fake_tree_put_proc(&self->tree, "0::/\n",
		 "35 31 0:32 /../.. /cg rw - cgroup2 cgroup2 rw\n");
	fake_tree_put(&self->tree, "/cg/other/x/cgroup.procs", "1\n");
	fake_tree_put(&self->tree, "/cg/slice/y/cgroup.procs", "2\n3\n");
	fake_tree_put(&self->tree, "/cg/slice/mine/cgroup.procs", self_pid);
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_V2);
	EXPECT_STREQ("/cg/slice/mine", BELOW(memory));
}

TEST_F(tree, no_mount_has_a_reason)
{
	fake_tree_put_proc(&self->tree, "4:memory:/box\n0::/\n",
		 "20 1 0:20 / / rw - ext4 /dev/sda rw\n");
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_NONE);
	EXPECT_NE(NULL, strstr(self->view.why, "v1"));
}

TEST_F(tree, no_proc_has_a_reason)
{
	cgroup_find(self->tree.top, &self->view);
	EXPECT_TRUE(self->view.version == CGROUP_NONE);
	ASSERT_NE(NULL, self->view.why);
	EXPECT_STREQ("", self->view.unified.path);
}

TEST_F(tree, long_tables_and_longer_lines_are_read)
{
	static char mounts[100 * 1000];
	size_t len = 0;

	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(mounts + len, "%d 1 0:1 / /overlay%d rw "
				       "- overlay overlay rw,dir=%0200d\n", i,
				       i, i);
	len += (size_t)sprintf(mounts + len, "9 1 0:1 / /x rw - cgroup2 ");
	memset(mounts + len, 'y', 20000);
	len += 20000;
	strcpy(mounts + len, "\n10 1 0:1 / /cg rw - cgroup2 cgroup2 rw\n");
	fake_tree_put_proc(&self->tree, "0::/me\n", mounts);
	cgroup_find(self->tree.top, &self->view);
	EXPECT_STREQ("/cg/me", BELOW(memory));
}

TEST_F(tree, levels_end_at_the_mount)
{
	char path[256];

	fake_tree_put_proc(&self->tree, "0::/a/b\n",
		 "31 20 0:28 / /cg rw - cgroup2 cgroup2 rw\n");
	cgroup_find(self->tree.top, &self->view);
	ASSERT_EQ(0, cgroup_path(&self->view.memory, 0, "f", path, 256));
	EXPECT_STREQ("/cg/a/b/f", fake_tree_below(&self->tree, path));
	ASSERT_EQ(0, cgroup_path(&self->view.memory, 1, "f", path, 256));
	EXPECT_STREQ("/cg/a/f", fake_tree_below(&self->tree, path));
	ASSERT_EQ(0, cgroup_path(&self->view.memory, 2, "f", path, 256));
	EXPECT_STREQ("/cg/f", fake_tree_below(&self->tree, path));
	EXPECT_EQ(-ENOENT, cgroup_path(&self->view.memory, 3, "f", path, 256));
	EXPECT_EQ(-ENAMETOOLONG,
		  cgroup_path(&self->view.memory, 0, "f", path, 8));
}

TEST_HARNESS_MAIN
