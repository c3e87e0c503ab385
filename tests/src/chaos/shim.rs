//! Between a process and its disk and wall clock: the library `tests/clients/fault_shim.c`, loaded before the process's own, and
//! the mapped file by which it is told what to do from the next call on.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{checkout, run};

/// Bytes of the library's `struct control`, and where its fields are.
const SIZE: usize = 512;
const STEP: u64 = 0;
const DISK: u64 = 8;
const STRUCK: u64 = 16;
const MISLED: u64 = 24;
const UNDER: u64 = 32;

/// How a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// As it should be.
    Good = 0,
    /// Writing fails with EIO.
    Failing = 1,
    /// Writing and making files fails with EROFS.
    ReadOnly = 2,
    /// A write takes half of what it is given.
    Short = 3,
    /// Writes succeed and are gone; making them durable fails with EIO.
    Losing = 4,
}

/// Builds the library into a directory.
pub fn build(into: &Path) -> PathBuf {
    let library = into.join("fault_shim.so");
    let source = checkout().join("tests/clients/fault_shim.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library);
    run(compiler.arg(source).arg("-ldl")).success();
    library
}

/// What one process is told, across its restarts.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    file: File,
}

impl Control {
    /// A new file at that path: everything is as it should be.
    pub fn new(path: PathBuf) -> Control {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true);
        let file = file.open(&path).unwrap();
        file.set_len(SIZE as u64).unwrap();
        Control { path, file }
    }

    /// Puts the library, as built by [`build`], between a command and the system.
    pub fn apply(&self, library: &Path, command: &mut Command) {
        command.env("LD_PRELOAD", library).env("FAULT_CONTROL", &self.path);
    }

    /// The wall clock is so many seconds off, at once.
    pub fn step(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), STEP).unwrap();
    }

    /// So is every file whose path begins with `under`, at once.
    pub fn set_disk(&self, condition: Condition, under: &Path) {
        let mut prefix = under.as_os_str().as_bytes().to_owned();
        prefix.push(0);
        assert!(prefix.len() <= SIZE - UNDER as usize, "{}", under.display());
        // In this order: no other directory is struck in between.
        self.put(DISK, Condition::Good as u64);
        self.file.write_all_at(&prefix, UNDER).unwrap();
        self.put(DISK, condition as u64);
    }

    /// Calls that failed, were cut or lost so far.
    pub fn struck(&self) -> u64 {
        self.get(STRUCK)
    }

    /// Readings of the wall clock that were off so far.
    pub fn misled(&self) -> u64 {
        self.get(MISLED)
    }

    fn put(&self, at: u64, number: u64) {
        self.file.write_all_at(&number.to_ne_bytes(), at).unwrap();
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use tempfile::TempDir;

    const CHILD: &str = "SIGNET_CHAOS_SHIM_CHILD";

    /// What the tests below run under the library: this very binary, so that it is Rust's own calls that are seen.
    #[test]
    fn child() {
        let Some(directory) = std::env::var_os(CHILD) else {
            return;
        };
        let directory = PathBuf::from(directory);
        let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
        println!("clocks {wall} {boot}");
        for place in ["struck", "spared"] {
            let file = directory.join(place).join("file");
            let opened = File::options().create(true).truncate(false).write(true).open(&file);
            let Ok(mut opened) = opened else {
                println!("{place} EROFS");
                continue;
            };
            let positioned = opened.write_all_at(b"0123456789", 0);
            let written = opened.write_all(b"abcdef");
            let synced = opened.sync_data().and_then(|()| opened.sync_all());
            let outcomes = [positioned, written, synced].map(|outcome| match outcome {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{:?}", error.raw_os_error()),
            });
            println!(
                "{place} {} {}",
                outcomes.join(" "),
                std::fs::metadata(&file).unwrap().len()
            );
        }
    }

    fn seen(dir: &Path, control: &Control) -> Vec<String> {
        for place in ["struck", "spared"] {
            let _ = std::fs::remove_dir_all(dir.join(place));
            std::fs::create_dir(dir.join(place)).unwrap();
        }
        let this = module_path!().split_once("::").unwrap().1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&format!("{this}::child"), "--exact", "--nocapture"]);
        control.apply(&dir.join("fault_shim.so"), command.env(CHILD, dir));
        let said = run(&mut command).success();
        let lines = said.lines().filter_map(|line| {
            let words = ["clocks ", "struck ", "spared "];
            let at = words.iter().find_map(|word| line.find(word))?;
            Some(line[at..].to_owned())
        });
        lines.collect()
    }

    // R34
    #[test]
    fn the_wall_clock_steps_and_the_clock_that_leases_count_by_does_not() {
        let dir = TempDir::new().unwrap();
        build(dir.path());
        let control = Control::new(dir.path().join("control"));
        for step in [0, 31_536_000, -31_536_000, 180, -180_i64] {
            control.step(step);
            let lines = seen(dir.path(), &control);
            let clocks: Vec<i64> = lines[0].split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
            let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
            let off = clocks[0] - i64::try_from(wall).unwrap() - step;
            // The child ran just before: on a busy machine some time before.
            assert!((-60..=0).contains(&off), "{step}: {off}");
            assert!((0..=60).contains(&(boot - clocks[1])), "{step}: {boot} {}", clocks[1]);
        }
        assert!(control.misled() >= 4, "{}", control.misled());
    }

    #[test]
    fn a_disk_fails_as_told_and_no_other() {
        let dir = TempDir::new().unwrap();
        build(dir.path());
        let control = Control::new(dir.path().join("control"));
        let expected = [
            (Condition::Good, "struck ok ok ok 10"),
            (Condition::Failing, "struck Some(5) Some(5) ok 0"),
            (Condition::ReadOnly, "struck EROFS"),
            (Condition::Short, "struck ok ok ok 10"),
            (Condition::Losing, "struck ok ok Some(5) 0"),
        ];
        let mut struck = 0;
        for (condition, line) in expected {
            control.set_disk(condition, &dir.path().join("struck"));
            let lines = seen(dir.path(), &control);
            assert_eq!(lines[1..], [line, "spared ok ok ok 10"], "{condition:?}");
            assert_eq!(control.struck() > struck, condition != Condition::Good, "{condition:?}");
            struck = control.struck();
        }
    }
}
