//! A small disk of its own, to be filled, or made one that can only be read.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

/// Bytes: more than an edge writes in one round.
const SIZE: &str = "size=256m,mode=0700";
const PIECE: usize = 1 << 20;

/// A mounted tmpfs, gone when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

/// A full disk, until dropped.
#[derive(Debug)]
pub struct Full(PathBuf);

impl Disk {
    /// Mounts one at a directory, which is made. None where this process may not mount ([`super::namespace`]).
    pub fn mount(at: &Path) -> Option<Disk> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "signet-chaos"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Disk(at.to_owned()))
    }

    /// Makes it one that can only be read, or back. Nothing may have a file on it open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        let mut mount = Command::new("mount");
        run(mount.args(["-o", how]).arg(&self.0)).success();
    }

    /// Takes up all the room there is.
    pub fn fill(&self) -> Full {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).unwrap();
        let mut piece = vec![0; PIECE];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        Full(ballast)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
