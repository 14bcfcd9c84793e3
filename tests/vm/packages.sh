#!/usr/bin/env bash
# Fetches the Debian packages that a meter of one architecture is made of and unpacks them below target/vm/ARCH/root.
# Nothing is installed: apt works on a state of its own, so the host's packages and services stay as they are.
#
# Usage: tests/vm/packages.sh amd64|armhf|arm64     (arm64: only what the cross build needs)
set -eu
cd "$(dirname "$0")/../.."
arch=${1:?which architecture?}
case $arch in
amd64) kernel=linux-image-amd64 plain=(busybox-static) programs=(chrony linuxptp hostapd wpasupplicant iw) ;;
# Bookworm's BusyBox for armhf ends in 2038; the next release's has 64-bit time, and needs nothing else of it.
armhf) kernel=linux-image-armmp plain=(busybox-static/trixie) programs=() ;;
arm64) kernel='' plain=(musl-dev:arm64 qemu-user-static:amd64) programs=() ;;
*) echo "packages.sh: $arch is no architecture of ours" >&2 && exit 2 ;;
esac

home=$PWD/target/vm/$arch
key=$(sha256sum tests/vm/packages.sh | cut -d' ' -f1)
if [ "$(cat "$home/stamp" 2>/dev/null)" = "$key" ]; then exit 0; fi

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$home"/apt/lists/partial "$home"/apt/cache/archives/partial "$home/debs"
: >"$home/apt/status"
for suite in bookworm trixie; do
	echo "deb [arch=amd64,$arch signed-by=$keyring] http://deb.debian.org/debian $suite main"
done >"$home/apt/sources.list"
# An empty status file: what the host has installed must not be left out.
cat >"$home/apt/conf" <<END
Dir::State "$home/apt"; Dir::State::status "$home/apt/status"; Dir::Cache "$home/apt/cache";
Dir::Etc::sourcelist "$home/apt/sources.list"; Dir::Etc::sourceparts "/dev/null"; APT::Sandbox::User "";
APT::Architecture "$arch"; APT::Architectures { "$arch"; "amd64"; }; APT::Default-Release "bookworm";
Acquire::Retries "3";
END
export APT_CONFIG=$home/apt/conf
apt-get update -q

# The kernel's meta package names the real one; of what the programs need, the libraries are enough.
if [ -n "$kernel" ]; then
	plain+=("$(apt-cache depends "$kernel" | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')")
fi
if [ "${#programs[@]}" -gt 0 ]; then
	mapfile -t libraries < <(apt-get install -s -q --no-install-recommends "${programs[@]}" | awk '/^Inst lib/ {print $2}')
	plain+=("${programs[@]}" "${libraries[@]}")
fi
(cd "$home/debs" && apt-get download -q "${plain[@]}")

fresh=$(mktemp -d "$home/unpack.XXXXXX")
for package in "${plain[@]}"; do
	# A package of another version than the index names may be left from an earlier run: the newest counts.
	name=${package%%[:/]*}
	dpkg -x "$(find "$home/debs" -name "${name}_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)" "$fresh"
done
if [ -d "$home/root" ]; then mv "$home/root" "$home/old.$$"; fi
mv "$fresh" "$home/root"
if [ -d "$home/old.$$" ]; then rm -r "$home/old.$$"; fi
chmod 755 "$home/root"
echo "$key" >"$home/stamp"
echo "packages of $arch: ${#plain[@]} unpacked below target/vm/$arch/root"
