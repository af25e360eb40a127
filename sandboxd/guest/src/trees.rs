//! Process trees: a pids cgroup for each, or, where none can be mounted, a walk over /proc.

use crate::lineage;
use crate::sys::{cgroup_mount, fd, ffi};
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// All process trees, by the key of the process they began with.
pub struct Trees {
    /// Our own directory of the controller; `None` where it could not be mounted.
    root: Option<OwnedFd>,
    count: u32,
}

impl Trees {
    /// Mounts the controller on a directory made at `place` and works below its subdirectory `name`.
    pub fn mount(place: &Path, name: &str) -> Trees {
        let root = mount_below(place, name);
        if let Err(error) = &root {
            crate::log!("pids cgroup: {error}; process trees are found by walking /proc");
        }
        Trees { root: root.ok(), count: 0 }
    }

    /// How many groups exist.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Makes the group of one tree; returns the descriptor through which its first process enters.
    pub fn create(&mut self, key: u32, max_tasks: u32) -> io::Result<Option<OwnedFd>> {
        let root = match &self.root {
            Some(root) => root.as_raw_fd(),
            None if max_tasks > 0 => return Err(io::ErrorKind::Unsupported.into()),
            None => return Ok(None),
        };
        fd::make_directory_at(root, &path(key, ""), 0o700)?;
        self.count += 1;
        let entry = open_group(root, key, max_tasks);
        if entry.is_err() {
            self.remove(key);
        }
        entry.map(Some)
    }

    /// The processes of a tree that still run.
    pub fn members(&self, key: u32, first: i32) -> Vec<i32> {
        match &self.root {
            Some(root) => read_members(root.as_raw_fd(), key).unwrap_or_default(),
            None => lineage::descendants(first),
        }
    }

    /// Forbids further forks, so that killing the members comes to an end.
    pub fn stop_growth(&self, key: u32) {
        if let Some(root) = &self.root {
            if let Err(error) = write_limit(root.as_raw_fd(), key, 0) {
                crate::log!("tree {key}: {error}");
            }
        }
    }

    /// Removes the group if the tree is empty; tells whether it is gone.
    pub fn remove(&mut self, key: u32) -> bool {
        let root = match &self.root {
            Some(root) => root.as_raw_fd(),
            None => return true,
        };
        let removed = fd::remove_directory_at(root, &path(key, "")).is_ok();
        self.count -= u32::from(removed);
        removed
    }
}

/// A subdirectory of our own: outside gVisor the controller's root is the whole machine's.
fn mount_below(place: &Path, name: &str) -> io::Result<OwnedFd> {
    fs::create_dir_all(place)?;
    let controller = cgroup_mount::pids_controller(place)?;
    fs::remove_dir(place)?;
    let name = CString::new(name)?;
    match fd::make_directory_at(controller.as_raw_fd(), &name, 0o700) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => (),
    }
    fd::open_at(controller.as_raw_fd(), &name, ffi::O_RDONLY | ffi::O_DIRECTORY)
}

fn open_group(root: RawFd, key: u32, max_tasks: u32) -> io::Result<OwnedFd> {
    if max_tasks > 0 {
        write_limit(root, key, max_tasks)?;
    }
    fd::open_at(root, &path(key, "/cgroup.procs"), ffi::O_WRONLY)
}

fn write_limit(root: RawFd, key: u32, max_tasks: u32) -> io::Result<()> {
    let file = fd::open_at(root, &path(key, "/pids.max"), ffi::O_WRONLY)?;
    fd::write(file.as_raw_fd(), max_tasks.to_string().as_bytes()).map(drop)
}

fn read_members(root: RawFd, key: u32) -> io::Result<Vec<i32>> {
    let file = fd::open_at(root, &path(key, "/cgroup.procs"), ffi::O_RDONLY)?;
    let mut text = Vec::new();
    while fd::read_append(file.as_raw_fd(), &mut text, 16 << 10)? > 0 {}
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

fn path(key: u32, file: &str) -> CString {
    let text = format!("{key}{file}\0");
    CStr::from_bytes_with_nul(text.as_bytes()).unwrap_or_default().to_owned()
}
