//! The machine that is measured on: its cores, what else it does, and what a process has used.
//!
//! Invariant: server and load have a core each where there are two, and what could not be kept apart is said. Nothing is
//! measured here that `/proc` does not tell.

use std::process::Command;

/// Units of processor time in `/proc/PID/stat`.
const TICKS_PER_S: f64 = 100.0;

/// Where servers run and where load runs.
#[derive(Debug, Clone)]
pub struct Machine {
    pub server_cores: String,
    pub load_cores: String,
    pub cores: usize,
    pub model: String,
    /// What casts doubt on everything that is measured.
    pub doubts: Vec<String>,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Self {
        let allowed = allowed_cores();
        let mut doubts = Vec::new();
        let (server_cores, load_cores) = match allowed.as_slice() {
            [] | [_] => {
                doubts.push(
                    "there is one core: server and load share it, and each is measured with the other".to_owned(),
                );
                ("0".to_owned(), "0".to_owned())
            }
            [first, rest @ ..] => {
                let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
                (first.to_string(), rest.join(","))
            }
        };
        if !has("taskset") {
            doubts.push("there is no taskset: nothing is bound to a core".to_owned());
        }
        let model = text("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned());
        Self { server_cores, load_cores, cores: allowed.len(), model, doubts }
    }

    /// A program that runs where servers do.
    pub fn server(&self, program: &str) -> Command {
        pinned(&self.server_cores, program)
    }

    /// A program that runs where load does.
    pub fn load(&self, program: &str) -> Command {
        pinned(&self.load_cores, program)
    }

    /// A program that runs wherever there is room.
    pub fn anywhere(&self, program: &str) -> Command {
        pinned(&format!("{},{}", self.server_cores, self.load_cores), program)
    }
}

fn pinned(cores: &str, program: &str) -> Command {
    if has("taskset") {
        let mut command = Command::new("taskset");
        command.args(["-c", cores, program]);
        command
    } else {
        Command::new(program)
    }
}

/// Whether a program is in the path.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn allowed_cores() -> Vec<usize> {
    let status = text("/proc/self/status");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
    let range = |part: &str| {
        let (from, until) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().unwrap_or_default();
        number(from)..=number(until)
    };
    list.split(',').flat_map(range).collect()
}

/// Share of the machine's time that it was at work, and share that was stolen by others of its host, since a look before.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    work: f64,
    idle: f64,
    stolen: f64,
}

impl Busy {
    /// A look.
    pub fn look() -> Self {
        let stat = text("/proc/stat");
        let times: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        let at = |place: usize| times.get(place).copied().unwrap_or_default();
        Self { work: at(0) + at(1) + at(2) + at(5) + at(6), idle: at(3) + at(4), stolen: at(7) }
    }

    /// Processor seconds of everything, and share that was stolen, since another look.
    pub fn since(self, before: Self) -> (f64, f64) {
        let (work, idle, stolen) = (self.work - before.work, self.idle - before.idle, self.stolen - before.stolen);
        (work / TICKS_PER_S, stolen / (work + idle + stolen).max(1.0))
    }
}

/// The load average of the last minute.
pub fn load_average() -> f64 {
    text("/proc/loadavg").split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// Memory that a process holds now, in KiB.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = text(&format!("/proc/{pid}/status"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor seconds of a process so far.
pub fn cpu_s(pid: &str) -> f64 {
    let stat = text(&format!("/proc/{pid}/stat"));
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let times: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    times.iter().sum::<f64>() / TICKS_PER_S
}

/// Most memory of this process, in KiB.
pub fn own_peak_kib() -> f64 {
    let status = text("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
