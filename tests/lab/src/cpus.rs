//! Which processors a thread, and the processes that it starts, may run on.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The processors that the calling thread may run on, lowest first.
///
/// # Errors
/// If the kernel does not tell.
pub fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("sched_getaffinity")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps the calling thread, and the threads and processes that it starts from now on, to these processors.
///
/// # Errors
/// If there are none of them.
pub fn keep_to(cpus: &[usize]) -> Result<()> {
    ensure!(cpus.iter().all(|cpu| *cpu < CpuSet::MAX_CPU), "no such processors: {cpus:?}");
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).with_context(|| format!("cannot keep to the processors {cpus:?}"))
}

/// Keeps the calling thread to the processor that it is on.
///
/// # Errors
/// If the kernel refuses.
pub fn stay() -> Result<()> {
    keep_to(&[sched_getcpu()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_put() {
        // A thread of its own, since the others of this process are to stay free.
        std::thread::spawn(|| {
            let all = allowed().unwrap();
            let last = *all.last().unwrap();
            keep_to(&[last]).unwrap();
            assert_eq!((allowed().unwrap(), sched_getcpu()), (vec![last], last));
            stay().unwrap();
            assert_eq!(allowed().unwrap(), [last]);
            assert!(keep_to(&[]).is_err() && keep_to(&[usize::MAX]).is_err());
        })
        .join()
        .unwrap();
    }
}
