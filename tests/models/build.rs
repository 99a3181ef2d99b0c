//! Makes the checker that was chosen a cfg.
//!
//! The sources ask for `cfg(loom)` and `cfg(shuttle)`, for a feature of the library would be one of
//! its users' too. Set here, and not for the whole build, the cfg is no reason to build the
//! dependencies again.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_chosen = |checker: &&str| {
        std::env::var_os(format!("CARGO_FEATURE_{}", checker.to_uppercase())).is_some()
    };
    let chosen: Vec<_> = ["loom", "shuttle"].into_iter().filter(is_chosen).collect();
    assert!(chosen.len() < 2, "one checker at a time: {chosen:?}");
    chosen.iter().for_each(|checker| println!("cargo::rustc-cfg={checker}"));
}
