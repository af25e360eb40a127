//! What inotify's events mean in terms of paths. Pure.

use crate::sys::inotify::{
    Event, ACCESS, ATTRIBUTES, CREATE, DELETE, DELETE_SELF, IGNORED, IS_DIRECTORY, MODIFY, MOVED_FROM, MOVED_TO, MOVE_SELF, OVERFLOW,
};
use std::collections::HashMap;

/// What a host is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Access(Vec<u8>),
    Create(Vec<u8>),
    Modify(Vec<u8>),
    Remove(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Overflow,
}

/// What the watch must do besides.
#[derive(Debug, PartialEq, Eq)]
pub enum Chore {
    /// A directory appeared: watch it and what is in it.
    Enter(Vec<u8>),
    /// A directory left the watch.
    Leave(Vec<u8>),
}

/// The watched directories by watch descriptor, and the half of a rename that waits for the other.
pub struct Paths {
    root: Vec<u8>,
    of_watch: HashMap<i32, Vec<u8>>,
    moved_from: Option<(u32, Vec<u8>, bool)>,
}

impl Paths {
    pub fn new(root: &[u8]) -> Paths {
        Paths { root: root.to_vec(), of_watch: HashMap::new(), moved_from: None }
    }

    pub fn insert(&mut self, watch: i32, path: Vec<u8>) {
        self.of_watch.insert(watch, path);
    }

    pub fn len(&self) -> usize {
        self.of_watch.len()
    }

    /// Translates a batch of events. A rename whose other half is not in it led out of the watch.
    pub fn translate(&mut self, events: &[Event]) -> (Vec<Change>, Vec<Chore>) {
        let (mut changes, mut chores) = (Vec::new(), Vec::new());
        for event in events {
            let waited = self.moved_from.take();
            match waited {
                Some((cookie, from, directory)) if event.mask & MOVED_TO != 0 && event.cookie == cookie => {
                    self.renamed(event, from, directory, &mut changes);
                    continue;
                }
                Some((_, from, directory)) => gone(from, directory, &mut changes, &mut chores),
                None => (),
            }
            self.one(event, &mut changes, &mut chores);
        }
        if let Some((_, from, directory)) = self.moved_from.take() {
            gone(from, directory, &mut changes, &mut chores);
        }
        changes.dedup();
        (changes, chores)
    }

    fn path(&self, event: &Event) -> Option<Vec<u8>> {
        let directory = self.of_watch.get(&event.watch)?;
        if event.name.is_empty() {
            return Some(directory.clone());
        }
        let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
        Some([directory, slash, &event.name[..]].concat())
    }

    fn one(&mut self, event: &Event, changes: &mut Vec<Change>, chores: &mut Vec<Chore>) {
        if event.mask & OVERFLOW != 0 {
            changes.push(Change::Overflow);
        }
        if event.mask & IGNORED != 0 {
            self.of_watch.remove(&event.watch);
            return;
        }
        let path = match self.path(event) {
            Some(path) => path,
            None => return,
        };
        let has = |bit: u32| event.mask & bit != 0;
        let directory = has(IS_DIRECTORY);
        if has(MOVED_FROM) {
            self.moved_from = Some((event.cookie, path, directory));
        } else if has(CREATE | MOVED_TO) {
            changes.push(Change::Create(path.clone()));
            chores.extend(directory.then_some(Chore::Enter(path)));
        } else if has(DELETE) || (has(DELETE_SELF | MOVE_SELF) && path == self.root) {
            // Of other directories their parents tell.
            changes.push(Change::Remove(path));
        } else if has(MODIFY) || (has(ATTRIBUTES) && !event.name.is_empty()) {
            changes.push(Change::Modify(path));
        } else if has(ACCESS) && !directory {
            // Reading a directory is what watching it does.
            changes.push(Change::Access(path));
        }
    }

    fn renamed(&mut self, event: &Event, from: Vec<u8>, directory: bool, changes: &mut Vec<Change>) {
        if let Some(to) = self.path(event) {
            if directory {
                self.move_below(&from, &to);
            }
            changes.push(Change::Rename(from, to));
        }
    }

