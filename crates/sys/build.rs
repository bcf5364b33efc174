//! Tells the build script of `doula-init` whether this build has the standard library (`DEP_DOULA_SYS_STD`): a
//! build of the whole workspace has, and then there is no `_start` of our own to be linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let std = std::env::var_os("CARGO_FEATURE_STD").is_some();
    println!("cargo::metadata=std={}", u8::from(std));
}
