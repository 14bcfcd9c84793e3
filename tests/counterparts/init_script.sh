#!/bin/sh
# The init script under BusyBox: its own shell and its own start-stop-daemon, in a folder of its own.
set -eu
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'PATH="$dir/bin" busybox ash "$dir/S50meterd" stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
passed=0
ok() { passed=$((passed + 1)); echo "ok    $1"; }

mkdir "$dir/bin"
for tool in busybox sh start-stop-daemon sleep rm printf cat; do ln -s "$(command -v busybox)" "$dir/bin/$tool"; done
sed -e "s|/usr/sbin/meterd|$PWD/target/release/meterd|" -e "s|/etc/meterd/meterd.json|$dir/meterd.json|" \
	-e "s|/var/run/meterd.pid|$dir/meterd.pid|" init/S50meterd >"$dir/S50meterd"
chmod +x "$dir/S50meterd"
sed -i "1s|.*|#!$dir/bin/sh|" "$dir/S50meterd"
cat >"$dir/meterd.json" <<EOF
{ "listen": ["127.0.0.1:18089"], "state_dir": "$dir/state" }
EOF
await() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		if run status 2>/dev/null; then return; fi
		sleep 0.5
	done
}
run() { PATH="$dir/bin" busybox ash "$dir/S50meterd" "$1"; }

run start
await
run status && ok "start, then status answers"
run reload && run status && ok "reload keeps it running"
service=$(pgrep -P "$(cat "$dir/meterd.pid")" meterd)
kill -KILL "$service"
sleep 2
await
[ "$service" != "$(pgrep -P "$(cat "$dir/meterd.pid")" meterd)" ] && run status && ok "a service that died is started again"
pid=$(cat "$dir/meterd.pid")
run restart
await
[ "$pid" != "$(cat "$dir/meterd.pid")" ] && run status && ok "restart makes a new process"
run stop
if run status 2>/dev/null; then echo "FAIL  stop"; exit 1; fi
ok "stop ends it"
sed -e "s|/usr/sbin/meterd|$PWD/target/release/meterd|" -e "s|/etc/meterd/meterd.json|$dir/meterd.json|" \
	-e 's|--syslog||' init/S20factory-restore >"$dir/S20factory-restore"
before=$(ls "$dir/state")
PATH="$dir/bin" busybox ash "$dir/S20factory-restore" start
[ "$before" = "$(ls "$dir/state")" ] && ok "the boot step does nothing without an order"
echo 1.5 >"$dir/state/factory-restore"
PATH="$dir/bin" busybox ash "$dir/S20factory-restore" start
[ "$(ls "$dir/state")" = "$(printf 'boot.json\nlock')" ] && ok "and removes everything with one"
echo '{ "listn": [] }' >"$dir/meterd.json"
if run start 2>/dev/null; then echo "FAIL  a broken configuration starts"; exit 1; fi
ok "a broken configuration is refused at start"
echo "$passed passed, 0 failed"
