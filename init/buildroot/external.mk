include $(sort $(wildcard $(BR2_EXTERNAL_METERD_PATH)/package/*/*.mk))
