//! Names of members: which are inside the directory they are unpacked into.

use super::TarError;

/// The components of a member's name, `.` and empty ones dropped. Absolute names and `..` are refused.
pub fn components(name: &[u8]) -> Result<Vec<&[u8]>, TarError> {
    if name.first() == Some(&b'/') {
        return Err(TarError("a name is absolute"));
    }
    if name.contains(&0) {
        return Err(TarError("a name holds a NUL byte"));
    }
    let parts: Vec<&[u8]> = split(name).collect();
    if parts.contains(&&b".."[..]) {
        return Err(TarError("a name holds '..'"));
    }
    Ok(parts)
}

/// Components of any path, `.` and empty ones dropped.
pub fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// What follows `root` in an absolute path that begins with it.
pub fn below<'a>(path: &'a [u8], root: &[u8]) -> Option<Vec<&'a [u8]>> {
    let mut parts = split(path);
    for part in split(root) {
        if parts.next() != Some(part) {
            return None;
        }
    }
    Some(parts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_inside_are_taken_apart_and_others_refused() {
        assert_eq!(components(b"./a//b/./c/").unwrap(), [b"a", b"b", b"c"]);
        assert!(components(b"./").unwrap().is_empty());
        assert_eq!(components(b"a/..b/...").unwrap(), [&b"a"[..], b"..b", b"..."]);
        for name in [&b"/etc"[..], b"..", b"a/../b", b"a/..", b"../a", b"a\0b"] {
            assert!(components(name).is_err());
        }
    }
}
