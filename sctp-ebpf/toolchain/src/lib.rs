//! Finds a compiler and a linker for the BPF target, and builds the XDP program with them.
//!
//! Two places need this: the build script of `sctp-ebpf-object`, which embeds the program in userspace, and
//! `cargo xtask setup`, which installs what [`Toolchain::find`] says is missing.
//!
//! The BPF target has no prebuilt `core`, so the compiler must come with its library's sources and accept unstable
//! flags. Two kinds do, in this order of preference:
//!
//! 1. rustup's [`NIGHTLY`] with the component `rust-src`;
//! 2. the system's `/usr/bin/rustc` (Debian and Ubuntu: packages `rustc-web` and `rust-web-src`), which takes unstable
//!    flags under `RUSTC_BOOTSTRAP=1`.
//!
//! The linker is `bpf-linker`, from `PATH`, cargo's `bin` directory or the project's own cache
//! ([`tools_directory`]).

mod build;
mod find;

pub use build::BuildError;
pub use find::{Compiler, LINKER_VERSION, LLVM, Missing, MissingItem, NIGHTLY, Toolchain, tools_directory};
