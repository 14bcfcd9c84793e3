#!/bin/sh
# The init scripts under BusyBox: its own shell and its own start-stop-daemon, in a folder of its own.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'PATH="$dir/bin" busybox ash "$dir/S50meterd" stop >/dev/null 2>&1; rm -rf "$dir"' EXIT
passed=0 failed=0

# A check's name, and the command that has to succeed; `not` turns that round.
check() {
	name=$1
	shift
	if "$@"; then
		passed=$((passed + 1)) && echo "ok    $name"
	else
		failed=$((failed + 1)) && echo "FAIL  $name: $*"
	fi
}
not() { ! "$@"; }
run() { PATH="$dir/bin" busybox ash "$dir/S50meterd" "$1"; }
boot_step() { PATH="$dir/bin" busybox ash "$dir/S20factory-restore" start; }
await() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		if run status 2>/dev/null; then return; fi
		sleep 0.5
	done
}
supervisor() { cat "$dir/meterd.pid"; }
supervisors() { pgrep -f "$dir/S50meterd supervise"; }
service() { pgrep -P "$(supervisor)" meterd; }
# What the commands below are about, and nothing else, on one line.
state() { find "$dir/state" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' '; }

METERD=${METERD:-$PWD/target/release/meterd}
if [ ! -x "$METERD" ]; then echo "FAIL  $METERD is missing" && exit 1; fi
mkdir "$dir/bin"
for tool in busybox sh start-stop-daemon sleep rm printf cat tr; do ln -s "$(command -v busybox)" "$dir/bin/$tool"; done
for script in S50meterd S20factory-restore; do
	sed -e "1s|.*|#!$dir/bin/sh|" -e "s|/usr/sbin/meterd|$METERD|" -e "s|/etc/meterd/meterd.json|$dir/meterd.json|" \
		-e "s|/var/run/meterd.pid|$dir/meterd.pid|" "init/$script" >"$dir/$script"
	chmod +x "$dir/$script"
done
# The boot step would tell the machine's own syslog.
sed -i 's| --syslog||' "$dir/S20factory-restore"
cat >"$dir/meterd.json" <<END
{ "listen": ["127.0.0.1:18089"], "state_dir": "$dir/state" }
END

check "start succeeds" run start
await
check "then status answers" run status
first=$(service)
check "there is one service" [ -n "$first" ]
before=$(supervisor)
check "start once more succeeds" run start
check "and starts no second supervisor" [ "$(supervisors)" = "$before" ]
check "nor another service" [ "$(service)" = "$first" ]
check "reload succeeds" run reload
sleep 1
check "and keeps it running" run status
check "in the same process" [ "$(service)" = "$first" ]
kill -KILL "$first"
sleep 2
await
check "a service that died is started again" run status
check "as a new process" [ -n "$(service)" -a "$(service)" != "$first" ]
before=$(supervisor)
check "restart succeeds" run restart
await
check "and makes a new supervisor" [ "$(supervisor)" != "$before" ]
check "and status answers" run status
last=$(service)
check "stop succeeds" run stop
check "after it status does not answer" not run status
check "and the process is gone" not kill -0 "$last" 2>/dev/null
check "and so is every supervisor" [ -z "$(supervisors)" ]

# A number that was left in the pidfile, and is somebody else's now.
sleep 300 &
stranger=$!
echo "$stranger" >"$dir/meterd.pid"
check "stop succeeds with a pidfile that was left behind" run stop
check "and spares whose number it is now" kill -0 "$stranger"
echo "$stranger" >"$dir/meterd.pid"
check "start is not misled by it" run start
await
check "and status answers" run status
check "reload reaches the service" run reload
check "and not the other" kill -0 "$stranger"
check "stop ends it" run stop
check "and nothing of it is left" [ -z "$(supervisors)" ]
check "reload without a service fails" not run reload
kill "$stranger"
wait "$stranger" 2>/dev/null
echo "$stranger" >"$dir/meterd.pid"
check "a number that is nobody's is no reason to complain" [ -z "$(run stop 2>&1 >/dev/null)" ]

# The boot's number is not this boot's, so the order was given before the machine last started.
order() { echo "{\"time\": \"17.5\", \"boot\": \"$1\"}" >"$dir/state/factory-restore"; }
before=$(state)
check "there is something to lose" [ "${before#*meter.db}" != "$before" ]
check "without an order the boot step succeeds" boot_step
check "and does nothing" [ "$(state)" = "$before" ]
order "$(cat /proc/sys/kernel/random/boot_id)"
check "an order of this boot waits for the next" boot_step
check "and nothing is gone" [ "$(state)" != "$before" -a "$(state | sed 's/factory-restore //')" = "$before" ]
order "an earlier one"
check "one of an earlier boot is carried out" boot_step
check "and everything is gone" [ "$(state)" = "boot.json lock " ]

echo '{ "listn": [] }' >"$dir/meterd.json"
check "a broken configuration is refused at start" not run start 2>/dev/null
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
