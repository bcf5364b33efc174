#!/bin/sh
# All checks of the project, on a fresh Debian with only a Rust toolchain: ./test.sh
# Installs what the tests need by apt (as root or by sudo), leaves no daemon running, and counts what was skipped.
set -eu
cd "$(dirname "$0")"
# The random families and inputs of the property tests are the same in each run, so that a failure can be replayed;
# PROPTEST_RNG_SEED and PROPTEST_CASES of the caller's choice search on.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-20261124}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" DEBIAN_FRONTEND=noninteractive
log=target/test.log
mkdir -p target

step() { printf '\n== %s\n' "$*"; "$@"; }

# Debian's servers live in folders that are not in everyone's PATH.
PATH="$PATH:/usr/sbin:/sbin"
for folder in /usr/lib/postgresql/*/bin; do [ -d "$folder" ] && PATH="$PATH:$folder"; done
export PATH

# program:package, for all that tests start or are built with.
needed="gcc:gcc curl:curl python3:python3 setsid:util-linux unshare:util-linux ps:procps nginx:nginx
redis-server:redis-server postgres:postgresql node:nodejs nats-server:nats-server ip:iproute2 sqlite3:sqlite3"

missing() {
    for pair in $needed; do command -v "${pair%%:*}" >/dev/null 2>&1 || echo "${pair##*:}"; done | sort -u
}

# The packages of servers start them at once; a policy-rc.d that says no (101) keeps them from it.
install() {
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null &&
        $sudo chmod 755 "$policy" && made_policy=yes; }
    # shellcheck disable=SC2086
    $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends "$@" >target/apt.log 2>&1 ||
        echo "apt-get could not install: $*"
    [ -z "${made_policy:-}" ] || $sudo rm -f "$policy"
}

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
    sudo=none
    [ "$(id -u)" != 0 ] || sudo=
    [ "$sudo" != none ] || ! sudo -n true 2>/dev/null || sudo="sudo -n env DEBIAN_FRONTEND=noninteractive"
    if [ "$sudo" != none ] && command -v apt-get >/dev/null; then
        printf '\n== apt-get install %s\n' "$packages"
        # shellcheck disable=SC2086
        install $packages
    fi
    packages=$(missing | tr '\n' ' ')
    [ -z "$packages" ] || echo "missing, so their tests are skipped: $packages"
fi

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
step cargo clippy --package doula-host --no-default-features --all-targets --locked -- -D warnings
step cargo clippy --package doula-host --no-default-features --features tokio --all-targets --locked -- -D warnings
step env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet
# In the workspace the features unite and doula-init is an ordinary program; this is the one for containers.
step cargo build --profile tiny --package doula-init --locked
# doula as one static file. It would stand where the tests look for the ordinary one, so it gets a place of its own.
step cargo rustc --bin doula --locked -- -C target-feature=+crt-static
mkdir -p target/static && cp target/debug/doula target/static/doula
if command -v cargo-deny >/dev/null 2>&1; then
    step cargo deny --workspace check bans licenses sources
else
    echo "cargo-deny is not installed: its checks of licences and duplicates are skipped (tests/tidy.rs counts crates)"
fi

# The default build has no tokio in it, so that its tests are here.
step cargo test --package doula-host --no-default-features --features tokio --test tokio --locked --quiet

# The kernel on paper knows no operating system: it is also built for one that has none.
if ls "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib/"libcore-*.rlib >/dev/null 2>&1; then
    step cargo build --package doula-sim --lib --target wasm32-unknown-unknown --target-dir target/wasm --locked --quiet
else
    echo "skipped: the target wasm32-unknown-unknown is not installed (rustup target add): the kernel on paper is not built for it"
fi

# The address sanitizer over all unsafe code and the births of the library. Tests here count handlers of signals, so it sets none.
# A child of vfork leaves its stack without returning: the marks of its frames stay, and whoever gets that memory next would be
# blamed for them, so frames get none.
triple=$(rustc -vV | sed -n 's/^host: //p')
if ls "$(rustc --print sysroot)/lib/rustlib/$triple/lib/"librustc-*_rt.asan.a >/dev/null 2>&1; then
    step timeout --kill-after 10 1200 env RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cllvm-args=-asan-stack=0" \
        ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:use_sigaltstack=0 \
        cargo test --package doula-sys --package doula-host --lib --test fork --test zygote \
        --target "$triple" --target-dir target/asan --locked --quiet
else
    echo "this toolchain has no address sanitizer (rustup's has): its tests are skipped"
fi

# --show-output, because the reason of a skipped test is in the output of a test that passed; the screen gets
# all but that output, the log all.
printf '\n== cargo test --workspace\n'
status=0
# The log is a file, and no pipe: whoever outlives a failed test may hold it open, and nobody waits for that. A test that hangs
# is the last one that the log names.
timeout --kill-after 10 2400 cargo test --workspace --locked --no-fail-fast -- --show-output >"$log" 2>&1 &
cargo=$!
trap 'kill "$cargo"; exit 130' INT TERM
tail -n +1 -f --pid="$cargo" "$log" |
    awk '/^successes:$/ { hidden = 1 } /^(failures:|test result:|running )/ { hidden = 0 } /skipped: / || !hidden { print; fflush() }'
wait "$cargo" || status=1
trap - INT TERM

# A minute of seeds that nobody has played yet: the supervisor on paper, as it is, killed once, and with a pool; and
# jobs that workers lease. They are the commit's own,
# so that whoever tests the same commit plays the same seeds. What fails is told with the command that plays it again.
commit=$(git rev-parse --verify --quiet --short=12 HEAD || echo 0)
soak() { step timeout 600 target/debug/doula sim soak --seeds "$@" --first "$((0x$commit))" || status=1; }
if [ -x target/debug/doula ]; then
    soak 30000
    soak 30000 --kill
    soak 20000 --pool --kill
    soak 6000 --leases --kill
fi

printf '\n== summary\n'
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d tests passed, %d failed, %d ignored\n", passed, failed, ignored }' "$log"
skipped=$(grep -c 'skipped: ' "$log" || true)
echo "$skipped tests skipped because something was missing:"
grep -o 'skipped: .*' "$log" | sort | uniq -c || true
[ "$status" = 0 ] && echo "all is well" || echo "FAILED: see $log"
exit "$status"
