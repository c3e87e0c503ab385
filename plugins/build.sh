#!/usr/bin/env bash
# Builds the example plugins and compares them with the committed ones. Says what it does, installs what it lacks.
#   plugins/build.sh                build, compare with plugins/examples/SHA256SUMS, exit 1 where they differ
#   plugins/build.sh --if-changed   only where sources or compilers are not those of the last time, as `make test` does
#   plugins/build.sh --update       build, then replace the committed components and their sums
#
# The same sources, lock files and compilers give the same bytes, wherever the checkout, the home directory or the
# registry's cache are. Rust is built with Debian's rustc-web, whose sources of std (rust-web-src) can be built for
# wasm32, and the linker that rustup's toolchain carries, which writes components; C and Zig with the Python package
# ziglang, AssemblyScript with the npm package assemblyscript, in the versions that requirements.txt and package.json
# pin. wasm-tools makes components of what is no component yet. Debian alone says which rustc-web there is: with another one
# than the sums were made with, the rules in Rust are compared by what they answer to their cases.
#
# The engine of rules in JavaScript is QuickJS, whose C sources cargo brings, and plugins/engines/js. It is committed, as `signet
# plugin build` has it in itself.
#
# Rules in JavaScript and Python carry an interpreter: 1 and 18 MB, Python's other bytes each time. They are not committed. `signet
# plugin build` makes them here, in their directories, and the tests of the whole system run their cases.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
tools=$root/.tools
made=$root/target/plugins/components
sums=plugins/examples/SHA256SUMS
rust=(claim-guard geo-fence mint-rate protected-artifact reviewed-workflow tenant-claims two-person-release)
others=(canary-share cdn-scope change-freeze network-lifetime)
interpreted=(claim-patterns claim-template)
# What tests and builds the rules here: the one of `make test`, which `make plugins` builds too.
signet=${SIGNET:-target/debug/signet}
# Those that `signet dev` has in its bundle too.
bundled=(claim-guard protected-artifact)
bundle=deploy/dev/bundle/plugins
# A stack of 32 KiB and one page of memory: what a call does not touch need not be cleared after it.
stack=32768
# An interpreter's functions have larger frames.
engine_stack=131072
engine=plugins/engines/js/engine.wasm

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

# The engine of rules in JavaScript, into $made/engine.wasm. What it imports of WASI no rule reaches: `signet plugin build` takes it away.
build_engine() {
  local version sources
  version=$(sed -n '/^name = "rquickjs-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' plugins/Cargo.lock)
  sources=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"rquickjs-sys-$version"/quickjs)
  [[ -f "$sources/quickjs.c" ]] || die "no sources of QuickJS in $sources: cargo fetch --manifest-path plugins/Cargo.toml brings them"
  (cd plugins/engines/js
    export ZIG_GLOBAL_CACHE_DIR=$root/target/plugins/zig ZIG_LOCAL_CACHE_DIR=$root/target/plugins/zig
    "$tools/guests/bin/python" -m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c23 -O2 -DNDEBUG -D_GNU_SOURCE -mbulk-memory \
      -I../../sdk/c "-I$sources" -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=$engine_stack \
      shim.c engine.c "$sources"/{quickjs,libregexp,libunicode,dtoa}.c -o "$made/engine.wasm")
}

# A rule with an interpreter, into its own directory.
build_interpreted() {
  PATH="$tools/guests/bin:$tools/guests-npm/node_modules/.bin:$PATH" "$signet" plugin build "plugins/examples/$1" >&2
}

# One sum over what lies in these files and directories but for what is built and what is read by people, and over these words.
inputs() { # WORDS PATH...
  local words=$1
  shift
  {
    echo "$words"
    find "$@" -type f -not -path '*/target/*' -not -path '*/__pycache__/*' -not -name '*.wasm' -not -name README.md -print0 |
      sort -z | xargs -0 sha256sum
  } | sha256sum
}

# Whether the last time is the same as this time, and its results still lie there.
is_done() { # STAMP INPUTS RESULT...
  [[ -f "$1" ]] && [[ "$(cat "$1")" == "$2 $(cat "${@:3}" 2>/dev/null | sha256sum)" ]]
}

remember() { # STAMP INPUTS RESULT...
  echo "$2 $(cat "${@:3}" | sha256sum)" > "$1"
}

# The cases of a rule, with the component that was just built.
answers() {
  local dir=$root/target/plugins/answers
  rm -rf "$dir"
  cp -r "plugins/examples/$1" "$dir"
  cp "$made/$1.wasm" "$dir/"
  "$signet" plugin test "$dir" >&2
}

