//! Who a process runs as, from the texts of /etc/passwd and /etc/group. Pure.

use crate::sys::process::Identity;

/// A user of the sandbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    pub identity: Identity,
    /// Login name; empty for a uid without entry.
    pub name: Vec<u8>,
    pub home: Vec<u8>,
}

struct Entry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// Looks up `name`, `uid`, `name:group` or `uid:gid`; empty means root. The error is a sentence for the caller.
///
/// A uid without entry is allowed, with group 0 and home `/`, as container engines have it. Without an explicit group the user gets all
/// groups that list it.
pub fn resolve(user: &[u8], passwd: &[u8], group: &[u8]) -> Result<Account, String> {
    let (name, wanted_group) = match user.iter().position(|byte| *byte == b':') {
        Some(colon) => (&user[..colon], Some(&user[colon + 1..])),
        None => (user, None),
    };
    let name = if name.is_empty() { &b"root"[..] } else { name };
    let entry = find_user(name, passwd).ok_or_else(|| format!("no user {} in /etc/passwd", text(name)))?;
    let (gid, groups) = match wanted_group {
        Some(wanted) => {
            let gid = find_group(wanted, group).ok_or_else(|| format!("no group {} in /etc/group", text(wanted)))?;
            (gid, vec![gid])
        }
        None => (entry.gid, groups_of(&entry, group)),
    };
    Ok(Account { identity: Identity { uid: entry.uid, gid, groups }, name: entry.name.to_vec(), home: entry.home.to_vec() })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A decimal id; (uid_t)-1 means "leave unchanged" to the kernel, so it is nobody's.
fn number(bytes: &[u8]) -> Option<u32> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(bytes).ok().filter(|_| digits)?.parse().ok().filter(|id| *id != u32::MAX)
}

/// The colon-separated fields of each line that is no comment.
fn rows(table: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#');
    lines.map(|line| line.split(|byte| *byte == b':').collect())
}

fn entry<'a>(fields: &[&'a [u8]]) -> Option<Entry<'a>> {
    Some(Entry { name: fields.first()?, uid: number(fields.get(2)?)?, gid: number(fields.get(3)?)?, home: fields.get(5).copied().unwrap_or(b"/") })
}

/// By name first, then by number. Root exists even in an image without /etc/passwd.
fn find_user<'a>(name: &'a [u8], passwd: &'a [u8]) -> Option<Entry<'a>> {
    let entries = || rows(passwd).filter_map(|fields| entry(&fields));
    if let Some(found) = entries().find(|entry| entry.name == name) {
        return Some(found);
    }
    if let Some(uid) = number(name) {
        return Some(entries().find(|entry| entry.uid == uid).unwrap_or(Entry { name: b"", uid, gid: 0, home: b"/" }));
    }
    (name == b"root").then_some(Entry { name: b"root", uid: 0, gid: 0, home: b"/root" })
}

fn find_group(wanted: &[u8], group: &[u8]) -> Option<u32> {
    let found = rows(group).find(|fields| fields[0] == wanted).and_then(|fields| number(fields.get(2)?));
    found.or_else(|| number(wanted)).or_else(|| (wanted == b"root").then_some(0))
}

fn groups_of(entry: &Entry<'_>, group: &[u8]) -> Vec<u32> {
    let mut groups = vec![entry.gid];
    for fields in rows(group) {
        let listed = fields.get(3).map_or(false, |members| members.split(|byte| *byte == b',').any(|member| member == entry.name));
        let gid = fields.get(2).and_then(|field| number(field)).filter(|gid| listed && !entry.name.is_empty() && !groups.contains(gid));
        groups.extend(gid);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"# users\nroot:x:0:0:root:/root:/bin/sh\n\nada:x:1000:100:Ada:/home/ada:/bin/bash\n1001:x:7:8::/odd:\nbroken:x:no\n";
    const GROUP: &[u8] = b"root:x:0:\nusers:x:100:ada\ndocker:x:200:bob,ada\nwheel:x:201:adam\nempty:x:202:\n";

    fn identity(user: &str) -> (u32, u32, Vec<u32>) {
        let account = resolve(user.as_bytes(), PASSWD, GROUP).unwrap();
        (account.identity.uid, account.identity.gid, account.identity.groups)
    }

    #[test]
    fn names_numbers_and_groups_resolve() {
        assert_eq!(identity(""), (0, 0, vec![0]));
        assert_eq!(identity("ada"), (1000, 100, vec![100, 200]));
        assert_eq!(identity("1000"), (1000, 100, vec![100, 200]));
        assert_eq!(identity("ada:docker"), (1000, 200, vec![200]));
        assert_eq!(identity("ada:4242"), (1000, 4242, vec![4242]));
        assert_eq!(identity("555"), (555, 0, vec![0]));
        assert_eq!(identity("555:666"), (555, 666, vec![666]));
        assert_eq!(identity("1001"), (7, 8, vec![8]), "a name that looks like a number is a name");
    }

    #[test]
    fn homes_and_names_come_along() {
        let ada = resolve(b"1000", PASSWD, GROUP).unwrap();
        assert_eq!((&ada.name[..], &ada.home[..]), (&b"ada"[..], &b"/home/ada"[..]));
        let stranger = resolve(b"555", PASSWD, GROUP).unwrap();
        assert_eq!((&stranger.name[..], &stranger.home[..]), (&b""[..], &b"/"[..]));
        let root = resolve(b"", b"", b"").unwrap();
        assert_eq!((root.identity.uid, &root.home[..]), (0, &b"/root"[..]));
    }

    #[test]
    fn unknown_and_absurd_names_are_refused() {
        for user in ["eve", "broken", "-1", "4294967295", "4294967296", "0x0", "ada:eve", "ada:", "ada:-1", "\u{e9}"] {
            assert!(resolve(user.as_bytes(), PASSWD, GROUP).is_err(), "{user}");
        }
    }
}
