//! Finding a process tree without a cgroup: by parents and by session. Descendants that left both are not found.

use std::collections::{HashMap, HashSet};
use std::fs;

/// A line of /proc/<pid>/stat, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
}

/// The processes that descend from `first` or are in its session; zombies not counted.
pub fn descendants(first: i32) -> Vec<i32> {
    select(first, &entries())
}

fn entries() -> Vec<Entry> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names
        .filter(|name| name.file_name().to_string_lossy().parse::<i32>().is_ok())
        .filter_map(|name| parse(&fs::read_to_string(name.path().join("stat")).ok()?))
        .collect()
}

/// Parses `pid (name) state parent group session …`; the name may hold anything, the last `)` ends it.
fn parse(line: &str) -> Option<Entry> {
    let (pid, rest) = line.split_once(' ')?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    if state == "Z" || state == "X" {
        return None;
    }
    Some(Entry { pid: pid.parse().ok()?, parent, session })
}

fn select(first: i32, entries: &[Entry]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in entries {
        children.entry(entry.parent).or_default().push(entry.pid);
    }
    let is_root = |entry: &&Entry| entry.pid == first || entry.session == first;
    let mut waiting: Vec<i32> = entries.iter().filter(is_root).map(|entry| entry.pid).collect();
    let mut found = HashSet::new();
    while let Some(pid) = waiting.pop() {
        if found.insert(pid) {
            waiting.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_trap() {
        let entry = parse("42 (a) Z 1 (x) S 7 42 40 0 -1").unwrap();
        assert_eq!(entry, Entry { pid: 42, parent: 7, session: 40 });
        assert_eq!(parse("42 (sh) Z 7 42 40 0 -1"), None);
        assert_eq!(parse("42 (sh"), None);
    }

    #[test]
    fn children_and_session_members_are_found_strangers_are_not() {
        let entry = |pid, parent, session| Entry { pid, parent, session };
        let entries = [entry(5, 1, 5), entry(6, 5, 5), entry(7, 6, 7), entry(8, 1, 5), entry(9, 8, 9), entry(10, 1, 10)];
        let mut found = select(5, &entries);
        found.sort_unstable();
        assert_eq!(found, [5, 6, 7, 8, 9]);
    }
}
