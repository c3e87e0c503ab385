#!/usr/bin/env bash
# Builds the example plugins and compares them with the committed ones. Says what it does, installs what it lacks.
#   plugins/build.sh            build, compare with plugins/examples/SHA256SUMS, exit 1 where they differ
#   plugins/build.sh --update   build, then replace the committed components and their sums
#
# The same sources, lock files and compilers give the same bytes, wherever the checkout, the home directory or the
# registry's cache are. Rust is built with Debian's rustc-web, whose sources of std (rust-web-src) can be built for
# wasm32, and the linker that rustup's toolchain carries, which writes components; C and Zig with the Python package
# ziglang, AssemblyScript with the npm package assemblyscript, in the versions that requirements.txt and package.json
# pin. wasm-tools makes components of what is no component yet.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
tools=$root/.tools
made=$root/target/plugins/components
sums=plugins/examples/SHA256SUMS
rust=(claim-guard geo-fence mint-rate protected-artifact reviewed-workflow tenant-claims two-person-release)
others=(canary-share cdn-scope change-freeze network-lifetime)
# Those that `signet dev` has in its bundle too.
bundled=(claim-guard protected-artifact)
bundle=deploy/dev/bundle/plugins
# A stack of 32 KiB and one page of memory: what a call does not touch need not be cleared after it.
stack=32768

say() { printf 'plugins: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The directory of rustup's own linkers, for the toolchain that rust-toolchain.toml names.
linkers() {
  local sysroot host
  sysroot=$("${CARGO_HOME:-$HOME/.cargo}/bin/rustc" --print sysroot) || die "no rustup toolchain: install rustup, then start again"
  host=$("${CARGO_HOME:-$HOME/.cargo}/bin/rustc" --print host-tuple)
  printf '%s/lib/rustlib/%s/bin' "$sysroot" "$host"
}

# All guests in Rust, into $made/NAME.wasm.
build_rust() {
  local bin=$1 flags registry guest
  flags="--remap-path-prefix=$root=/signet -Clink-arg=--wasi-adapter=none -Clink-arg=-zstack-size=$stack"
  for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do flags+=" --remap-path-prefix=$registry=/registry"; done
  "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" fetch --quiet --locked --manifest-path plugins/Cargo.toml
  (cd plugins &&
    PATH="$bin/gcc-ld:$bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_INCREMENTAL=0 \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-component-ld \
      "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" build --quiet --release --locked --lib -Zbuild-std=std,panic_abort \
      --target wasm32-unknown-unknown --target-dir "$root/target/plugins")
  for guest in "${rust[@]}"; do
    cp "target/plugins/wasm32-unknown-unknown/release/${guest//-/_}.wasm" "$made/$guest.wasm"
  done
}

# One guest in another language, into $made/NAME.wasm: a core module by the flags of `signet plugin build`, then a component.
build_other() {
  local guest=$1 module=$root/target/plugins/module.wasm
  (cd "plugins/examples/$guest"
    export ZIG_GLOBAL_CACHE_DIR=$root/target/plugins/zig ZIG_LOCAL_CACHE_DIR=$root/target/plugins/zig
    local zig=("$tools/guests/bin/python" -m ziglang)
    case "$(echo rule.*)" in
      rule.wat) "$tools/guests/bin/wasm-tools" parse rule.wat -o "$module" ;;
      rule.c) "${zig[@]}" cc -target wasm32-freestanding -Os -std=c11 -Wall -Werror -ffreestanding -nostdlib -mbulk-memory \
        -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=$stack rule.c -o "$module" ;;
      rule.zig) "${zig[@]}" build-exe rule.zig -target wasm32-freestanding -OReleaseSmall -fno-entry -rdynamic \
        --stack $stack "-femit-bin=$module" ;;
      rule.ts) "$tools/guests-npm/node_modules/.bin/asc" rule.ts --runtime stub --use abort= -Osize --noAssert -o "$module" ;;
      *) die "plugins/examples/$guest has no source that is known" ;;
    esac)
  "$tools/guests/bin/wasm-tools" component embed plugins/wit --world rule "$module" -o "$module"
  "$tools/guests/bin/wasm-tools" component new "$module" -o "$made/$guest.wasm"
}

# What `sha256sum --check` takes, in the directory of the examples.
sums_of_made() {
  local guest
  for guest in "${rust[@]}" "${others[@]}"; do
    printf '%s  %s/%s.wasm\n' "$(sha256sum < "$made/$guest.wasm" | cut -d' ' -f1)" "$guest" "$guest"
  done | sort -k2
}

main() {
  scripts/setup plugins
  local bin compilers guest
  bin=$(linkers)
  [[ -x "$bin/wasm-component-ld" ]] || die "no wasm-component-ld in $bin; update the toolchain with rustup"
  compilers="$(/usr/bin/rustc --version), $("$bin/wasm-component-ld" --version), ziglang and wasm-tools $(tr '\n' ' ' < plugins/requirements.txt)"
  compilers+="assemblyscript $("$tools/guests-npm/node_modules/.bin/asc" --version)"
  say "building ${rust[*]} ${others[*]} with $compilers"
  mkdir -p "$made"
  build_rust "$bin"
  for guest in "${others[@]}"; do build_other "$guest"; done
  for guest in "${rust[@]}" "${others[@]}"; do
    if grep -qaF -e "$root" -e "$HOME/" "$made/$guest.wasm"; then die "$guest.wasm names a path of this machine"; fi
    say "$guest: $(stat -c %s "$made/$guest.wasm") bytes, sha256 $(sha256sum < "$made/$guest.wasm" | cut -d' ' -f1)"
  done
  if [[ "${1:-}" == --update ]]; then
    for guest in "${rust[@]}" "${others[@]}"; do cp "$made/$guest.wasm" "plugins/examples/$guest/"; done
    for guest in "${bundled[@]}"; do cp "$made/$guest.wasm" "$bundle/"; done
    { echo "# $compilers"; sums_of_made; } > "$sums"
    say "wrote plugins/examples/*/*.wasm, $bundle/ and $sums"
  elif diff <(grep -v '^#' "$sums") <(sums_of_made) >&2; then
    say "the same as the committed ones"
  else
    die "not the committed ones, which were built with: $(sed -n 's/^# //p' "$sums"); if the sources were changed: plugins/build.sh --update"
  fi
}

main "$@"
