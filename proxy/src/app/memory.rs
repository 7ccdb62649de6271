//! How much memory buffers may take where the operator has not said.
//!
//! A process in a control group is killed at the group's limit, and what it may take for buffers has to be well below. A quarter
//! leaves room for connections, for what the registry says, for answers that are held or kept, and for the kernel's buffers of
//! sockets, which count against the same limit.

use std::path::{Path, PathBuf};

/// Where there is no limit, and at most.
const MOST: u64 = 256 << 20;
/// The least that anything can be done with.
const LEAST: u64 = 4 << 20;

/// Bytes for buffers.
pub(super) fn for_buffers() -> usize {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit(Path::new("/sys/fs/cgroup"), &groups);
    usize::try_from(limit.map_or(MOST, |limit| (limit / 4).clamp(LEAST, MOST))).unwrap_or(usize::MAX)
}

/// The least limit of the groups that a process is in, of either version (cgroups(7)).
fn limit(root: &Path, groups: &str) -> Option<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the path may be the host's, and then only the root of what is mounted is there.
        let group: PathBuf = base.join(path.trim_start_matches('/'));
        for group in group.ancestors().take_while(|group| group.starts_with(&base)) {
            let written = std::fs::read_to_string(group.join(file)).ok();
            limits.extend(written.and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    limits.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_to_the_root_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let limit = |groups| limit(root.path(), groups);
        assert_eq!(limit("0::/\n"), None);
        write("pods/one/memory.max", "max\n");
        assert_eq!(limit("0::/pods/one\n"), None);
        write("pods/memory.max", "400000000\n");
        assert_eq!(limit("0::/pods/one\n"), Some(400_000_000));
        write("pods/one/memory.max", "100000000\n");
        assert_eq!(limit("0::/pods/one\n"), Some(100_000_000));
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit("4:cpu:/x\n3:memory,hugetlb:/docker/abc\n"), Some(9_223_372_036_854_771_712));
        write("memory/docker/abc/memory.limit_in_bytes", "52428800\n");
        assert_eq!(limit("4:cpu:/x\n3:memory,hugetlb:/docker/abc\n"), Some(52_428_800));
        assert_eq!(limit("nonsense\n\n::\n"), None);
    }
}
