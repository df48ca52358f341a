# SPDX-License-Identifier: MIT
#
# ebbmalloc - From one source file to one output
#
# Included with $(dir), its $(out), and $(area), which names the flags.

depfile = -MMD -MP -MT $@ -MF $(call sidecar,$@,d)
extra = $(ccflags-y) $(CFLAGS_$(basename $(@F)).o)
c_flags = $($(area)_CFLAGS) $(extra) $(depfile)
cxx_flags = -std=gnu++17 $(filter-out -std=% -Wstrict-prototypes \
	-Wmissing-prototypes,$($(area)_CFLAGS)) $(extra) $(depfile)

quiet_cmd_cc_o_c   = CC      $(@:$(O)/%=%)
      cmd_cc_o_c   = $(CC) $(c_flags) -c -o $@ $<$(if $(filter \
	$(@F),$(hot-y)), && $(OBJCOPY) --rename-section .text=.text.hot $@)
quiet_cmd_cxx_o_cc = CXX     $(@:$(O)/%=%)
      cmd_cxx_o_cc = $(CXX) $(cxx_flags) -c -o $@ $<
quiet_cmd_cpp_i_c  = CPP     $(@:$(O)/%=%)
      cmd_cpp_i_c  = $(CC) $(c_flags) -E -o $@ $<
quiet_cmd_cc_s_c   = CC      $(@:$(O)/%=%)
      cmd_cc_s_c   = $(CC) $(c_flags) -g0 -S -o $@ $<

$(out)/%.o: $(dir)/%.c FORCE
	$(call if_changed,cc_o_c)

$(out)/%.o: $(dir)/%.cc FORCE
	$(call if_changed,cxx_o_cc)

$(out)/%.i: $(dir)/%.c FORCE
	$(call if_changed,cpp_i_c)

$(out)/%.s: $(dir)/%.c FORCE
	$(call if_changed,cc_s_c)
