/* A file of registers served by libmodbus, at first for any unit (TCP) or for the one that is named (RTU).
 * Usage: modbus_server tcp PORT BASE FILE | modbus_server rtu DEVICE BASE FILE UNIT */
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int die(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	static uint8_t bytes[2 * 65536];
	uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
	int over_tcp, base, count, i, length, listener = -1;
	modbus_mapping_t *map;
	modbus_t *link;
	FILE *file;

	if (argc < 5)
		return 2;
	over_tcp = strcmp(argv[1], "tcp") == 0;
	base = atoi(argv[3]);
	file = fopen(argv[4], "rb");
	if (!file)
		return die(argv[4]);
	count = (int)(fread(bytes, 1, sizeof bytes, file) / 2);
	map = modbus_mapping_new_start_address(0, 0, 0, 0, base, count, 0, 0);
	if (!map)
		return die("mapping");
	for (i = 0; i < count; i++)
		map->tab_registers[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
	if (over_tcp) {
		link = modbus_new_tcp("127.0.0.1", atoi(argv[2]));
		listener = modbus_tcp_listen(link, 4);
		if (listener < 0)
			return die("listen");
	} else {
		link = modbus_new_rtu(argv[2], 9600, 'N', 8, 1);
		modbus_set_slave(link, argc > 5 ? atoi(argv[5]) : 1);
		if (modbus_connect(link))
			return die(argv[2]);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (over_tcp && modbus_tcp_accept(link, &listener) < 0)
			return die("accept");
		for (;;) {
			length = modbus_receive(link, query);
			if (length > 0)
				modbus_reply(link, query, length, map);
			else if (length < 0 && over_tcp)
				break;
		}
		modbus_close(link);
	}
}
