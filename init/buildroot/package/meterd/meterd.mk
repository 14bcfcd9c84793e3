################################################################################
#
# meterd
#
################################################################################

METERD_VERSION = 0.1.0
# Beside this tree, where `just dist` puts it; its crates are in it, so nothing is downloaded.
METERD_SITE = file://$(BR2_EXTERNAL_METERD_PATH)/dl
METERD_SOURCE = meterd-$(METERD_VERSION).tar.gz
METERD_LICENSE = MIT or Apache-2.0
METERD_LICENSE_FILES = LICENSE

# SQLite needs both on 32-bit targets.
METERD_CARGO_ENV = CFLAGS="$(TARGET_CFLAGS) -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64"
METERD_CARGO_BUILD_OPTS = --package meterd --bin meterd

METERD_PROFILE = $(if $(BR2_ENABLE_DEBUG),debug,release)

# `cargo install` would put the daemon into /usr/bin.
define METERD_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/$(METERD_PROFILE)/meterd $(TARGET_DIR)/usr/sbin/meterd
	$(INSTALL) -D -m 0644 $(@D)/init/meterd.json $(TARGET_DIR)/etc/meterd/meterd.json
endef

ifeq ($(BR2_PACKAGE_METERD_RAUC),y)
define METERD_INSTALL_RAUC
	$(INSTALL) -D -m 0755 $(@D)/init/install-rauc $(TARGET_DIR)/usr/libexec/meterd/install-rauc
endef
METERD_POST_INSTALL_TARGET_HOOKS += METERD_INSTALL_RAUC
endif

ifeq ($(BR2_PACKAGE_METERD_SWUPDATE),y)
define METERD_INSTALL_SWUPDATE
	$(INSTALL) -D -m 0755 $(@D)/init/install-swupdate $(TARGET_DIR)/usr/libexec/meterd/install-swupdate
endef
METERD_POST_INSTALL_TARGET_HOOKS += METERD_INSTALL_SWUPDATE
endif

define METERD_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/init/S20factory-restore $(TARGET_DIR)/etc/init.d/S20factory-restore
	$(INSTALL) -D -m 0755 $(@D)/init/S50meterd $(TARGET_DIR)/etc/init.d/S50meterd
endef

define METERD_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/init/meterd.service $(TARGET_DIR)/usr/lib/systemd/system/meterd.service
endef

# The user of the configuration, without a home or a shell; the groups of serial ports and of the supplicant's socket.
define METERD_USERS
	meterd -1 meterd -1 * - - dialout,netdev Command service of the meter
endef

define METERD_PERMISSIONS
	/var/lib/meterd d 0700 meterd meterd - - - - -
endef

# What it confines itself with, and the frames of HomePlug.
define METERD_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP_FILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECURITY)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECURITY_LANDLOCK)
	$(call KCONFIG_ENABLE_OPT,CONFIG_PACKET)
endef

$(eval $(cargo-package))