    /// A watched directory moved inside the watch; its watches moved with it.
    fn move_below(&mut self, from: &[u8], to: &[u8]) {
        for path in self.of_watch.values_mut().filter(|path| is_below(path, from)) {
            *path = [to, &path[from.len()..]].concat();
        }
    }

    /// Takes out the watches of a directory that left.
    pub fn take_below(&mut self, directory: &[u8]) -> Vec<i32> {
        let found: Vec<i32> = self.of_watch.iter().filter(|(_, path)| is_below(path, directory)).map(|(watch, _)| *watch).collect();
        for watch in &found {
            self.of_watch.remove(watch);
        }
        found
    }
}

fn gone(from: Vec<u8>, directory: bool, changes: &mut Vec<Change>, chores: &mut Vec<Chore>) {
    changes.push(Change::Remove(from.clone()));
    chores.extend(directory.then_some(Chore::Leave(from)));
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).map_or(false, |rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(watch: i32, mask: u32, name: &str) -> Event {
        Event { watch, mask, cookie: 0, name: name.as_bytes().to_vec() }
    }

    fn half(watch: i32, mask: u32, cookie: u32, name: &str) -> Event {
        Event { cookie, ..event(watch, mask, name) }
    }

    fn paths() -> Paths {
        let mut paths = Paths::new(b"/w");
        paths.insert(1, b"/w".to_vec());
        paths.insert(2, b"/w/d".to_vec());
        paths
    }

    #[test]
    fn events_become_changes_of_paths() {
        let events = [
            event(1, CREATE, "f"),
            event(1, MODIFY, "f"),
            event(1, MODIFY, "f"),
            event(2, ACCESS, "g"),
            event(2, ACCESS | IS_DIRECTORY, ""),
            event(2, DELETE_SELF, ""),
            event(1, DELETE | IS_DIRECTORY, "d"),
            event(9, CREATE, "stranger"),
            event(-1, OVERFLOW, ""),
        ];
        let (changes, chores) = paths().translate(&events);
        let text = |text: &str| text.as_bytes().to_vec();
        let expected = [
            Change::Create(text("/w/f")),
            Change::Modify(text("/w/f")),
            Change::Access(text("/w/d/g")),
            Change::Remove(text("/w/d")),
            Change::Overflow,
        ];
        assert_eq!((changes, chores), (expected.to_vec(), vec![]));
    }

    #[test]
    fn a_rename_inside_moves_the_watches_below() {
        let mut paths = paths();
        let (changes, chores) = paths.translate(&[half(1, MOVED_FROM | IS_DIRECTORY, 5, "d"), half(1, MOVED_TO | IS_DIRECTORY, 5, "e")]);
        assert_eq!(changes, [Change::Rename(b"/w/d".to_vec(), b"/w/e".to_vec())]);
        assert!(chores.is_empty());
        let (changes, _) = paths.translate(&[event(2, CREATE, "x")]);
        assert_eq!(changes, [Change::Create(b"/w/e/x".to_vec())]);
    }

    #[test]
    fn halves_of_renames_are_removals_and_creations() {
        let mut paths = paths();
        let events = [half(1, MOVED_FROM | IS_DIRECTORY, 5, "d"), half(1, MOVED_TO | IS_DIRECTORY, 6, "n"), half(1, MOVED_FROM, 7, "f")];
        let (changes, chores) = paths.translate(&events);
        let text = |text: &str| text.as_bytes().to_vec();
        assert_eq!(changes, [Change::Remove(text("/w/d")), Change::Create(text("/w/n")), Change::Remove(text("/w/f"))]);
        assert_eq!(chores, [Chore::Leave(text("/w/d")), Chore::Enter(text("/w/n"))]);
        assert_eq!(paths.take_below(b"/w/d"), [2]);
        assert_eq!(paths.len(), 1);
    }

    #[test]
    fn a_name_that_only_begins_alike_is_not_below() {
        assert!(is_below(b"/w/d/x", b"/w/d") && is_below(b"/w/d", b"/w/d"));
        assert!(!is_below(b"/w/dx", b"/w/d"));
    }

    #[test]
    fn the_end_of_the_root_is_told() {
        let (changes, _) = paths().translate(&[event(1, DELETE_SELF, ""), event(1, IGNORED, "")]);
        assert_eq!(changes, [Change::Remove(b"/w".to_vec())]);
    }
}
