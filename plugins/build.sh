#!/usr/bin/env bash
# Builds the example plugins and compares them with the committed ones. Says what it does, installs what it lacks.
#   plugins/build.sh            build, compare with plugins/examples/SHA256SUMS, exit 1 where they differ
#   plugins/build.sh --update   build, then replace the committed components and their sums
#
# The same sources, lock file and compiler give the same bytes, wherever the checkout, the home directory or the
# registry's cache are. The compiler is Debian's rustc-web, whose sources of std (rust-web-src) can be built for
# wasm32; the linker is the one that rustup's toolchain carries, which writes components.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
bundle=deploy/dev/bundle/plugins
sums=plugins/examples/SHA256SUMS
guests=(claim-guard protected-artifact)

say() { printf 'plugins: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

install_compiler() {
  [[ -x /usr/bin/rustc && -d /usr/lib/rustlib/src/rust/library ]] && return 0
  local line="apt-get install -y --no-install-recommends rustc-web rust-web-src" sudo=()
  command -v apt-get >/dev/null 2>&1 || die "needs Debian's rustc-web and rust-web-src (a rustc in /usr/bin with std's sources)"
  if [[ $(id -u) != 0 ]]; then
    { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; } || die "run this as root, then start again:  $line"
    sudo=(sudo)
  fi
  say "$line"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends rustc-web rust-web-src >/dev/null
}

# The directory of rustup's own linkers, for the toolchain that rust-toolchain.toml names.
linkers() {
  local sysroot host
  sysroot=$("${CARGO_HOME:-$HOME/.cargo}/bin/rustc" --print sysroot) || die "no rustup toolchain: install rustup, then start again"
  host=$("${CARGO_HOME:-$HOME/.cargo}/bin/rustc" --print host-tuple)
  printf '%s/lib/rustlib/%s/bin' "$sysroot" "$host"
}

build() {
  local bin=$1 flags registry
  # A stack of 32 KiB and one page of memory: what a call does not touch need not be cleared after it.
  flags="--remap-path-prefix=$root=/signet -Clink-arg=--wasi-adapter=none -Clink-arg=-zstack-size=32768"
  for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do flags+=" --remap-path-prefix=$registry=/registry"; done
  (cd plugins &&
    PATH="$bin/gcc-ld:$bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_INCREMENTAL=0 \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-component-ld \
      "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" build --quiet --release --locked -Zbuild-std=std,panic_abort \
      --target wasm32-unknown-unknown --target-dir "$root/target/plugins")
}

main() {
  install_compiler
  local bin compiler guest out made=target/plugins/components
  bin=$(linkers)
  [[ -x "$bin/wasm-component-ld" ]] || die "no wasm-component-ld in $bin; update the toolchain with rustup"
  compiler="$(/usr/bin/rustc --version), $("$bin/wasm-component-ld" --version)"
  say "building ${guests[*]} with $compiler"
  "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" fetch --quiet --locked --manifest-path plugins/Cargo.toml
  build "$bin"
  mkdir -p "$made"
  for guest in "${guests[@]}"; do
    out="target/plugins/wasm32-unknown-unknown/release/${guest//-/_}.wasm"
    if grep -qaF -e "$root" -e "$HOME/" "$out"; then die "$out names a path of this machine"; fi
    cp "$out" "$made/$guest.wasm"
    say "$guest: $(stat -c %s "$out") bytes, sha256 $(sha256sum "$out" | cut -d' ' -f1)"
  done
  if [[ "${1:-}" == --update ]]; then
    mkdir -p "$bundle"
    for guest in "${guests[@]}"; do cp "$made/$guest.wasm" "$bundle/"; done
    { echo "# $compiler"; (cd "$made" && sha256sum "${guests[@]/%/.wasm}"); } > "$sums"
    say "wrote $bundle/ and $sums"
  elif (cd "$made" && sha256sum --check --quiet "$root/$sums") && (cd "$bundle" && sha256sum --check --quiet "$root/$sums"); then
    say "the same as the committed ones"
  else
    die "not the committed ones, which were built with: $(sed -n 's/^# //p' "$sums"); if the sources were changed: plugins/build.sh --update"
  fi
}

main "$@"
