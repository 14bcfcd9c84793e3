#!/usr/bin/env bash
# Makes what is given away, below target/dist or $DIST, with SHA256SUMS over all of it:
#   x86_64, aarch64, armv7   meterd-ARCH, static binaries for meters
#   tools                    meterctl and meter-conformance for a technician's x86-64 machine, static as well
#   sources                  the last commit with all its crates, the external tree for Buildroot with it in, the files of init/
# SQLite's C needs Debian's cross compilers: musl-tools, gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf with
# libc6-dev-armhf-cross. The same commit and compiler make the same bytes, in whatever folder they work.
#
# Usage: init/dist.sh [x86_64|aarch64|armv7|tools|sources]...     (all by default)
set -eu
cd "$(dirname "$0")/.."
[ "$#" -gt 0 ] || set -- x86_64 aarch64 armv7 tools sources
dist=${DIST:-$PWD/target/dist}

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
	flags="-C target-feature=+crt-static"
}

# A static binary of a package for one of the targets, under its own name.
build() {
	local arch=$1 package=$2 name=$3
	shift 3
	flags=''
	"$arch"
	rustup target list --installed | grep -qx "$target" || rustup target add "$target"
	# Where it was built is nobody's business, and would make every folder's binary another one.
	local variable=CARGO_TARGET_${target^^}_RUSTFLAGS
	export "${variable//-/_}=--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo $flags"
	cargo build --release --locked --package "$package" --bin "$package" --target "$target" "$@"
	cp "${CARGO_TARGET_DIR:-target}/$target/release/$package" "$dist/$name"
	if readelf -lW "$dist/$name" | grep -q INTERP; then
		echo "dist.sh: $name is not static" >&2 && exit 1
	fi
	echo "size: $name $(stat -c %s "$dist/$name") bytes"
}

tools() {
	build x86_64 meter-conformance meter-conformance-x86_64
	# Another binary of the same package as the service, with crates that the service has not.
	cargo build --release --locked --bin meterctl --features meterctl --target "$target"
	cp "${CARGO_TARGET_DIR:-target}/$target/release/meterctl" "$dist/meterctl-x86_64"
	echo "size: meterctl-x86_64 $(stat -c %s "$dist/meterctl-x86_64") bytes"
}

# The tree as it was committed; where there is no repository, as it is.
tree() {
	if git -C "$root" rev-parse HEAD >/dev/null 2>&1; then
		git -C "$root" archive HEAD
	else
		tar -C "$root" --exclude=./target --exclude=./fuzz/target --exclude=./meterd-state -c .
	fi
}

# Packs a folder below the current one, the same each time.
pack() {
	tar --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw --mtime="@$when" -cf - "$2" | gzip -n >"$dist/$1"
}

sources() {
	root=$PWD
	when=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)
	local version work name hash
	version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
	work=$(mktemp -d)
	name=meterd-$version
	mkdir "$work/$name"
	tree | tar -x -C "$work/$name"
	mv "$work/$name/init/buildroot" "$work/meterd-buildroot"
	mkdir "$work/meterd-init" && cp "$work/$name"/init/* "$work/meterd-init"
	rm -r "$work"/meterd-init/*.sh "$work"/meterd-init/*.py "$work/$name/fuzz/corpus"
	cargo vendor --quiet --locked --versioned-dirs --manifest-path "$work/$name/Cargo.toml" "$work/$name/VENDOR" >/dev/null
	# Cargo wants every crate of the lock file to be there; those of Windows are large, and their names are enough.
	for crate in "$work/$name"/VENDOR/windows*; do
		find "$crate" -type f ! -name Cargo.toml ! -name .cargo-checksum.json -delete
		mkdir -p "$crate/src" && : >"$crate/src/lib.rs"
		sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
	done
	mkdir "$work/$name/.cargo"
	# What Buildroot writes itself, for whoever builds without it.
	cat >"$work/$name/.cargo/config.toml" <<-'END'
		[source.crates-io]
		replace-with = "vendored-sources"
		[source.vendored-sources]
		directory = "VENDOR"
	END
	cd "$work"
	pack "$name.tar.gz" "$name"
	pack meterd-init.tar.gz meterd-init
	mkdir meterd-buildroot/dl && cp "$dist/$name.tar.gz" meterd-buildroot/dl
	hash=$(sha256sum "$dist/$name.tar.gz")
	echo "sha256  ${hash%% *}  $name.tar.gz" >>meterd-buildroot/package/meterd/meterd.hash
	pack meterd-buildroot.tar.gz meterd-buildroot
	cd "$root"
	rm -rf "$work"
}

mkdir -p "$dist"
for what in "$@"; do
	case $what in
	x86_64 | aarch64 | armv7) build "$what" meterd "meterd-$what" ;;
	tools | sources) "$what" ;;
	*) echo "dist.sh: $what is none of ours" >&2 && exit 2 ;;
	esac
done
cd "$dist"
sums=$(find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum)
echo "$sums" >SHA256SUMS