# What `sha256sum --check` takes, in the directory of the examples.
sums_of_made() { # GUEST...
  local guest
  for guest in "$@"; do
    printf '%s  %s/%s.wasm\n' "$(sha256sum < "$made/$guest.wasm" | cut -d' ' -f1)" "$guest" "$guest"
  done | sort -k2
}

# The committed sums of these.
sums_of_committed() { # GUEST...
  local guest
  for guest in "$@"; do grep -F "  $guest/$guest.wasm" "$sums" || say "$sums has no $guest"; done | sort -k2
}

compare() { # COMPILER-OF-RUST
  local guest same=("${others[@]}")
  if [[ "$(sed -n 's/^# Rust: //p' "$sums")" == "$1" ]]; then
    same+=("${rust[@]}")
  else
    say "$1 is not what the sums were made with; comparing by cases: ${rust[*]}"
    for guest in "${rust[@]}"; do answers "$guest" || die "$guest does not answer as its cases say"; done
  fi
  diff <(sums_of_committed "${same[@]}") <(sums_of_made "${same[@]}") >&2 ||
    die "not the committed ones; if the sources were changed: plugins/build.sh --update"
  cmp -s "$made/engine.wasm" "$engine" || die "$engine is not what its sources make; if they were changed: plugins/build.sh --update"
  say "the same as the committed ones: ${same[*]} $engine"
}

# The components that are committed.
committed() { # OPTION
  local bin compiler guest now files=("$engine") stamp=target/plugins/committed.stamp
  for guest in "${rust[@]}" "${others[@]}"; do files+=("plugins/examples/$guest/$guest.wasm"); done
  bin=$(linkers)
  [[ -x "$bin/wasm-component-ld" ]] || die "no wasm-component-ld in $bin; update the toolchain with rustup"
  compiler="$(/usr/bin/rustc --version), $("$bin/wasm-component-ld" --version)"
  now=$(inputs "$compiler" plugins/{engines,examples,sdk,wit,Cargo.toml,Cargo.lock,requirements.txt,package.json,build.sh})
  if [[ "$1" == --if-changed ]] && is_done "$stamp" "$now" "${files[@]}"; then
    say "neither changed since they were compared: ${rust[*]} ${others[*]}"
    return
  fi
  say "building ${rust[*]} ${others[*]} with $compiler"
  build_rust "$bin"
  for guest in "${others[@]}"; do build_other "$guest"; done
  build_engine
  for guest in "${rust[@]}" "${others[@]}" engine; do
    if grep -qaF -e "$root" -e "$HOME/" "$made/$guest.wasm"; then die "$guest.wasm names a path of this machine"; fi
    say "$guest: $(stat -c %s "$made/$guest.wasm") bytes, sha256 $(sha256sum < "$made/$guest.wasm" | cut -d' ' -f1)"
  done
  if [[ "$1" == --update ]]; then
    for guest in "${rust[@]}" "${others[@]}"; do cp "$made/$guest.wasm" "plugins/examples/$guest/"; done
    cp "$made/engine.wasm" "$engine"
    for guest in "${bundled[@]}"; do cp "$made/$guest.wasm" "$bundle/"; done
    {
      echo "# Rust: $compiler"
      sums_of_made "${rust[@]}" "${others[@]}"
      echo "# Built anew and not committed, as they carry an interpreter: ${interpreted[*]}"
    } > "$sums"
    say "wrote plugins/examples/*/*.wasm, $bundle/, $engine and $sums"
  else
    compare "$compiler"
  fi
  remember "$stamp" "$now" "${files[@]}"
}

# The components that are not, of which two are built at a time.
uncommitted() { # OPTION
  local guest now builds=()
  for guest in "${interpreted[@]}"; do
    local dir=plugins/examples/$guest
    now=$(inputs "$guest" "$dir" plugins/{engines,wit,requirements.txt,package.json,build.sh} cli/src/plugin)
    if [[ "$1" == --if-changed ]] && is_done "target/plugins/$guest.stamp" "$now" "$dir/$guest.wasm"; then
      say "neither source nor compiler changed: $guest"
      continue
    fi
    say "building $guest"
    { build_interpreted "$guest" && remember "target/plugins/$guest.stamp" "$now" "$dir/$guest.wasm"; } &
    builds+=($!)
  done
  for guest in ${builds[@]+"${builds[@]}"}; do wait "$guest" || die "a rule with an interpreter is not built; what its compiler said is above"; done
}

main() {
  scripts/setup plugins
  [[ -x "$signet" ]] || die "no $signet: cargo build --locked --workspace --bins --tests makes it, as make plugins does"
  mkdir -p "$made"
  uncommitted "${1:-}"
  committed "${1:-}"
}

main "$@"
