//! A BPF file system of a test's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::tool;

/// A BPF file system, mounted on a directory of its own; both go when this is dropped, and with them all that is pinned there.
#[derive(Debug)]
pub struct BpfFs {
    directory: PathBuf,
}

impl BpfFs {
    /// Mounts it.
    ///
    /// # Errors
    /// Without root.
    pub fn mount() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("sctp-bpffs-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let this = Self { directory };
        tool::run("mount", &["-t", "bpf", "bpf", &this.directory.to_string_lossy()])?;
        Ok(this)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        // Lazily: a process of the test may still look into it.
        if let Err(error) = tool::run("umount", &["--lazy", &self.directory.to_string_lossy()]) {
            eprintln!("{error:#}");
        }
        if let Err(error) = std::fs::remove_dir(&self.directory) {
            eprintln!("{} stays: {error}", self.directory.display());
        }
    }
}
