//! What a process has used, as the system counts it: processor time and most memory.
//!
//! Invariant: figures come from `/proc` and are `None` where there is none, or no such process.

use std::path::PathBuf;

/// Units of processor time in `/proc/PID/stat`: USER_HZ is 100 on every Linux.
const TICKS_PER_S: f64 = 100.0;
/// Places of user and system time after the command's name (proc(5), fields 14 and 15).
const TIMES_AT: usize = 11;
/// Of this program.
pub const OWN: &str = "self";

/// Processor seconds that a process has used so far.
#[must_use]
pub fn cpu_s(pid: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file(pid, "stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(TIMES_AT).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_S)
}

/// Most memory that a process has held so far, in KiB.
#[must_use]
pub fn peak_kib(pid: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file(pid, "status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn file(pid: &str, name: &str) -> PathBuf {
    PathBuf::from("/proc").join(pid).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory_and_a_missing_one_has_not() {
        assert!(cpu_s(OWN).is_some_and(|seconds| seconds >= 0.0));
        assert!(peak_kib(OWN).is_some_and(|kib| kib > 100));
        assert_eq!((cpu_s("none"), peak_kib("none")), (None, None));
    }
}
