#!/usr/bin/env bash
# Builds static binaries for meters into target/dist/meterd-ARCH and prints their sizes. SQLite's C needs Debian's cross
# compilers: musl-tools, gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf with libc6-dev-armhf-cross.
#
# Usage: init/dist.sh [x86_64|aarch64|armv7]...     (all by default)
set -eu
cd "$(dirname "$0")/.."
[ "$#" -gt 0 ] || set -- x86_64 aarch64 armv7

need() {
	command -v "$1" >/dev/null || { echo "dist.sh: $1 is missing (Debian: $2)" >&2 && exit 1; }
}

# rustup has no musl for armv7, so that one is linked with glibc, statically as well; it loads no modules and looks up
# names by itself, which the C library of such a binary could not do. 64-bit time and file offsets are a choice there,
# and SQLite needs both.
x86_64() {
	need musl-gcc musl-tools
	target=x86_64-unknown-linux-musl
}
aarch64() {
	need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
	target=aarch64-unknown-linux-musl
	# No Debian compiler for this musl: gcc's with musl's headers, and rustc brings musl itself for linking.
	tests/vm/packages.sh arm64
	local musl=$PWD/target/vm/arm64/root/usr/include/aarch64-linux-musl own
	own=$(aarch64-linux-gnu-gcc -print-file-name=include)
	export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
	export CFLAGS_aarch64_unknown_linux_musl="-nostdinc -isystem $musl -isystem $own"
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc
}
armv7() {
	need arm-linux-gnueabihf-gcc "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
	target=armv7-unknown-linux-gnueabihf
	export CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc
	export CFLAGS_armv7_unknown_linux_gnueabihf="-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64"
	export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
	export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUSTFLAGS="-C target-feature=+crt-static"
}

mkdir -p target/dist
for arch in "$@"; do
	case $arch in x86_64 | aarch64 | armv7) "$arch" ;; *) echo "dist.sh: $arch is none of ours" >&2 && exit 2 ;; esac
	rustup target list --installed | grep -qx "$target" || rustup target add "$target"
	cargo build --release --bin meterd --target "$target"
	cp "${CARGO_TARGET_DIR:-target}/$target/release/meterd" "target/dist/meterd-$arch"
	if readelf -lW "target/dist/meterd-$arch" | grep -q INTERP; then
		echo "dist.sh: meterd-$arch is not static" >&2 && exit 1
	fi
done
cd target/dist
sha256sum meterd-* >SHA256SUMS
for arch; do echo "size: meterd-$arch $(stat -c %s "meterd-$arch") bytes"; done
