# SPDX-License-Identifier: MIT
#
# ebbmalloc - Commands that are quiet, recorded, and repeated when they change
#
# A command is a pair of variables: `cmd_NAME` is what runs, `quiet_cmd_NAME`
# is what one sees of it.  A rule written
#
#	$(O)/x.o: x.c FORCE
#		$(call if_changed,NAME)
#
# runs cmd_NAME if the target is missing, a prerequisite is newer, or the
# command differs from the one that made the target.  That one is in .x.o.cmd
# beside it, as a make variable; the file is empty while the command runs, so
# that a target whose making was interrupted is made again.

# The defaults of make's own rules and variables are of no use here.
MAKEFLAGS += --no-builtin-rules --no-print-directory

export V ?= 0
Q := $(if $(filter 1,$(V)),,@)
silent := $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS))))

# The sidecar of target $(1) with suffix $(2)
sidecar = $(dir $(1)).$(notdir $(1)).$(2)

# What to print of a command: all (V=1), its name (and why: V=2), or nothing
say = $(if $(silent),,$(if $(filter 1,$(V)),$(cmd_$(1)),$(strip_quiet)))
strip_quiet = $(if $(quiet_cmd_$(1)),  $(quiet_cmd_$(1))$(if \
	$(filter 2,$(V)),  - $(because)))
escape = '$(subst ','\'',$(1))'
echo_cmd = $(if $(call say,$(1)),echo $(call escape,$(call say,$(1)));)

# $(call cmd,NAME): say it and run it
cmd = @$(echo_cmd) $(cmd_$(1))

same = $(and $(findstring <$(1)>,<$(2)>),$(findstring <$(2)>,<$(1)>))
newer = $(filter-out FORCE $(PHONY),$?)
command_same = $(call same,$(strip $(cmd_$(1))),$(strip $(value saved_$@)))
why = $(if $(wildcard $@),$(newer)$(if $(command_same),,command),missing)
because = $(if $(wildcard $@),$(if $(newer),newer: $(newer),another \
	command),missing)

define record
$(file >$(call sidecar,$@,cmd))$(file >$(call sidecar,$@,new),define saved_$@
$(strip $(cmd_$(1)))
endef)
endef

# $(call if_changed,NAME)
if_changed = $(if $(why),$(call record,$(1))@set -e; $(echo_cmd) \
	$(cmd_$(1)); mv -f $(call sidecar,$@,new) $(call sidecar,$@,cmd),@:)

# $(call filechk,NAME): the output of cmd_NAME becomes $@ if it differs
define filechk
@set -e; mkdir -p $(@D); { $(cmd_$(1)); } >$@.new; \
if cmp -s $@ $@.new; then rm -f $@.new; \
else $(if $(silent),,echo '  GEN     $(@:$(O)/%=%)';) mv -f $@.new $@; fi
endef

# $(call recorded,DIRECTORIES): read what made the targets there, and from what
recorded = $(wildcard $(foreach d,$(1),$(d)/.*.cmd $(d)/.*.d))

PHONY += FORCE
FORCE:

.DELETE_ON_ERROR:
.SUFFIXES:
