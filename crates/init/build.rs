//! Links `doula-init` without a C library: `_start` and all that it needs come from `doula-sys`.
//!
//! Built together with the rest of the workspace it cannot be so, because cargo then gives every package the
//! standard library (features are united); the result is an ordinary program with the same behaviour. The one
//! for containers is made by `cargo build --profile tiny -p doula-init`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let with_std = std::env::var("DEP_DOULA_SYS_STD").is_ok_and(|std| std == "1");
    if with_std {
        return;
    }
    for arg in
        ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"]
    {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
}
