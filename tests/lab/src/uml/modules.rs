//! Which modules a guest must load, and in which order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What a kernel has as modules, and what is built into it.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// Path of a module by its name, below the directory of modules, and those of the modules that it needs.
    loadable: BTreeMap<String, (PathBuf, Vec<PathBuf>)>,
    built_in: Vec<String>,
}

impl Modules {
    /// Reads the lists that depmod(8) has left in the directory of a kernel's modules.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        Self::parse(&read("modules.dep")?, &read("modules.builtin")?)
    }

    fn parse(dependencies: &str, built_in: &str) -> Result<Self> {
        let mut modules =
            Self { built_in: built_in.lines().map(|path| name(Path::new(path))).collect(), ..Self::default() };
        for line in dependencies.lines() {
            let (module, needs) = line.split_once(':').with_context(|| format!("modules.dep: {line}"))?;
            let needs = needs.split_whitespace().map(PathBuf::from).collect();
            modules.loadable.insert(name(Path::new(module)), (module.into(), needs));
        }
        Ok(modules)
    }

    /// Paths of the wanted modules and of all that they need, each after those that it needs itself. What is built into the
    /// kernel need not be loaded.
    pub(super) fn load_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for module in wanted {
            if self.built_in.iter().any(|built_in| built_in == module) {
                continue;
            }
            let (path, needs) =
                self.loadable.get(*module).with_context(|| format!("the kernel has no module {module}"))?;
            // modules.dep lists what is needed directly and indirectly, and what must be loaded first last.
            for module in needs.iter().rev().chain([path]) {
                if !order.contains(module) {
                    order.push(module.clone());
                }
            }
        }
        Ok(order)
    }
}

/// "crc32c_generic" of "kernel/crypto/crc32c-generic.ko": the kernel does not tell the two strokes apart.
fn name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/net/sctp/sctp.ko: kernel/net/ipv6/ipv6.ko kernel/lib/crc-ccitt.ko kernel/net/ipv4/udp_tunnel.ko\n\
                                kernel/net/ipv6/ipv6.ko: kernel/lib/crc-ccitt.ko\n\
                                kernel/lib/crc-ccitt.ko:\n\
                                kernel/net/ipv4/udp_tunnel.ko:\n";

    #[test]
    fn what_is_needed_comes_first() {
        let modules = Modules::parse(DEPENDENCIES, "kernel/crypto/sha1_generic.ko\n").unwrap();
        let order = modules.load_order(&["sha1_generic", "crc_ccitt", "sctp", "ipv6"]).unwrap();
        let names: Vec<_> = order.iter().map(|path| name(path)).collect();
        assert_eq!(names, ["crc_ccitt", "udp_tunnel", "ipv6", "sctp"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let modules = Modules::parse(DEPENDENCIES, "").unwrap();
        let error = modules.load_order(&["sch_netem"]).unwrap_err().to_string();
        assert!(error.contains("sch_netem"), "{error}");
        assert!(Modules::parse("no colon", "").is_err());
    }
}
